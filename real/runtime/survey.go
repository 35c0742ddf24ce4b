package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/apparmor"
	hostapparmor "github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/cap"
	"golang.org/x/sys/unix"
)

// A host is what this machine offers to containers.
type host struct {
	snapshotter string
	version     string // of containerd
	cgroup2     bool   // the unified hierarchy
	memorySwap  bool   // memory and swap are accounted together (cgroup v1)
	seccomp     bool
	// recursiveReadOnly says that a mount with all below it can be made read-only.
	recursiveReadOnly bool
	apparmor          string   // profile of containers, "" without AppArmor
	capabilities      []string // all that a container can be given
	initCommand       []string // of the init that is mounted into containers; nil: there is none
}

// apparmorProfile is the name of the profile that we load.
const apparmorProfile = "swarmd-default"

// survey looks at the machine, once.
func survey(ctx context.Context, client *containerd.Client, c Config) (host, error) {
	version, err := client.Version(ctx)
	if err != nil {
		return host{}, fmt.Errorf("cannot learn containerd's version: %w", err)
	}
	h := host{version: version.Version, initCommand: findInit(c.InitBinary)}
	if h.snapshotter, err = chooseSnapshotter(ctx, client); err != nil {
		return host{}, err
	}
	var fs unix.Statfs_t
	h.cgroup2 = unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
	_, err = os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	h.memorySwap = h.cgroup2 || err == nil
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err == nil {
		h.seccomp = true
	}
	h.recursiveReadOnly = !errors.Is(unix.MountSetattr(-1, "", 0, &unix.MountAttr{}), unix.ENOSYS)
	if h.capabilities, err = hostCapabilities(); err != nil {
		return host{}, err
	}
	if hostapparmor.HostSupports() {
		h.apparmor = apparmorProfile
		if err := apparmor.LoadDefaultProfile(apparmorProfile); err != nil {
			c.Logger.Warn("the AppArmor profile cannot be loaded; containers run without", "error", err)
			h.apparmor = ""
		}
	}
	c.Logger.Debug("the host was surveyed", slog.String("snapshotter", h.snapshotter), slog.Bool("cgroup2", h.cgroup2))
	return h, nil
}

// chooseSnapshotter returns the first of ours that works here.
func chooseSnapshotter(ctx context.Context, client *containerd.Client) (string, error) {
	plugins, err := client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", fmt.Errorf("cannot list containerd's snapshotters: %w", err)
	}
	var reasons []error
	for _, name := range []string{"overlayfs", "native"} {
		for _, p := range plugins.Plugins {
			if p.ID != name {
				continue
			}
			if p.InitErr == nil {
				return name, nil
			}
			reasons = append(reasons, fmt.Errorf("%s: %s", name, p.InitErr.Message))
		}
	}
	return "", fmt.Errorf("containerd has neither overlayfs nor native snapshots: %w", errors.Join(reasons...))
}

// hostCapabilities are those that the kernel knows and that are in our bounding
// set: no more can be given to anybody.
func hostCapabilities() ([]string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, fmt.Errorf("cannot read our capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		text, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read our capabilities: %w", err)
		}
		names, _ := cap.FromBitmap(bits)
		slices.Sort(names)
		return names, nil
	}
	return nil, errors.New("cannot read our capabilities: /proc/self/status has no CapBnd")
}

// findInit returns the command of an init that runs in any container: it must
// be linked statically.
func findInit(own []string) []string {
	for _, name := range []string{"docker-init", "tini-static", "tini"} {
		for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/usr/libexec/docker", "/usr/lib/docker", "/sbin", "/bin"} {
			path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
			if err == nil && isStatic(path) {
				return []string{path, "--"}
			}
		}
	}
	if len(own) > 0 && isStatic(own[0]) {
		return own
	}
	return nil
}
