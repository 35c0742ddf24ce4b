package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
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

// groupPatience is how long processes that were killed may take to end, and
// groupPeriod how often that is looked at.
const (
	groupPatience = 5 * time.Second
	groupPeriod   = 10 * time.Millisecond
)

// clearCgroups ends what there is in the control groups of a container that does not
// run, and removes them. runc has done so, unless it was cut short while it made the
// container's process, as when containerd ends at that moment: it knows nothing of
// such a container afterwards.
func (r *Runtime) clearCgroups(ctx context.Context, id string) error {
	pattern := filepath.Join(cgroupRoot, "*", r.cgroupPath(id))
	if r.host.cgroup2 {
		pattern = filepath.Join(cgroupRoot, r.cgroupPath(id))
	}
	for began := time.Now(); ; awaitClosed(ctx, ctx.Done(), groupPeriod) {
		groups, err := filepath.Glob(pattern)
		if err != nil || len(groups) == 0 {
			return err
		}
		if time.Since(began) > groupPatience || ctx.Err() != nil {
			return fmt.Errorf("the processes of container %s do not end: its control group %s cannot be removed", id, groups[0])
		}
		for _, group := range groups {
			killGroup(group)
			removeGroup(group)
		}
	}
}

// killGroup kills the processes in a control group and in those below it.
func killGroup(group string) {
	_ = filepath.WalkDir(group, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // it has gone meanwhile
		}
		text, _ := os.ReadFile(path)
		for line := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		return nil
	})
}

// removeGroup removes a control group with those below it, as far as they are empty.
func removeGroup(group string) {
	var all []string
	_ = filepath.WalkDir(group, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return nil //nolint:nilerr // it has gone meanwhile
	})
	for _, path := range slices.Backward(all) {
		_ = os.Remove(path)
	}
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
			if r.known(e.Name()) {
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
		if !r.known(info.Labels[snapshotLabel]) {
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
		entries, _ := os.ReadDir(filepath.Join(root, ours))
		for _, e := range entries {
			if e.IsDir() && !r.known(e.Name()) {
				removeGroup(filepath.Join(root, ours, e.Name()))
			}
		}
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
