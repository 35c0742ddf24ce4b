package runtime

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/swarmd/swarmd/real/runtime/shimstart"
)

// Limits of a container's resources, and Docker's constants.
const (
	cpuPeriod    = 100_000 // microseconds
	memoryMin    = 6 << 20 // Docker's: less does not start anything
	shmBytes     = 64 << 20
	oomScoreMin  = -1000
	oomScoreMax  = 1000
	nanoCPUs     = 1_000_000_000
	rlimitPrefix = "RLIMIT_"
)

// ociSpec is what the container is, for runc. images are the mounts of other
// images, by their targets.
func (r *Runtime) ociSpec(rec *record, who identityOf, images map[string]specs.Mount) (*specs.Spec, error) {
	c := rec.Container
	process, err := r.process(rec, who)
	if err != nil {
		return nil, err
	}
	mounts, propagation, err := r.ociMounts(rec, images)
	if err != nil {
		return nil, err
	}
	resources, err := r.resources(c.Limits)
	if err != nil {
		return nil, err
	}
	sysctls := map[string]string{
		// As in Docker: whoever is in the container may use any port, and ping.
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	maps.Copy(sysctls, c.Spec.Sysctls)
	spec := &specs.Spec{
		Version:  specs.Version,
		Process:  process,
		Root:     &specs.Root{Path: "rootfs", Readonly: c.Spec.ReadOnly},
		Hostname: rec.Hostname,
		Mounts:   mounts,
		// Every container has a shim, and most share it.
		Annotations: map[string]string{shimstart.Group: rec.Shim},
		Linux: &specs.Linux{
			CgroupsPath:       r.cgroupPath(c.ID),
			Namespaces:        r.namespaces(c),
			Resources:         resources,
			Sysctl:            sysctls,
			MaskedPaths:       maskedPaths(),
			ReadonlyPaths:     readonlyPaths(),
			RootfsPropagation: propagation,
		},
	}
	return spec, r.confine(spec, c.Spec.Privileges)
}

func (r *Runtime) process(rec *record, who identityOf) (*specs.Process, error) {
	spec := rec.Container.Spec
	caps, err := capabilities(spec.CapabilityAdd, spec.CapabilityDrop, r.host.capabilities)
	if err != nil {
		return nil, err
	}
	rlimits, err := rlimitsOf(spec.Ulimits)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:     spec.TTY,
		User:         who,
		Args:         rec.Args,
		Env:          rec.Env,
		Cwd:          rec.WorkingDir,
		Capabilities: capabilitySets(caps, who.UID),
		Rlimits:      rlimits,
	}
	if !filepath.IsAbs(p.Cwd) {
		return nil, invalidf("the working directory '%s' is invalid, it needs to be an absolute path", p.Cwd)
	}
	if spec.OomScoreAdj < oomScoreMin || spec.OomScoreAdj > oomScoreMax {
		return nil, invalidf("invalid value %d, range for oom score adj is [%d, %d]", spec.OomScoreAdj, oomScoreMin, oomScoreMax)
	}
	score := int(spec.OomScoreAdj)
	p.OOMScoreAdj = &score
	return p, nil
}

// capabilitySets gives them to root at once; others get them only from files.
func capabilitySets(caps []string, uid uint32) *specs.LinuxCapabilities {
	sets := &specs.LinuxCapabilities{Bounding: caps}
	if uid == 0 {
		sets.Effective, sets.Permitted = caps, caps
	}
	return sets
}

func rlimitsOf(ulimits []*units.Ulimit) ([]specs.POSIXRlimit, error) {
	var limits []specs.POSIXRlimit
	for _, u := range ulimits {
		if _, err := u.GetRlimit(); err != nil {
			return nil, invalidf("invalid ulimit %s: %s", u.Name, err)
		}
		// -1 is no limit, which is the largest number.
		limits = append(limits, specs.POSIXRlimit{
			Type: rlimitPrefix + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	return limits, nil
}

func (r *Runtime) resources(limits swarm.Limit) (*specs.LinuxResources, error) {
	res := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if n := limits.MemoryBytes; n > 0 {
		if n < memoryMin {
			return nil, invalidf("Minimum memory limit allowed is 6MB")
		}
		res.Memory = &specs.LinuxMemory{Limit: &n}
		if r.host.memorySwap {
			swap := 2 * n // Docker's: as much swap as memory
			res.Memory.Swap = &swap
		}
	}
	if n := limits.NanoCPUs; n > 0 {
		period := uint64(cpuPeriod)
		quota := max(n*cpuPeriod/nanoCPUs, 1000) // the kernel's least
		res.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if n := limits.Pids; n > 0 {
		res.Pids = &specs.LinuxPids{Limit: &n}
	}
	return res, nil
}

// confine applies what is to keep a process inside.
func (r *Runtime) confine(spec *specs.Spec, privileges *swarm.Privileges) error {
	if privileges == nil {
		privileges = &swarm.Privileges{}
	}
	if privileges.CredentialSpec != nil {
		return unsupported("credential specs are of Windows containers")
	}
	if s := privileges.SELinuxContext; s != nil && (s.User != "" || s.Role != "" || s.Type != "" || s.Level != "") {
		return unsupported("SELinux labels are not supported: leave User, Role, Type and Level out of SELinuxContext")
	}
	spec.Process.NoNewPrivileges = privileges.NoNewPrivileges
	mode := swarm.SeccompModeDefault
	if s := privileges.Seccomp; s != nil && s.Mode != "" {
		mode = s.Mode
	}
	switch mode {
	case swarm.SeccompModeUnconfined:
	case swarm.SeccompModeDefault:
		if r.host.seccomp {
			spec.Linux.Seccomp = seccomp.DefaultProfile(spec)
		}
	case swarm.SeccompModeCustom:
		if !r.host.seccomp {
			return unsupported("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
		}
		profile, err := customSeccomp(privileges.Seccomp.Profile, spec.Process.Capabilities.Bounding)
		if err != nil {
			return err
		}
		spec.Linux.Seccomp = profile
	default:
		return invalidf("unknown seccomp mode: %q", mode)
	}
	if a := privileges.AppArmor; a == nil || a.Mode != swarm.AppArmorModeDisabled {
		spec.Process.ApparmorProfile = r.host.apparmor
	} else if r.host.apparmor != "" {
		spec.Process.ApparmorProfile = "unconfined"
	}
	return nil
}

// imageMounts are the mounts of other images: read-only views of them, which
// are removed with the container.
func (r *Runtime) imageMounts(ctx context.Context, i *instance) (map[string]specs.Mount, error) {
	made := make(map[string]specs.Mount)
	for n, m := range i.record.Declared {
		if m.Type != "image" {
			continue
		}
		if m.ImageOptions != nil && m.ImageOptions.Subpath != "" {
			return nil, unsupported("invalid mount config for type \"image\": a subpath is not supported here")
		}
		image, err := r.image(ctx, m.Source)
		if err != nil {
			return nil, err
		}
		if err := r.unpack(ctx, image); err != nil {
			return nil, err
		}
		mount, err := r.viewImage(ctx, i, n, image)
		if err != nil {
			return nil, fmt.Errorf("cannot mount image %s: %w", m.Source, err)
		}
		mount.Destination = filepath.Clean(m.Target)
		made[mount.Destination] = mount
	}
	return made, nil
}
