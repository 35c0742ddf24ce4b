package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func newInfo(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "info [OPTIONS]",
		Short: "Display system-wide information",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := s.client.Info(c.Context(), client.InfoOptions{})
			if err != nil {
				return err
			}
			if format != "" {
				return s.printTemplate(format, found.Info)
			}
			s.print("%s\n", prettyInfo(found.Info))
			for _, warning := range found.Info.Warnings {
				s.warn("%s\n", warning)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	return c
}

// field writes a line if its value is not empty.
func (p *page) field(name, value string) { p.lineIf(value != "", "%s: %s", name, value) }

// prettyInfo describes a host for people, in docker's layout.
func prettyInfo(info system.Info) string {
	p := &page{}
	p.line("Client: swarmctl\n Version:    %s\n\nServer:", version)
	p.line(" Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d\n Images: %d",
		info.Containers, info.ContainersRunning, info.ContainersPaused, info.ContainersStopped, info.Images)
	p.field(" Server Version", info.ServerVersion)
	p.field(" Storage Driver", info.Driver)
	for _, pair := range info.DriverStatus {
		p.line("  %s: %s", pair[0], pair[1])
	}
	p.field(" Logging Driver", info.LoggingDriver)
	p.field(" Cgroup Driver", info.CgroupDriver)
	p.field(" Cgroup Version", info.CgroupVersion)
	p.line(" Plugins:\n  Volume: %s\n  Network: %s\n  Log: %s", strings.Join(info.Plugins.Volume, " "),
		strings.Join(info.Plugins.Network, " "), strings.Join(info.Plugins.Log, " "))
	p.line(" Swarm: %s", info.Swarm.LocalNodeState)
	p.swarm(info.Swarm)
	if len(info.Runtimes) > 0 {
		p.line(" Runtimes: %s\n Default Runtime: %s", strings.Join(slices.Sorted(maps.Keys(info.Runtimes)), " "), info.DefaultRuntime)
	}
	if info.OSType == "linux" {
		p.line(" Init Binary: %s\n containerd version: %s\n runc version: %s\n init version: %s",
			info.InitBinary, info.ContainerdCommit.ID, info.RuncCommit.ID, info.InitCommit.ID)
		p.security(info.SecurityOptions)
	}
	p.field(" Kernel Version", info.KernelVersion)
	p.field(" Operating System", info.OperatingSystem)
	p.field(" OSType", info.OSType)
	p.field(" Architecture", info.Architecture)
	p.line(" CPUs: %d\n Total Memory: %s", info.NCPU, units.BytesSize(float64(info.MemTotal)))
	p.field(" Name", info.Name)
	p.field(" ID", info.ID)
	p.line(" Docker Root Dir: %s\n Debug Mode: %t", info.DockerRootDir, info.Debug)
	p.field(" HTTP Proxy", info.HTTPProxy)
	p.field(" HTTPS Proxy", info.HTTPSProxy)
	p.field(" No Proxy", info.NoProxy)
	p.lineIf(len(info.Labels) > 0, " Labels:")
	for _, label := range info.Labels {
		p.line("  %s", label)
	}
	p.line(" Experimental: %t", info.ExperimentalBuild)
	p.line(" Live Restore Enabled: %t", info.LiveRestoreEnabled)
	p.lineIf(len(info.DefaultAddressPools) > 0, " Default Address Pools:")
	for _, pool := range info.DefaultAddressPools {
		p.line("   Base: %s, Size: %d", pool.Base, pool.Size)
	}
	return p.String()
}

func (p *page) security(encoded []string) {
	p.lineIf(len(encoded) > 0, " Security Options:")
	for _, option := range encoded {
		name, profile := option, ""
		for pair := range strings.SplitSeq(option, ",") {
			key, value, ok := strings.Cut(pair, "=")
			switch {
			case ok && key == "name":
				name = value
			case ok && key == "profile":
				profile = value
			}
		}
		p.line("  %s", name)
		p.field("   Profile", profile)
	}
}

func (p *page) swarm(info swarm.Info) {
	if info.LocalNodeState == swarm.LocalNodeStateInactive || info.LocalNodeState == swarm.LocalNodeStateLocked {
		return
	}
	p.line("  NodeID: %s", info.NodeID)
	p.field("  Error", info.Error)
	p.line("  Is Manager: %t", info.ControlAvailable)
	if info.Cluster != nil && info.ControlAvailable && info.Error == "" && info.LocalNodeState != swarm.LocalNodeStateError {
		p.cluster(*info.Cluster, info)
	}
	p.line("  Node Address: %s", info.NodeAddr)
	var managers []string
	for _, manager := range info.RemoteManagers {
		managers = append(managers, manager.Addr)
	}
	slices.Sort(managers)
	p.lineIf(len(managers) > 0, "  Manager Addresses:")
	for _, address := range managers {
		p.line("   %s", address)
	}
}

func (p *page) cluster(cluster swarm.ClusterInfo, info swarm.Info) {
	var pools []string
	for _, pool := range cluster.DefaultAddrPool {
		pools = append(pools, pool.String())
	}
	p.line("  ClusterID: %s\n  Managers: %d\n  Nodes: %d", cluster.ID, info.Managers, info.Nodes)
	p.lineIf(len(pools) > 0, "  Default Address Pool: %s  ", strings.Join(pools, "  "))
	p.lineIf(cluster.SubnetSize > 0, "  SubnetSize: %d", cluster.SubnetSize)
	p.lineIf(cluster.DataPathPort > 0, "  Data Path Port: %d", cluster.DataPathPort)
	limit := int64(0)
	if cluster.Spec.Orchestration.TaskHistoryRetentionLimit != nil {
		limit = *cluster.Spec.Orchestration.TaskHistoryRetentionLimit
	}
	p.line("  Orchestration:\n   Task History Retention Limit: %d", limit)
	kept := fmt.Sprint(0)
	if cluster.Spec.Raft.KeepOldSnapshots != nil {
		kept = fmt.Sprint(*cluster.Spec.Raft.KeepOldSnapshots)
	}
	p.line("  Raft:\n   Snapshot Interval: %d\n   Number of Old Snapshots to Retain: %s\n   Heartbeat Tick: %d\n   Election Tick: %d",
		cluster.Spec.Raft.SnapshotInterval, kept, cluster.Spec.Raft.HeartbeatTick, cluster.Spec.Raft.ElectionTick)
	p.line("  Dispatcher:\n   Heartbeat Period: %s", units.HumanDuration(cluster.Spec.Dispatcher.HeartbeatPeriod))
	p.line("  CA Configuration:\n   Expiry Duration: %s\n   Force Rotate: %d", units.HumanDuration(cluster.Spec.CAConfig.NodeCertExpiry), cluster.Spec.CAConfig.ForceRotate)
	p.line("  Autolock Managers: %t\n  Root Rotation In Progress: %t", cluster.Spec.EncryptionConfig.AutoLockManagers, cluster.RootRotationInProgress)
}
