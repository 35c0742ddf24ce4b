package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removePeriod is how long the processes of a removed host may take to end.
const removePeriod = 15 * time.Second

// Remove ends the daemon and its containers, and takes the host away. The error
// says what was left and had to be removed by force.
func (h *Host) Remove() error {
	var left []error
	if h.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopPeriod)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/swarm/leave?force=1", http.NoBody)
		if err == nil {
			if response, failed := h.Client().Do(request); failed == nil {
				err = response.Body.Close()
			} else {
				err = failed
			}
		}
		left = append(left, err, h.Stop())
	}
	if h.Daemon == Swarmd {
		out, err := h.Command(context.Background(), h.Program, append([]string{"cleanup"}, h.arguments()[2:]...)...).CombinedOutput()
		if err != nil {
			left = append(left, fmt.Errorf("swarmd cleanup: %w: %s", err, out))
		}
		left = append(left, h.awaitNothing())
	}
	h.force()
	if out, err := exec.Command("ip", "netns", "del", h.netns).CombinedOutput(); err != nil {
		left = append(left, fmt.Errorf("remove the network namespace: %w: %s", err, out))
	}
	return errors.Join(append(left, os.RemoveAll(h.Dir))...)
}

// awaitNothing waits until nothing is left of the host, and says what is.
func (h *Host) awaitNothing() error {
	deadline := time.NewTimer(removePeriod)
	defer deadline.Stop()
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for {
		left := append(append(h.processes(), h.mounts()...), h.controlGroups()...)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			return fmt.Errorf("left after removing host %s:\n%s", h.Name, strings.Join(left, "\n"))
		}
	}
}

// processes are those whose arguments name the host's directory, as text.
func (h *Host) processes() []string {
	var found []string
	for pid := range h.pids() {
		line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		found = append(found, "process "+pid+": "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return found
}

func (h *Host) pids() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			line, _ := os.ReadFile(path)
			if strings.Contains(string(line), h.Dir+"/") && !yield(filepath.Base(filepath.Dir(path))) {
				return
			}
		}
	}
}

// mounts are those below the host's directory, the deepest first.
func (h *Host) mounts() []string {
	var found []string
	lines, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(lines)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], h.Dir+"/") {
			found = append(found, fields[1])
		}
	}
	slices.Reverse(found)
	return found
}

// controlGroups are those of the host's containers. Dockerd is told their name;
// swarmd derives it from its directory.
func (h *Host) controlGroups() []string {
	name := h.netns
	if h.Daemon == Swarmd {
		sum := sha256.Sum256([]byte(filepath.Join(h.Dir, "data")))
		name = "swarmd/swarmd-" + hex.EncodeToString(sum[:4])
	}
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	return append(v1, v2...)
}

// force removes what an orderly end has left: dockerd leaves some of each.
func (h *Host) force() {
	for pid := range h.pids() {
		var number int
		if _, err := fmt.Sscan(pid, &number); err == nil {
			_ = unix.Kill(number, unix.SIGKILL)
		}
	}
	for _, path := range h.mounts() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
	}
	for _, root := range h.controlGroups() {
		var groups []string
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for _, group := range slices.Backward(groups) {
			_ = unix.Rmdir(group)
		}
	}
}
