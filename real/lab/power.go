package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endPeriod is how long what was killed may take to be gone.
const endPeriod = 15 * time.Second

// A State is how a host's daemon is.
type State string

// The states.
const (
	Running State = "running"
	Paused  State = "stopped" // it stands still
	Down    State = "down"    // the daemon does not run, the host does
	Off     State = "off"     // the host has no power
)

// State is how the host's daemon is.
func (h *Host) State() State {
	switch status := readProcess(h.pidFile()).status(); {
	case status == 'T' || status == 't':
		return Paused
	case status != 0:
		return Running
	case h.powered():
		return Down
	default:
		return Off
	}
}

// Pause has the daemon stand still, as SIGSTOP does.
func (h *Host) Pause() error { return h.tell(unix.SIGSTOP, Paused) }

// Resume has a daemon that stands still go on.
func (h *Host) Resume() error { return h.tell(unix.SIGCONT, Running) }

func (h *Host) tell(signal unix.Signal, becomes State) error {
	if err := readProcess(h.pidFile()).signal(signal); err != nil {
		return fmt.Errorf("%s of host %s: %w", h.Daemon, h.Name, err)
	}
	if !await(endPeriod, func() bool { return h.State() == becomes }) {
		return fmt.Errorf("%s of host %s is %s %v after signal %v", h.Daemon, h.Name, h.State(), endPeriod, signal)
	}
	return nil
}

// PowerOff has the host lose its power: nobody is told, and of all that ran on it
// and was in its memory nothing is left. What was written to its disk is.
func (h *Host) PowerOff() error {
	var failed []error
	if h.Switch != "" && h.powered() && namespaceExists(h.Switch) {
		// The cable goes with the network namespace too, but at a time of its own.
		_ = ip([]string{"-n", h.Switch, "link", "del", h.port()})
	}
	failed = append(failed, h.killAll())
	failed = append(failed, h.forget()...)
	failed = append(failed, removeNamespace(h.netns))
	for _, name := range []string{h.runDir(), h.Socket(), h.pidFile()} {
		failed = append(failed, os.RemoveAll(name))
	}
	return errors.Join(failed...)
}

// killAll ends every process of the host at once.
func (h *Host) killAll() error {
	var left []process
	gone := await(endPeriod, func() bool {
		left = append(h.processes(), h.contained()...)
		for _, p := range left {
			_ = p.signal(unix.SIGKILL)
		}
		return len(left) == 0
	})
	if h.child != nil {
		_ = h.childsEnd()
	}
	if !gone {
		return fmt.Errorf("processes of host %s do not end: %v", h.Name, left)
	}
	return nil
}

// forget takes away what a kernel has in its memory: mounts, control groups, and
// the sockets of shims, which containerd has in a place of its own.
func (h *Host) forget() []error {
	var failed []error
	sockets := h.shimSockets()
	for _, path := range h.mounts() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("unmount %s: %w", path, err))
		}
	}
	for _, socket := range sockets {
		_ = os.Remove(socket)
	}
	for _, root := range h.controlGroups() {
		// A group can be removed a moment after its last process has gone.
		if !await(endPeriod, func() bool { return removeGroup(root) }) {
			failed = append(failed, fmt.Errorf("the control group %s cannot be removed", root))
		}
		if parent := filepath.Dir(root); filepath.Base(parent) == Swarmd {
			_ = unix.Rmdir(parent) // which other daemons may have theirs in
		}
	}
	return failed
}

// removeGroup removes a control group and those in it.
func removeGroup(root string) bool {
	var groups []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	for _, group := range slices.Backward(groups) {
		if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
			return false
		}
	}
	return true
}

// shimGroup is how containerd's database has which shim a container shares.
const shimGroup = `"io\.containerd\.runc\.v2\.group":"([0-9a-z]+)"`

// shimSockets are those of the shims of the host's containers: what containerd has
// noted, and those that it forgets when a shim is killed, as it names them.
func (h *Host) shimSockets() []string {
	var found []string
	// Dockerd's containerd has its own below another directory.
	for _, state := range []string{"runtime/containerd/state", "containerd/daemon"} {
		files, _ := filepath.Glob(filepath.Join(h.runDir(), state, "io.containerd.runtime.v2.task/*/*/address"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				found = append(found, strings.TrimPrefix(strings.TrimSpace(string(text)), "unix://"))
			}
		}
	}
	// The database is read as bytes: nobody has it open by now, and what was
	// deleted from it but not overwritten is wanted too.
	database, _ := os.ReadFile(filepath.Join(h.Data, "runtime/containerd/io.containerd.metadata.v1.bolt/meta.db"))
	groups := map[string]bool{}
	for _, match := range regexp.MustCompile(shimGroup).FindAllSubmatch(database, -1) {
		groups[string(match[1])] = true
	}
	for group := range groups {
		sum := sha256.Sum256([]byte(filepath.Join(h.runDir(), "runtime/containerd/containerd.sock", h.namespace(), group)))
		found = append(found, filepath.Join("/run/containerd/s", hex.EncodeToString(sum[:])))
	}
	return found
}

// processes are those that the host's daemon has started, and it, but for
// containers: the environment says whose they are.
func (h *Host) processes() []process {
	mark := []byte(h.mark())
	var found []process
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for variable := range bytes.SplitSeq(text, []byte{0}) {
			if bytes.Equal(variable, mark) {
				found = appendProcess(found, filepath.Base(filepath.Dir(file)))
				break
			}
		}
	}
	return found
}

// contained are the processes of the host's containers.
func (h *Host) contained() []process {
	var found []process
	for _, root := range h.controlGroups() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				text, _ := os.ReadFile(path)
				for number := range strings.FieldsSeq(string(text)) {
					found = appendProcess(found, number)
				}
			}
			return nil
		})
	}
	return found
}

func appendProcess(list []process, number string) []process {
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 1 {
		return list
	}
	if status, started := stat(pid); status != 0 && status != 'Z' && status != 'X' {
		list = append(list, process{pid, started})
	}
	return list
}
