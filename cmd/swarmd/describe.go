package main

import (
	"bytes"
	"runtime"
	"runtime/debug"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/real/api"
	realruntime "github.com/swarmd/swarmd/real/runtime"
)

// describeHost is what the API says of this host.
func describeHost(o options, r *realruntime.Runtime) api.Host {
	host := api.DescribeHost()
	host.Version = version
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				host.GitCommit = setting.Value
			case "vcs.time":
				host.BuildTime = setting.Value
			}
		}
	}
	host.Components = []system.ComponentVersion{{Name: "containerd", Version: r.ContainerdVersion()}}
	host.RootDir = o.dataDir
	host.Driver = r.Snapshotter()
	host.Runtime = "runc"
	host.Labels = o.labels
	host.LoggingDrivers = []string{"json-file", "none"}
	gateway := engine.Gateway()
	host.Bridge = api.HostBridge{Interface: bridgeName, Subnet: gateway.Masked(), Gateway: gateway.Addr()}
	return host
}

// describeNode is what the swarm knows of this host.
func describeNode(o options, host api.Host) (swarm.NodeDescription, error) {
	labels, err := o.engineLabels()
	if err != nil {
		return swarm.NodeDescription{}, err
	}
	generic, err := o.genericResources()
	if err != nil {
		return swarm.NodeDescription{}, err
	}
	plugins := []swarm.PluginDescription{{Type: "Volume", Name: "local"}}
	for _, name := range host.LoggingDrivers {
		plugins = append(plugins, swarm.PluginDescription{Type: "Log", Name: name})
	}
	return swarm.NodeDescription{
		Hostname: host.Name,
		Platform: swarm.Platform{Architecture: machine(), OS: "linux"},
		Resources: swarm.Resources{
			NanoCPUs:         int64(host.CPUs) * 1e9,
			MemoryBytes:      host.MemoryBytes,
			GenericResources: generic,
		},
		Engine: swarm.EngineDescription{EngineVersion: host.Version, Labels: labels, Plugins: plugins},
	}, nil
}

// machine is the hardware as uname names it, which is what Docker shows.
func machine() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return runtime.GOARCH
	}
	text, _, _ := bytes.Cut(name.Machine[:], []byte{0})
	return string(text)
}
