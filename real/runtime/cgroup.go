package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// cgroupRoot is where the kernel's control groups are.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupPath is a container's control group, from the root of its hierarchy.
func (r *Runtime) cgroupPath(id string) string {
	return filepath.Join("/swarmd", r.config.Namespace, id)
}

// cgroupFile is a file of a container's control group; controller is used where
// each has a hierarchy of its own.
func (r *Runtime) cgroupFile(id, controller, name string) string {
	if r.host.cgroup2 {
		return filepath.Join(cgroupRoot, r.cgroupPath(id), name)
	}
	return filepath.Join(cgroupRoot, controller, r.cgroupPath(id), name)
}

// oomKilled reports whether the kernel has killed a process of the container for
// want of memory. It must be asked before the container's process is deleted.
func (r *Runtime) oomKilled(id string) bool {
	name := "memory.oom_control"
	if r.host.cgroup2 {
		name = "memory.events"
	}
	return keyedNumber(r.cgroupFile(id, "memory", name), "oom_kill") > 0
}

// keyedNumber reads one number of a file of lines "key number", 0 if absent.
func keyedNumber(path, key string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n
		}
	}
	return 0
}

// sweep removes directories and snapshots of containers that are not there any
// more, and control groups that are empty.
func (r *Runtime) sweep(ctx context.Context) {
	r.sweepSnapshots(ctx)
	for _, dir := range []string{filepath.Join(r.config.Root, "containers"), filepath.Join(r.config.State, "containers")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // there were no containers yet
		}
		for _, e := range entries {
			r.mu.Lock()
			known := r.byID[e.Name()] != nil
			r.mu.Unlock()
			if known {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				r.log.Warn("what a container left behind cannot be removed", "path", filepath.Join(dir, e.Name()), "error", err)
			}
		}
	}
	r.sweepCgroups()
}

// sweepSnapshots removes the snapshots of creations that were cut short.
func (r *Runtime) sweepSnapshots(ctx context.Context) {
	service := r.client.SnapshotService(r.host.snapshotter)
	var orphans []string
	err := service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.byID[info.Labels[snapshotLabel]] == nil {
			orphans = append(orphans, info.Name)
		}
		return nil
	}, "labels."+snapshotLabel)
	for _, name := range orphans {
		err = errors.Join(err, service.Remove(ctx, name))
	}
	if err != nil {
		r.log.Warn("snapshots that no container has cannot be removed", "error", err)
	}
}

// sweepCgroups removes our empty control groups; the kernel refuses for others.
func (r *Runtime) sweepCgroups() {
	ours := filepath.Join("/swarmd", r.config.Namespace)
	roots := []string{cgroupRoot}
	if !r.host.cgroup2 {
		roots, _ = filepath.Glob(filepath.Join(cgroupRoot, "*"))
	}
	for _, root := range roots {
		_ = os.Remove(filepath.Join(root, ours))
		_ = os.Remove(filepath.Join(root, filepath.Dir(ours)))
	}
}

// processStart is when a process began; now, if that is not known.
func processStart(pid int) time.Time {
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return time.Now()
	}
	return info.ModTime()
}
