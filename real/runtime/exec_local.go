package runtime

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// An execution is a process that a user has added to a container.
type execution struct {
	id       string
	instance *instance
	request  container.ExecCreateRequest

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	code    *int // set when it has ended
}

// An execTable has the executions, the oldest first.
type execTable struct {
	mu   sync.Mutex
	list []*execution
}

// add takes an execution in; too many old ones make place for it.
func (t *execTable) add(e *execution) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) >= execsKeptMax {
		at := slices.IndexFunc(t.list, func(old *execution) bool { return !old.isRunning() })
		if at < 0 {
			return unavailablef("too many processes were added to containers: at most %d can be at a time", execsKeptMax)
		}
		t.list = slices.Delete(t.list, at, at+1)
	}
	t.list = append(t.list, e)
	return nil
}

func (t *execTable) get(id string) (*execution, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.list {
		if e.id == id {
			return e, nil
		}
	}
	return nil, notFoundf("No such exec instance: %s", id)
}

// forget removes those of a container that is gone.
func (t *execTable) forget(i *instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(e *execution) bool { return e.instance == i })
}

// running are the IDs of those that run in a container, nil if none does.
func (t *execTable) running(i *instance) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for _, e := range t.list {
		if e.instance == i && e.isRunning() {
			ids = append(ids, e.id)
		}
	}
	return ids
}

func (e *execution) isRunning() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

// CreateExec prepares a process and returns its ID, 64 hexadecimal digits.
func (l *Local) CreateExec(_ context.Context, ref string, request container.ExecCreateRequest) (string, error) {
	i, err := l.r.find(ref)
	if err != nil {
		return "", err
	}
	if len(request.Cmd) == 0 {
		return "", invalidf("No exec command specified")
	}
	if !i.now().running() {
		return "", conflictf("container %s is not running", i.id())
	}
	e := &execution{id: randomID(), instance: i, request: request}
	if err := l.r.execs.add(e); err != nil {
		return "", err
	}
	l.r.tellExec(i, events.ActionExecCreate, e.id, request.Cmd, nil)
	return e.id, nil
}

// ExecStreams are where a process reads and writes. Those that it was created
// without are not used; with a terminal, Stderr is not.
type ExecStreams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	ConsoleSize    *[2]uint // height, width
}

// StartExec runs the process and returns when it has ended and all it wrote has
// been written. It does not wait for Stdin to end.
func (l *Local) StartExec(ctx context.Context, id string, given ExecStreams) error {
	e, err := l.r.execs.get(id)
	if err != nil {
		return err
	}
	process, err := l.r.execProcess(ctx, e)
	if err != nil {
		return err
	}
	e.mu.Lock()
	again := e.started
	e.started, e.running = true, true
	e.mu.Unlock()
	if again {
		return conflictf("Error: Exec command %s is already running or has been started before", id)
	}
	s := streams{consoleSize: e.request.ConsoleSize}
	if given.ConsoleSize != nil {
		s.consoleSize = given.ConsoleSize
	}
	if e.request.AttachStdin {
		s.stdin = given.Stdin
	}
	if e.request.AttachStdout {
		s.stdout = given.Stdout
	}
	if e.request.AttachStderr && !e.request.Tty {
		s.stderr = given.Stderr
	}
	i := e.instance
	l.r.tellExec(i, events.ActionExecStart, id, e.request.Cmd, nil)
	code, err := l.r.runExec(ctx, i, id, process, s, func(pid int) {
		e.mu.Lock()
		e.pid = pid
		e.mu.Unlock()
	})
	e.mu.Lock()
	e.running, e.code = false, &code
	e.mu.Unlock()
	l.r.tellExec(i, events.ActionExecDie, id, nil, &code)
	if err != nil && ctx.Err() == nil {
		return execFailure(i, err)
	}
	return err
}

// execProcess is the container's own process, changed as the user asks.
func (r *Runtime) execProcess(ctx context.Context, e *execution) (specs.Process, error) {
	i, request := e.instance, e.request
	l := i.now()
	if !l.running() {
		return specs.Process{}, conflictf("container %s is not running", i.id())
	}
	process, err := r.baseProcess(ctx, i)
	if err != nil {
		return process, err
	}
	process.Args, process.Terminal = request.Cmd, request.Tty
	process.Env = mergeEnv(i.record.Hostname, request.Tty, process.Env, request.Env)
	if request.WorkingDir != "" {
		process.Cwd = request.WorkingDir
	}
	if request.User != "" {
		if process.User, err = lookUpUserOf(l.PID, request.User); err != nil {
			return process, err
		}
	}
	caps := process.Capabilities
	if request.Privileged {
		caps = &specs.LinuxCapabilities{Bounding: r.host.capabilities}
		process.ApparmorProfile = ""
	}
	if caps != nil {
		process.Capabilities = capabilitySets(caps.Bounding, process.User.UID)
	}
	return process, nil
}

// ResizeExec tells a process's terminal its size.
func (l *Local) ResizeExec(ctx context.Context, id string, height, width uint) error {
	e, err := l.r.execs.get(id)
	if err != nil {
		return err
	}
	if !e.isRunning() {
		return conflictf("exec process %s is not running", id)
	}
	if err := l.r.resizeExec(ctx, e.instance, id, height, width); err != nil {
		return fmt.Errorf("cannot resize the terminal of %s: %w", id, err)
	}
	return nil
}

// Exec tells what is known of an added process.
func (l *Local) Exec(_ context.Context, id string) (container.ExecInspectResponse, error) {
	e, err := l.r.execs.get(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return container.ExecInspectResponse{
		ID: e.id, Running: e.running, ExitCode: e.code, ContainerID: e.instance.id(), Pid: e.pid,
		OpenStdin: e.request.AttachStdin, OpenStdout: e.request.AttachStdout, OpenStderr: e.request.AttachStderr,
		CanRemove: e.code != nil,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: e.request.Tty, Entrypoint: e.request.Cmd[0], Arguments: e.request.Cmd[1:],
			Privileged: &e.request.Privileged, User: e.request.User,
		},
	}, nil
}
