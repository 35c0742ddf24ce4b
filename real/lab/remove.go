package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// removePeriod is how long the processes of a removed host may take to end.
const removePeriod = 15 * time.Second

// Remove ends the daemon and its containers in order, and takes the host away. The
// error says what was left and had to be removed by force.
func (h *Host) Remove() error {
	var left []error
	if h.PID() != 0 {
		left = append(left, h.leave(), h.Stop())
	}
	if h.Daemon == Swarmd && h.powered() {
		cleanup := h.Command(context.Background(), h.Program, append([]string{"cleanup"}, h.arguments()[2:]...)...)
		cleanup.Env = append(cleanup.Env, h.mark())
		if out, err := cleanup.CombinedOutput(); err != nil {
			left = append(left, fmt.Errorf("swarmd cleanup: %w: %s", err, out))
		}
		left = append(left, h.awaitNothing())
	}
	return errors.Join(append(left, h.Destroy())...)
}

// Destroy takes the host away, whatever state it is in. Nobody is told.
func (h *Host) Destroy() error {
	return errors.Join(h.PowerOff(), os.RemoveAll(h.Data), os.RemoveAll(h.Dir))
}

// leave takes the host out of the swarm that it may be in.
func (h *Host) leave() error {
	if h.State() == Paused {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPeriod)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/swarm/leave?force=1", http.NoBody)
	if err != nil {
		return err
	}
	response, err := h.Client().Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// awaitNothing waits until nothing is left of the host, and says what is.
func (h *Host) awaitNothing() error {
	var left []string
	if !await(removePeriod, func() bool { left = h.left(); return len(left) == 0 }) {
		return fmt.Errorf("left after removing host %s:\n%s", h.Name, strings.Join(left, "\n"))
	}
	return nil
}

// left is what a host has on this machine beside its files and its network, as
// text.
func (h *Host) left() []string {
	var found []string
	for _, p := range append(h.processes(), h.contained()...) {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "cmdline"))
		found = append(found, fmt.Sprintf("process %d: %s", p.pid, strings.ReplaceAll(string(line), "\x00", " ")))
	}
	return append(append(found, h.mounts()...), h.controlGroups()...)
}

// mounts are those below the host's directories, the last first.
func (h *Host) mounts() []string {
	var found []string
	lines, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(lines)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && (strings.HasPrefix(fields[1], h.Dir+"/") || strings.HasPrefix(fields[1], h.Data+"/")) {
			found = append(found, fields[1])
		}
	}
	slices.Reverse(found)
	return found
}

// controlGroups are those of the host's containers, by hierarchy. Dockerd is told
// their name; swarmd derives it from its directory.
func (h *Host) controlGroups() []string {
	name := h.netns
	if h.Daemon == Swarmd {
		name = filepath.Join(Swarmd, h.namespace())
	}
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	return append(v1, v2...)
}

// namespace is the daemon's own in containerd, and in control groups.
func (h *Host) namespace() string {
	sum := sha256.Sum256([]byte(h.Data))
	return "swarmd-" + hex.EncodeToString(sum[:4])
}
