package runtime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limits of executions.
const (
	execsKeptMax    = 1024
	execLingerMax   = 2 * time.Second // for output, when the process has ended but another holds its streams
	execCleanup     = 10 * time.Second
	codeNotFound    = 127
	codeNotPossible = 126
)

// streams are where a process reads and writes; nil ones are not used.
type streams struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	consoleSize    *[2]uint // height, width
}

// randomID is 64 hexadecimal digits.
func randomID() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // it never fails
	return hex.EncodeToString(random[:])
}

// baseProcess is how the container's own process was started.
func (r *Runtime) baseProcess(ctx context.Context, i *instance) (specs.Process, error) {
	i.mu.Lock()
	known := i.process
	i.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	c, err := r.client.ContainerService().Get(ctx, i.id())
	if err != nil {
		return specs.Process{}, fmt.Errorf("cannot read container %s: %w", i.id(), err)
	}
	var spec specs.Spec
	if err := typeurl.UnmarshalTo(c.Spec, &spec); err != nil || spec.Process == nil {
		return specs.Process{}, fmt.Errorf("the specification of container %s cannot be read: %w", i.id(), err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.process = spec.Process
	return *spec.Process, nil
}

// runExec runs a process in a container until it has ended and what it wrote has
// been copied. started is called with its pid. When ctx ends it is killed.
func (r *Runtime) runExec(ctx context.Context, i *instance, id string, process specs.Process, s streams, started func(pid int)) (code int, err error) {
	if s.consoleSize != nil && process.Terminal {
		process.ConsoleSize = &specs.Box{Height: s.consoleSize[0], Width: s.consoleSize[1]}
	}
	encoded, err := typeurl.MarshalAnyToProto(&process)
	if err != nil {
		return 0, fmt.Errorf("cannot encode the process: %w", err)
	}
	service := r.client.TaskService()
	watch := &activity{}
	wired := streams{stdout: watch.writer(s.stdout), stderr: watch.writer(s.stderr)}
	ready := make(chan struct{})
	if s.stdin != nil {
		wired.stdin = &stdinReader{in: s.stdin, ended: func() {
			<-ready
			_, _ = service.CloseIO(r.ctx, &tasks.CloseIORequest{ContainerID: i.id(), ExecID: id, Stdin: true})
		}}
	}
	pipes, err := wired.open(filepath.Join(r.config.State, "exec"), id, process.Terminal)
	if err != nil {
		return 0, fmt.Errorf("cannot make the streams of the process: %w", err)
	}
	defer pipes.Close() //nolint:errcheck // the FIFOs are of no use any more
	c := pipes.Config()
	if _, err := service.Exec(ctx, &tasks.ExecProcessRequest{
		ContainerID: i.id(), ExecID: id, Terminal: process.Terminal,
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, Spec: encoded,
	}); err != nil {
		close(ready)
		pipes.Cancel()
		return 0, native(err)
	}
	defer r.deleteExec(i, id)
	response, err := service.Start(ctx, &tasks.StartRequest{ContainerID: i.id(), ExecID: id})
	close(ready)
	if err != nil {
		pipes.Cancel()
		return startCode(err), native(err)
	}
	started(int(response.Pid))
	code, err = r.awaitExec(ctx, i, id)
	watch.settle(pipes)
	return code, err
}

// startCode is the exit code of a process that could not be started, as shells
// have it.
func startCode(err error) int {
	text := err.Error()
	if strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return codeNotFound
	}
	return codeNotPossible
}

// awaitExec waits for a process; when ctx ends, it kills it first.
func (r *Runtime) awaitExec(ctx context.Context, i *instance, id string) (int, error) {
	request := &tasks.WaitRequest{ContainerID: i.id(), ExecID: id}
	response, err := r.client.TaskService().Wait(ctx, request)
	if err == nil {
		return int(response.ExitStatus), nil
	}
	if ctx.Err() == nil {
		return 0, native(err)
	}
	cleanup, cancel := context.WithTimeout(r.ctx, execCleanup)
	defer cancel()
	_, _ = r.client.TaskService().Kill(cleanup, &tasks.KillRequest{ContainerID: i.id(), ExecID: id, Signal: uint32(unix.SIGKILL), All: true})
	_, _ = r.client.TaskService().Wait(cleanup, request)
	return 0, ctx.Err()
}

func (r *Runtime) deleteExec(i *instance, id string) {
	ctx, cancel := context.WithTimeout(r.ctx, execCleanup)
	defer cancel()
	_, err := r.client.TaskService().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: i.id(), ExecID: id})
	if err != nil && !errdefs.IsNotFound(native(err)) && r.ctx.Err() == nil {
		r.log.Debug("the remains of an added process could not be removed", "container", i.id(), "exec", id, "error", err)
	}
}

func (r *Runtime) resizeExec(ctx context.Context, i *instance, id string, height, width uint) error {
	_, err := r.client.TaskService().ResizePty(ctx, &tasks.ResizePtyRequest{
		ContainerID: i.id(), ExecID: id, Height: uint32(height), Width: uint32(width),
	})
	return native(err)
}

// open makes the FIFOs and begins to copy.
func (s streams) open(dir, id string, terminal bool) (cio.IO, error) {
	options := []cio.Opt{cio.WithStreams(s.stdin, s.stdout, s.stderr), cio.WithFIFODir(dir)}
	if terminal {
		options = append(options, cio.WithTerminal)
	}
	return cio.NewCreator(options...)(id)
}

// A stdinReader tells when the input has ended.
type stdinReader struct {
	in    io.Reader
	once  sync.Once
	ended func()
}

func (s *stdinReader) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil {
		s.once.Do(func() { go s.ended() }) // what has been read is passed on first
	}
	return n, err
}

// activity knows whether output still comes.
type activity struct {
	writing atomic.Int32
	last    atomic.Int64 // UnixNano
}

func (a *activity) writer(to io.Writer) io.Writer {
	if to == nil {
		to = io.Discard
	}
	return activeWriter{a, to}
}

type activeWriter struct {
	*activity
	to io.Writer
}

func (w activeWriter) Write(p []byte) (int, error) {
	w.writing.Add(1)
	n, err := w.to.Write(p)
	w.last.Store(time.Now().UnixNano())
	w.writing.Add(-1)
	return n, err
}

// settle waits for the rest of the output of a process that has ended. Another
// process may hold its streams for ever: it is waited for as long as something
// comes.
func (a *activity) settle(pipes cio.IO) {
	done := make(chan struct{})
	go func() { pipes.Wait(); close(done) }()
	a.last.Store(max(a.last.Load(), time.Now().UnixNano()))
	ticker := time.NewTicker(execLingerMax / 4)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if a.writing.Load() == 0 && time.Since(time.Unix(0, a.last.Load())) > execLingerMax {
				pipes.Cancel()
				return
			}
		}
	}
}

// tellExec publishes what has happened to an added process.
func (r *Runtime) tellExec(i *instance, action events.Action, id string, command []string, code *int) {
	attributes := map[string]string{"execID": id}
	if command != nil {
		action = events.Action(string(action) + ": " + strings.Join(command, " "))
	}
	if code != nil {
		attributes["exitCode"] = fmt.Sprint(*code)
	}
	r.tell(i, action, attributes)
}

// execFailure is why a process could not be run, in Docker's words.
func execFailure(i *instance, err error) error {
	switch {
	case errdefs.IsNotFound(err), errors.Is(err, errdefs.ErrFailedPrecondition):
		return conflictf("container %s is not running", i.id())
	case strings.Contains(err.Error(), "OCI runtime exec failed"):
		return invalidf("%s", err)
	default:
		return fmt.Errorf("cannot run a process in container %s: %w", i.id(), err)
	}
}
