package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"
)

// Daemons that a host can run.
const (
	Swarmd  = "swarmd"
	Dockerd = "dockerd"
)

// DefaultAddr is a host's address unless told otherwise. Hosts without a switch do
// not see each other: each is alone with its address.
const DefaultAddr = "10.77.0.10"

const (
	pollPeriod   = 20 * time.Millisecond // how often a daemon is asked whether it serves yet
	startPeriod  = 60 * time.Second      // how long it may take until it does
	stopPeriod   = 60 * time.Second      // how long a daemon may take to end
	logTailBytes = 4096                  // how much of its log an error shows
)

// markName is the variable in the environment of a host's daemon, and of all that
// this starts but containers, that says whose they are: the directory of the host.
const markName = "SWARMD_LAB_HOST"

// A Config says what a host is to be.
type Config struct {
	Dir     string   // what the host has is below it; made by NewHost, must not exist
	Data    string   `json:",omitempty"` // what the daemon keeps for ever; below Dir if empty, else the same
	Name    string   // its host name
	Addr    string   // its address, DefaultAddr if empty
	Switch  string   `json:",omitempty"` // the network namespace of the switch that it is on, if any
	Daemon  string   // Swarmd or Dockerd
	Program string   // the daemon's file; found on PATH if empty
	Args    []string `json:",omitempty"` // further arguments of the daemon
	Nice    int      `json:",omitempty"` // the daemon's niceness

	// What it is to be in the swarm that its cluster forms.
	Manager      bool                   `json:",omitempty"`
	Availability swarm.NodeAvailability `json:",omitempty"`
}

// A Host is a machine of the lab. Its methods are for one goroutine at a time.
type Host struct {
	Config
	Deaf  []string `json:",omitempty"` // addresses of hosts that it does not hear
	netns string
	child *exec.Cmd  // the daemon, if this process has started it
	ended chan error // gets that daemon's end
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
	if c.Data == "" {
		c.Data = filepath.Join(c.Dir, "data")
	}
	paths := []*string{&c.Dir, &c.Data}
	if strings.Contains(c.Program, "/") {
		paths = append(paths, &c.Program)
	}
	for _, path := range paths { // other processes have other working directories
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	for _, dir := range []string{c.Dir, c.Data} {
		if err := os.Mkdir(dir, 0o711); err != nil {
			return nil, fmt.Errorf("cannot make the directory of host %s: %w", c.Name, err)
		}
	}
	h := &Host{Config: c, netns: namespaceName(c.Dir)}
	if err := errors.Join(h.save(), h.plugIn()); err != nil {
		return nil, errors.Join(err, h.Remove())
	}
	return h, nil
}

// OpenHost is the host that another process has made in the directory.
func OpenHost(dir string) (*Host, error) {
	text, err := os.ReadFile(filepath.Join(dir, "host.json"))
	h := &Host{netns: namespaceName(dir)}
	if err == nil {
		err = json.Unmarshal(text, h)
	}
	if err != nil {
		return nil, fmt.Errorf("there is no host in %s: %w", dir, err)
	}
	return h, nil
}

// save writes down what the host is.
func (h *Host) save() error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(h.Dir, "host.json"), text)
}

// Socket is the path of the API's socket.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "docker.sock") }

// LogFile is where the daemon's output goes.
func (h *Host) LogFile() string { return filepath.Join(h.Dir, "log") }

func (h *Host) pidFile() string { return filepath.Join(h.Dir, "pid") }
func (h *Host) runDir() string  { return filepath.Join(h.Dir, "run") }

// Command is a program to be run on the host, with DOCKER_HOST set.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// nsenter and unshare become the program: a signal reaches it.
	words := append([]string{"--net=" + h.NetworkNamespace(), "unshare", "--uts", "sh", "-c", `hostname "$0"; exec "$@"`, h.Name, name}, args...)
	c := exec.CommandContext(ctx, "nsenter", words...)
	c.Env = append(environ(), "DOCKER_HOST=unix://"+h.Socket(), "DOCKER_CLI_HINTS=false")
	return c
}

// environ is that of this process, which is no host's.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, markName+"=") })
}

func (h *Host) mark() string { return markName + "=" + h.Dir }

// Start runs the daemon and returns once it serves. A host whose power was cut is
// given it again, and a daemon that stands still goes on.
func (h *Host) Start(ctx context.Context) error {
	if h.State() == Paused {
		return h.Resume()
	}
	if !h.powered() {
		if err := h.plugIn(); err != nil {
			return err
		}
	}
	if !readProcess(h.pidFile()).runs() {
		if err := h.startDaemon(ctx); err != nil {
			return err
		}
	}
	return h.awaitServing(ctx)
}

func (h *Host) startDaemon(ctx context.Context) error {
	log, err := os.OpenFile(h.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the daemon has it open
	words := append(h.arguments(), h.Args...)
	h.child = h.Command(context.WithoutCancel(ctx), "nice", append([]string{"-n", strconv.Itoa(h.Nice), h.Program}, words...)...)
	h.child.Stdout, h.child.Stderr = log, log
	h.child.Env = append(environ(), h.mark())
	h.child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	if err := h.child.Start(); err != nil {
		return err
	}
	noted := noteProcess(h.pidFile(), h.child.Process.Pid)
	h.ended = make(chan error, 1)
	go func(d *exec.Cmd, ended chan<- error) { ended <- d.Wait() }(h.child, h.ended)
	return noted
}

func (h *Host) arguments() []string {
	socket := "unix://" + h.Socket()
	if h.Daemon == Swarmd {
		return []string{"--host", socket, "--data-dir", h.Data, "--run-dir", h.runDir()}
	}
	return []string{
		"--host", socket, "--data-root", h.Data, "--exec-root", h.runDir(), "--pidfile", filepath.Join(h.Dir, "dockerd.pid"),
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
	daemon := readProcess(h.pidFile())
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/_ping", http.NoBody)
		if err != nil {
			return err
		}
		if response, err := client.Do(request); err == nil {
			return response.Body.Close()
		}
		if !daemon.runs() {
			return fmt.Errorf("%s of host %s has ended before it served: %w\n%s", h.Daemon, h.Name, h.childsEnd(), h.logTail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s of host %s does not serve: %w\n%s", h.Daemon, h.Name, ctx.Err(), h.logTail())
		case <-poll.C:
		}
	}
}

// childsEnd is how the daemon has ended, if this process has started it.
func (h *Host) childsEnd() error {
	if h.child == nil {
		return nil
	}
	h.child = nil
	return <-h.ended
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
	if p := readProcess(h.pidFile()); p.runs() {
		return p.pid
	}
	return 0
}

// Stop ends the daemon as an administrator does. Its containers go on.
func (h *Host) Stop() error { return h.end(unix.SIGTERM) }

// Kill ends the daemon as a crash does.
func (h *Host) Kill() error {
	err := h.end(unix.SIGKILL)
	if _, killed := errors.AsType[*exec.ExitError](err); killed {
		return nil // which is no clean exit
	}
	return err
}

func (h *Host) end(signal unix.Signal) error {
	p := readProcess(h.pidFile())
	err := p.signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		_ = h.childsEnd() // it had ended by itself
		return nil
	}
	if err != nil {
		return err
	}
	_ = p.signal(unix.SIGCONT) // one that stands still would not hear
	if !p.awaitEnd(stopPeriod) {
		return errors.Join(fmt.Errorf("%s of host %s did not end within %v of signal %v", h.Daemon, h.Name, stopPeriod, signal), p.signal(unix.SIGKILL))
	}
	return h.childsEnd()
}

func (h *Host) logTail() string {
	log, err := os.ReadFile(h.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-logTailBytes):])
}
