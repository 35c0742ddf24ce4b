package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of the supervision.
const (
	socketPathMax     = 107 // what a unix socket's address holds
	restartDelayMin   = 100 * time.Millisecond
	restartDelayMax   = 10 * time.Second
	steadyAfter       = time.Minute // a containerd that lived so long is started again without delay
	terminationPeriod = 10 * time.Second
	logBytesMax       = 8 << 20 // of containerd's own log, before it is begun anew
)

// A supervisor keeps a private containerd running. The containerd is in a
// session of its own and is not told when this process dies, so that a kill -9
// of this process takes nothing with it; the next one adopts the containerd it
// finds.
type supervisor struct {
	program string
	dir     string // of the socket, the configuration and the log
	address string
	log     *slog.Logger

	cancel context.CancelFunc
	done   chan struct{}
}

// supervise adopts or starts the private containerd, and returns when it
// accepts connections.
func supervise(ctx context.Context, c Config) (*supervisor, error) {
	program := c.Containerd
	if program == "" {
		found, err := exec.LookPath("containerd")
		if err != nil {
			return nil, fmt.Errorf("there is no containerd on PATH: install it, or name the socket of a running one: %w", err)
		}
		program = found
	}
	dir := filepath.Join(c.State, "containerd")
	s := &supervisor{
		program: program, dir: dir, log: c.Logger,
		address: filepath.Join(dir, "containerd.sock"),
		done:    make(chan struct{}),
	}
	if len(s.address)+len(".ttrpc") > socketPathMax {
		return nil, fmt.Errorf("the state directory's path is too long for a socket in it, %d bytes at most: %s", socketPathMax, s.address)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make containerd's directory: %w", err)
	}
	if err := s.configure(filepath.Join(c.Root, "containerd")); err != nil {
		return nil, err
	}
	pid := s.adopt()
	if pid == 0 {
		var err error
		if pid, err = s.start(); err != nil {
			return nil, err
		}
	}
	if err := s.ready(ctx, pid); err != nil {
		s.terminate(pid)
		return nil, err
	}
	watching, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.keep(watching, pid)
	return s, nil
}

// close ends containerd; shims and containers are not its children.
func (s *supervisor) close() {
	s.cancel()
	<-s.done
}

// keep starts containerd again whenever it has died, until ctx ends.
func (s *supervisor) keep(ctx context.Context, pid int) {
	defer close(s.done)
	delay := restartDelayMin
	for {
		began := time.Now()
		if pid != 0 && !awaitExit(ctx, pid) {
			s.terminate(pid)
			return
		}
		if time.Since(began) > steadyAfter {
			delay = restartDelayMin
		}
		s.log.Error("containerd has died, it is started again", "delay", delay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, restartDelayMax)
		var err error
		if pid, err = s.start(); err != nil {
			s.log.Error("containerd cannot be started", "error", err)
		}
	}
}

// configure writes containerd's configuration. Disabled are parts that we do
// not use, for memory and time; io.containerd.runtime.v1.linux is not among
// them, as the tasks service of 1.6 does not load without it.
func (s *supervisor) configure(root string) error {
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = %q
[ttrpc]
  address = %q
[debug]
  level = "warn"
`, root, filepath.Join(s.dir, "state"), s.address, s.address+".ttrpc")
	if err := os.WriteFile(s.configPath(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("cannot write containerd's configuration: %w", err)
	}
	return nil
}

func (s *supervisor) configPath() string { return filepath.Join(s.dir, "config.toml") }
func (s *supervisor) pidPath() string    { return filepath.Join(s.dir, "pid") }

// start starts containerd, and returns its pid.
func (s *supervisor) start() (int, error) {
	name := filepath.Join(s.dir, "log")
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(name); err == nil && info.Size() > logBytesMax {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot open containerd's log: %w", err)
	}
	defer out.Close() //nolint:errcheck // containerd has a descriptor of its own
	cmd := exec.Command(s.program, "--config", s.configPath())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The socket of systemd's notification is ours, not containerd's.
	cmd.Env = slicesWithout(os.Environ(), "NOTIFY_SOCKET=")
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", s.program, err)
	}
	pid := cmd.Process.Pid
	go cmd.Wait() //nolint:errcheck // reaps; whether it lives is watched by its pidfd
	if err := os.WriteFile(s.pidPath(), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		s.log.Warn("cannot note containerd's pid; a next process will not adopt it", "error", err)
	}
	return pid, nil
}

// adopt returns the pid of a containerd that an earlier process started and
// that still runs, 0 if there is none.
func (s *supervisor) adopt() int {
	text, err := os.ReadFile(s.pidPath())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0
	}
	// The pid may belong to another program by now.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte("\x00"+s.configPath()+"\x00")) {
		return 0
	}
	s.log.Info("a containerd of ours still runs, it is adopted", "pid", pid)
	return pid
}

// ready waits until containerd accepts connections.
func (s *supervisor) ready(ctx context.Context, pid int) error {
	for {
		conn, err := net.DialTimeout("unix", s.address, time.Second)
		if err == nil {
			return conn.Close()
		}
		wait, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		exited := awaitExit(wait, pid)
		cancel()
		if exited {
			return fmt.Errorf("containerd ended at once: %s", s.lastWords())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("containerd does not answer at %s: %w: %s", s.address, ctx.Err(), s.lastWords())
		}
	}
}

// lastWords is the end of containerd's log.
func (s *supervisor) lastWords() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	const enough = 1000 // bytes
	return strings.TrimSpace(string(text[max(0, len(text)-enough):]))
}

// terminate ends containerd, by force if it must.
func (s *supervisor) terminate(pid int) {
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, unix.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), terminationPeriod)
	defer cancel()
	if !awaitExit(ctx, pid) {
		_ = unix.Kill(pid, unix.SIGKILL)
		awaitExit(context.Background(), pid)
	}
	_ = os.Remove(s.pidPath())
}

// awaitExit waits for a process, a child or not, to end; it reports false when
// ctx ends first.
func awaitExit(ctx context.Context, pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		return pollExit(ctx, pid)
	}
	defer unix.Close(fd)
	const turn = 20 * time.Millisecond
	for ctx.Err() == nil {
		wait := turn
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 10*turn {
			wait = 10 * turn
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if n > 0 && err == nil {
			return true
		}
	}
	return false
}

// pollExit is awaitExit for kernels without pidfd (before 5.3).
func pollExit(ctx context.Context, pid int) bool {
	for ctx.Err() == nil {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// slicesWithout returns the entries that do not begin with prefix.
func slicesWithout(entries []string, prefix string) []string {
	var kept []string
	for _, e := range entries {
		if !strings.HasPrefix(e, prefix) {
			kept = append(kept, e)
		}
	}
	return kept
}
