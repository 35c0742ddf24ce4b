package runtime

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
	"github.com/moby/moby/api/types/swarm"
)

const neverText = "0001-01-01T00:00:00Z"

// ownLabelPrefix begins the labels that are no business of a user's.
const ownLabelPrefix = "swarmd."

func timeText(t time.Time) string {
	if t.IsZero() {
		return neverText
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Containers lists the containers on this node, running or not.
func (l *Local) Containers(context.Context) ([]container.Summary, error) {
	all := l.r.all()
	list := make([]container.Summary, 0, len(all))
	for _, i := range all {
		list = append(list, i.summary(time.Now()))
	}
	slices.SortFunc(list, func(a, b container.Summary) int {
		if a.Created != b.Created {
			return int(b.Created - a.Created)
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

func (i *instance) summary(now time.Time) container.Summary {
	l, rec := i.now(), &i.record
	health := i.healthNow()
	s := container.Summary{
		ID: i.id(), Names: []string{"/" + i.name()}, Image: rec.Container.Spec.Image, ImageID: rec.ImageID,
		Command: commandText(rec), Created: rec.Created.Unix(), Labels: rec.shownLabels(), Ports: rec.ports(),
		State: l.state(), Status: statusText(l, health, now), Mounts: slices.Clone(rec.Mounts),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: rec.networks()},
	}
	s.HostConfig.NetworkMode = network.NetworkBridge
	s.Health = &container.HealthSummary{Status: container.NoHealthcheck}
	if health != nil {
		s.Health = &container.HealthSummary{Status: health.Status, FailingStreak: health.FailingStreak}
	}
	return s
}

// shownLabels are a container's labels without those that we keep for ourselves.
func (rec *record) shownLabels() map[string]string {
	shown := maps.Clone(rec.Labels)
	maps.DeleteFunc(shown, func(key, _ string) bool { return strings.HasPrefix(key, ownLabelPrefix) })
	return shown
}

// commandText is a container's command as ps shows it.
func commandText(rec *record) string {
	words := slices.Concat(rec.Entrypoint, rec.Cmd)
	for n, w := range words {
		if n > 0 && strings.Contains(w, " ") {
			words[n] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

func (l life) state() container.ContainerState {
	switch {
	case l.running():
		return container.StateRunning
	case l.Started.IsZero():
		return container.StateCreated
	default:
		return container.StateExited
	}
}

// statusText is Docker's: Up 5 seconds (healthy), Exited (1) 2 minutes ago.
func statusText(l life, health *container.Health, now time.Time) string {
	switch l.state() {
	case container.StateRunning:
		text := "Up " + units.HumanDuration(now.Sub(l.Started))
		switch {
		case health == nil:
			return text
		case health.Status == container.Starting:
			return text + " (health: starting)"
		default:
			return text + " (" + string(health.Status) + ")"
		}
	case container.StateExited:
		return fmt.Sprintf("Exited (%d) %s ago", l.ExitCode, units.HumanDuration(now.Sub(l.Finished)))
	default:
		return "Created"
	}
}

// ports are those that the container exposes, and where they are published.
func (rec *record) ports() []container.PortSummary {
	list := []container.PortSummary{}
	published := make(map[string]bool)
	for _, p := range rec.Container.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeHost {
			continue // the swarm's, not the container's
		}
		s := container.PortSummary{IP: netip.IPv4Unspecified(), PrivatePort: uint16(p.TargetPort), PublicPort: uint16(p.PublishedPort), Type: protocolOf(p)}
		published[strconv.Itoa(int(s.PrivatePort))+"/"+s.Type] = true
		list = append(list, s)
	}
	for _, text := range rec.ExposedPorts {
		if p, err := network.ParsePort(text); err == nil && !published[p.String()] {
			list = append(list, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	return list
}

func protocolOf(p swarm.PortConfig) string {
	if p.Protocol == "" {
		return string(network.TCP)
	}
	return string(p.Protocol)
}

// portMap is the same for inspection.
func (rec *record) portMap() network.PortMap {
	m := network.PortMap{}
	for _, text := range rec.ExposedPorts {
		if p, err := network.ParsePort(text); err == nil {
			m[p] = nil
		}
	}
	for _, c := range rec.Container.Ports {
		p, err := network.ParsePort(strconv.Itoa(int(c.TargetPort)) + "/" + protocolOf(c))
		if err != nil || c.PublishMode != swarm.PortConfigPublishModeHost {
			continue
		}
		m[p] = append(m[p], network.PortBinding{HostPort: strconv.Itoa(int(c.PublishedPort))})
	}
	return m
}

func (rec *record) networks() map[string]*network.EndpointSettings {
	if !rec.Container.Address.IsValid() {
		return map[string]*network.EndpointSettings{}
	}
	return map[string]*network.EndpointSettings{network.NetworkBridge: {
		IPAddress: rec.Container.Address, IPPrefixLen: rec.Container.Address.BitLen(),
		DNSNames: []string{rec.Container.Name, rec.Container.ID[:shortDigestChars]},
	}}
}

// Container tells all about one container.
func (l *Local) Container(_ context.Context, ref string) (container.InspectResponse, error) {
	i, err := l.r.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r, rec, id := l.r, &i.record, i.id()
	answer := container.InspectResponse{
		ID: id, Created: timeText(rec.Created), Path: rec.Args[0], Args: rec.Args[1:], State: i.stateNow(),
		Image: rec.ImageID, Name: "/" + i.name(), Driver: rec.Snapshot, Platform: "linux",
		ResolvConfPath: filepath.Join(r.runDir(id), "resolv.conf"), HostnamePath: filepath.Join(r.runDir(id), "hostname"),
		HostsPath: filepath.Join(r.runDir(id), "hosts"), AppArmorProfile: r.host.apparmor,
		ExecIDs: r.execs.running(i), HostConfig: r.hostConfig(rec),
		GraphDriver: &storage.DriverData{Name: rec.Snapshot, Data: map[string]string{"ID": id}},
		Mounts:      append([]container.MountPoint{}, rec.Mounts...), Config: rec.config(),
		NetworkSettings: &container.NetworkSettings{Ports: rec.portMap(), Networks: rec.networks()},
	}
	if rec.LogDriver != "none" {
		answer.LogPath = rec.Log.Path
	}
	if r.config.Netns != nil {
		answer.NetworkSettings.SandboxKey = r.config.Netns(rec.Container.Task)
	}
	return answer, nil
}

func (i *instance) stateNow() *container.State {
	l := i.now()
	s := &container.State{
		Status: l.state(), Running: l.running(), OOMKilled: l.OOM, ExitCode: l.ExitCode, Error: l.Error,
		StartedAt: timeText(l.Started), FinishedAt: timeText(l.Finished), Health: i.healthNow(),
	}
	if s.Running {
		s.Pid = l.PID
	}
	return s
}

// config is what makes the container portable.
func (rec *record) config() *container.Config {
	spec := rec.Container.Spec
	c := &container.Config{
		Hostname: rec.Hostname, User: rec.User, Tty: spec.TTY, OpenStdin: spec.OpenStdin, Env: rec.Env,
		Cmd: rec.Cmd, Healthcheck: rec.Health, Image: spec.Image, WorkingDir: rec.WorkingDir,
		Entrypoint: rec.Entrypoint, Labels: rec.shownLabels(), StopSignal: rec.StopSignal, Shell: rec.Shell,
		ExposedPorts: network.PortSet{},
	}
	for p := range rec.portMap() {
		c.ExposedPorts[p] = struct{}{}
	}
	if len(rec.Volumes) > 0 {
		c.Volumes = make(map[string]struct{})
		for _, v := range rec.Volumes {
			c.Volumes[v] = struct{}{}
		}
	}
	if spec.StopGracePeriod != nil {
		seconds := int(spec.StopGracePeriod.Seconds())
		c.StopTimeout = &seconds
	}
	return c
}

// hostConfig is what ties the container to this node.
func (r *Runtime) hostConfig(rec *record) *container.HostConfig {
	c, spec := rec.Container, rec.Container.Spec
	h := &container.HostConfig{
		LogConfig:   container.LogConfig{Type: rec.LogDriver, Config: rec.LogOpts},
		NetworkMode: network.NetworkBridge, PortBindings: network.PortMap{},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		CapAdd:        spec.CapabilityAdd, CapDrop: spec.CapabilityDrop, GroupAdd: spec.Groups,
		CgroupnsMode: container.CgroupnsModeHost, IpcMode: container.IPCModePrivate,
		OomScoreAdj: int(spec.OomScoreAdj), ReadonlyRootfs: spec.ReadOnly, ShmSize: shmBytes,
		Sysctls: spec.Sysctls, Runtime: "runc", Isolation: container.IsolationDefault,
		Mounts: rec.Declared, MaskedPaths: maskedPaths(), ReadonlyPaths: readonlyPaths(), Init: spec.Init,
		Resources: container.Resources{
			Memory: c.Limits.MemoryBytes, NanoCPUs: c.Limits.NanoCPUs, Ulimits: spec.Ulimits,
		},
	}
	if r.host.cgroup2 {
		h.CgroupnsMode = container.CgroupnsModePrivate
	}
	if c.Limits.MemoryBytes > 0 && r.host.memorySwap {
		h.MemorySwap = 2 * c.Limits.MemoryBytes
	}
	if n := c.Limits.Pids; n > 0 {
		h.PidsLimit = &n
	}
	if d := spec.DNSConfig; d != nil {
		h.DNS, h.DNSSearch, h.DNSOptions = d.Nameservers, d.Search, d.Options
	}
	for _, entry := range spec.Hosts {
		fields := strings.Fields(entry)
		for _, name := range fields[min(1, len(fields)):] {
			h.ExtraHosts = append(h.ExtraHosts, name+":"+fields[0])
		}
	}
	if p := spec.Privileges; p != nil && p.NoNewPrivileges {
		h.SecurityOpt = []string{"no-new-privileges"}
	}
	return h
}
