package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Daemons that a host can run.
const (
	Swarmd  = "swarmd"
	Dockerd = "dockerd"
)

// DefaultAddr is a host's address unless told otherwise. Hosts do not see each
// other: each is alone with its address.
const DefaultAddr = "10.77.0.10"

const (
	pollPeriod   = 20 * time.Millisecond // how often a daemon is asked whether it serves yet
	startPeriod  = 60 * time.Second      // how long it may take until it does
	stopPeriod   = 60 * time.Second      // how long a daemon may take to end
	logTailBytes = 4096                  // how much of its log an error shows
)

// A Config says what a host is to be.
type Config struct {
	Dir     string   // what the daemon has is below it; made by NewHost, must not exist
	Name    string   // its host name
	Addr    string   // its address, DefaultAddr if empty
	Daemon  string   // Swarmd or Dockerd
	Program string   // the daemon's file; found on PATH if empty
	Args    []string // further arguments of the daemon
	Nice    int      // the daemon's niceness
}

// A Host is a machine of the lab. Its methods are for one goroutine at a time.
type Host struct {
	Config
	netns  string
	daemon *exec.Cmd
	ended  chan error // gets the daemon's end
}

// NewHost makes a host whose daemon does not run yet.
func NewHost(c Config) (*Host, error) {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.Program == "" {
		c.Program = c.Daemon
	}
	if c.Daemon != Swarmd && c.Daemon != Dockerd {
		return nil, fmt.Errorf("a host runs swarmd or dockerd, not %q", c.Daemon)
	}
	if err := os.Mkdir(c.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("cannot make the directory of host %s: %w", c.Name, err)
	}
	sum := sha256.Sum256([]byte(c.Dir))
	h := &Host{Config: c, netns: "lab-" + hex.EncodeToString(sum[:6])}
	commands := [][]string{
		{"ip", "netns", "add", h.netns},
		{"ip", "-n", h.netns, "link", "set", "lo", "up"},
		{"ip", "-n", h.netns, "link", "add", "eth0", "type", "bridge"},
		{"ip", "-n", h.netns, "addr", "add", h.Addr + "/24", "dev", "eth0"},
		{"ip", "-n", h.netns, "link", "set", "eth0", "up"},
	}
	for _, words := range commands {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out), h.Remove())
		}
	}
	return h, nil
}

// Socket is the path of the API's socket.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "docker.sock") }

// NetworkNamespace is the file that is the host's network namespace.
func (h *Host) NetworkNamespace() string { return filepath.Join("/run/netns", h.netns) }

// LogFile is where the daemon's output goes.
func (h *Host) LogFile() string { return filepath.Join(h.Dir, "log") }

// Command is a program to be run on the host, with DOCKER_HOST set.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// nsenter and unshare become the program: a signal reaches it.
	words := append([]string{"--net=" + h.NetworkNamespace(), "unshare", "--uts", "sh", "-c", `hostname "$0"; exec "$@"`, h.Name, name}, args...)
	c := exec.CommandContext(ctx, "nsenter", words...)
	c.Env = append(os.Environ(), "DOCKER_HOST=unix://"+h.Socket(), "DOCKER_CLI_HINTS=false")
	return c
}

// Start runs the daemon and returns once it serves.
func (h *Host) Start(ctx context.Context) error {
	log, err := os.OpenFile(h.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the daemon has it open
	words := append(h.arguments(), h.Args...)
	h.daemon = h.Command(context.WithoutCancel(ctx), "nice", append([]string{"-n", strconv.Itoa(h.Nice), h.Program}, words...)...)
	h.daemon.Stdout, h.daemon.Stderr = log, log
	h.daemon.Env = os.Environ()
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	if err := h.daemon.Start(); err != nil {
		return err
	}
	h.ended = make(chan error, 1)
	go func(d *exec.Cmd, ended chan<- error) { ended <- d.Wait() }(h.daemon, h.ended)
	return h.awaitServing(ctx)
}

func (h *Host) arguments() []string {
	socket, data, run := "unix://"+h.Socket(), filepath.Join(h.Dir, "data"), filepath.Join(h.Dir, "run")
	if h.Daemon == Swarmd {
		return []string{"--host", socket, "--data-dir", data, "--run-dir", run}
	}
	return []string{
		"--host", socket, "--data-root", data, "--exec-root", run, "--pidfile", filepath.Join(h.Dir, "pid"),
		"--cgroup-parent", h.netns, "--exec-opt", "native.cgroupdriver=cgroupfs",
	}
}

func (h *Host) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPeriod)
	defer cancel()
	client := h.Client()
	defer client.CloseIdleConnections()
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for {
		if response, err := client.Get("http://daemon/_ping"); err == nil {
			return response.Body.Close()
		}
		select {
		case err := <-h.ended:
			h.daemon = nil
			return fmt.Errorf("%s has ended before it served: %w\n%s", h.Daemon, err, h.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w\n%s", h.Daemon, ctx.Err(), h.logTail())
		case <-poll.C:
		}
	}
}

// Client speaks to the daemon; the host part of a URL does not matter.
func (h *Host) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
		},
	}}
}

// PID is the daemon's process, 0 if it does not run.
func (h *Host) PID() int {
	if h.daemon == nil {
		return 0
	}
	return h.daemon.Process.Pid
}

// Stop ends the daemon as an administrator does. Its containers go on.
func (h *Host) Stop() error { return h.end(syscall.SIGTERM) }

// Kill ends the daemon as a crash does.
func (h *Host) Kill() error {
	err := h.end(syscall.SIGKILL)
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil // killed, which is no clean exit
	}
	return err
}

func (h *Host) end(signal syscall.Signal) error {
	if h.daemon == nil {
		return nil
	}
	daemon := h.daemon
	h.daemon = nil
	if err := daemon.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timeout := time.NewTimer(stopPeriod)
	defer timeout.Stop()
	select {
	case err := <-h.ended:
		return err
	case <-timeout.C:
		_ = daemon.Process.Kill()
		<-h.ended //nolint:errcheck // it was killed
		return fmt.Errorf("%s did not end within %v of signal %v", h.Daemon, stopPeriod, signal)
	}
}

func (h *Host) logTail() string {
	log, err := os.ReadFile(h.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-logTailBytes):])
}
