package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/swarmd/swarmd/engine/control"
)

// ping answers with the versions served, which every client asks for first. It
// is answered whatever the swarm's state.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), pingWait)
	defer cancel()
	header := w.Header()
	if info, err := call[control.NodeInfo](ctx, s.engine, control.Info{}); err == nil {
		header.Set("Swarm", swarmHeader(info))
	}
	header.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	header.Set("Pragma", "no-cache")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Length", "2")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, _ = io.WriteString(w, "OK")
	return nil
}

func swarmHeader(info control.NodeInfo) string {
	if info.State != swarm.LocalNodeStateActive {
		return string(info.State)
	}
	if info.Manager {
		return "active/manager"
	}
	return "active/worker"
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	engine := system.ComponentVersion{
		Name:    "Engine",
		Version: s.host.Version,
		Details: map[string]string{
			"ApiVersion":    newest().String(),
			"MinAPIVersion": oldest().String(),
			"Arch":          runtime.GOARCH,
			"Os":            "linux",
			"BuildTime":     s.host.BuildTime,
			"Experimental":  "false",
			"GitCommit":     s.host.GitCommit,
			"GoVersion":     runtime.Version(),
			"KernelVersion": s.host.KernelVersion,
		},
	}
	writeJSON(w, http.StatusOK, system.VersionResponse{
		Platform:      system.PlatformInfo{Name: "swarmd"},
		Components:    append([]system.ComponentVersion{engine}, s.host.Components...),
		Version:       s.host.Version,
		APIVersion:    newest().String(),
		MinAPIVersion: oldest().String(),
		Os:            "linux",
		Arch:          runtime.GOARCH,
		GitCommit:     s.host.GitCommit,
		GoVersion:     runtime.Version(),
		KernelVersion: s.host.KernelVersion,
		BuildTime:     s.host.BuildTime,
	})
	return nil
}

// info must be fast: the CLI asks it who this node is. Numbers that do not come
// soon are left out, with a warning.
func (s *Server) info(w http.ResponseWriter, r *http.Request) error {
	answer, err := call[control.NodeInfo](r.Context(), s.engine, control.Info{})
	if err != nil {
		return err
	}
	info := s.hostInfo()
	info.Swarm = renderInfo(answer)
	ctx, cancel := context.WithTimeout(r.Context(), countsWait)
	defer cancel()
	counts, err := s.runtime.Counts(ctx)
	if err != nil {
		info.Warnings = append(info.Warnings, fmt.Sprintf("WARNING: containers and images were not counted: %v", err))
	}
	info.Containers = counts.Running + counts.Paused + counts.Stopped
	info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = counts.Running, counts.Paused, counts.Stopped
	info.Images = counts.Images
	writeJSON(w, http.StatusOK, info)
	return nil
}

func (s *Server) hostInfo() system.Info {
	name := s.host.Runtime
	if name == "" {
		name = "runc"
	}
	return system.Info{
		ID:   s.host.ID,
		Name: s.host.Name,
		Plugins: system.PluginsInfo{
			Volume:  []string{"local"},
			Network: []string{"bridge", "host", "null"},
			Log:     s.host.LoggingDrivers,
		},
		Driver:             s.host.Driver,
		DriverStatus:       [][2]string{},
		MemoryLimit:        true,
		SwapLimit:          true,
		CPUCfsPeriod:       true,
		CPUCfsQuota:        true,
		CPUShares:          true,
		CPUSet:             true,
		PidsLimit:          true,
		IPv4Forwarding:     strings.TrimSpace(fileText("/proc/sys/net/ipv4/ip_forward")) == "1",
		NGoroutines:        runtime.NumGoroutine(),
		SystemTime:         time.Now().Format(time.RFC3339Nano),
		LoggingDriver:      "json-file",
		CgroupDriver:       "cgroupfs",
		CgroupVersion:      s.host.CgroupVersion,
		NEventsListener:    s.events.watching(),
		KernelVersion:      s.host.KernelVersion,
		OperatingSystem:    s.host.OperatingSystem,
		OSType:             "linux",
		Architecture:       machine(),
		IndexServerAddress: "https://index.docker.io/v1/",
		NCPU:               s.host.CPUs,
		MemTotal:           s.host.MemoryBytes,
		DockerRootDir:      s.host.RootDir,
		Labels:             append([]string{}, s.host.Labels...),
		ServerVersion:      s.host.Version,
		Runtimes:           map[string]system.RuntimeWithStatus{name: {Runtime: system.Runtime{Path: name}}},
		DefaultRuntime:     name,
		LiveRestoreEnabled: true,
		SecurityOptions:    []string{"name=seccomp,profile=builtin"},
	}
}

// machine is the architecture as uname -m says it.
func machine() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return runtime.GOARCH
	}
}

// login asks the registry whether credentials are good; docker keeps them.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	var auth registry.AuthConfig
	if err := readJSON(w, r, &auth); err != nil {
		return err
	}
	answer, err := s.runtime.Login(r.Context(), auth)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// distribution asks a registry what an image is. The name has slashes in it.
func (s *Server) distribution(w http.ResponseWriter, r *http.Request) error {
	ref, ok := strings.CutSuffix(r.PathValue("rest"), "/json")
	if !ok || ref == "" {
		return fail(http.StatusNotFound, "page not found")
	}
	ctx, cancel := context.WithTimeout(r.Context(), distributeWait)
	defer cancel()
	answer, err := s.runtime.Distribution(ctx, ref, r.Header.Get(registry.AuthHeader))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// diskUsage adds up what is on this node, in the shape of API 1.50 and before.
func (s *Server) diskUsage(w http.ResponseWriter, r *http.Request) error {
	usage := struct {
		LayersSize int64
		Images     []image.Summary
		Containers []container.Summary
		Volumes    []volume.Volume
		BuildCache []struct{}
	}{BuildCache: []struct{}{}}
	var err error
	if usage.Images, err = s.runtime.Images(r.Context()); err != nil {
		return err
	}
	if usage.Containers, err = s.runtime.Containers(r.Context()); err != nil {
		return err
	}
	if usage.Volumes, err = s.runtime.Volumes(r.Context()); err != nil {
		return err
	}
	for _, summary := range usage.Images {
		usage.LayersSize += summary.Size
	}
	usage.Volumes = slices.Clone(usage.Volumes)
	for i := range usage.Volumes {
		usage.Volumes[i].UsageData = usageOf(usage.Volumes[i], usage.Containers)
	}
	writeJSON(w, http.StatusOK, usage)
	return nil
}

// usageOf counts the containers that have a volume: the CLI reads it of every
// volume that is listed. A size that is not known is -1.
func usageOf(v volume.Volume, containers []container.Summary) *volume.UsageData {
	usage := volume.UsageData{Size: -1}
	if v.UsageData != nil {
		usage.Size = v.UsageData.Size
	}
	for _, c := range containers {
		if slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Name == v.Name }) {
			usage.RefCount++
		}
	}
	return &usage
}

// watching is how many clients watch events.
func (b *broker) watching() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers)
}
