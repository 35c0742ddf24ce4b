package runtime

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/runtime/logwriter"
	"github.com/swarmd/swarmd/real/runtime/shimstart"
)

// The test's own program is the log writer and the init of its containers.
const (
	logWriterArgument = "log-writer"
	initArgument      = "container-init"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "-namespace": // as containerd runs a shim's program
			os.Exit(shimstart.Run(os.Args[1:]))
		case logWriterArgument:
			os.Exit(logwriter.Run(os.Args[2:]))
		case initArgument:
			os.Exit(RunInit(os.Args[2:], os.Stderr))
		case victimArgument:
			runVictim(os.Args[2])
		}
	}
	os.Exit(m.Run())
}

const (
	patience  = 30 * time.Second
	busybox   = "/bin/busybox"
	tinyImage = "tiny:1"
)

// A host is a runtime on a containerd of its own, with what it has posted.
type testHost struct {
	*Runtime
	config Config

	mu     sync.Mutex
	events []engine.Event
	more   chan struct{} // closed and replaced when an event is posted
}

// needContainers skips a test where containers cannot be made.
func needContainers(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers can only be made by root: run the tests with sudo")
	}
	for _, program := range []string{"containerd", "runc", busybox} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: apt-get install containerd runc busybox-static", program)
		}
	}
}

// startHost starts a runtime in directories of the test's, and checks at the end
// that nothing is left.
func startHost(t testing.TB) *testHost {
	t.Helper()
	needContainers(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rt") //nolint:usetesting // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	h := &testHost{more: make(chan struct{})}
	h.config = configOf(dir, self)
	h.config.Post = h.post
	h.start(t)
	t.Cleanup(func() { h.end(t, dir) })
	return h
}

func configOf(dir, self string) Config {
	output := io.Discard
	if flag.Parsed() && testing.Verbose() {
		output = os.Stderr
	}
	return Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Namespace: filepath.Base(dir),
		LoggerBinary: []string{self, logWriterArgument}, ShimBinary: self, InitBinary: []string{self, initArgument},
		Logger: slog.New(slog.NewTextHandler(output, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func (h *testHost) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := Start(ctx, h.config)
	if err != nil {
		t.Fatal(err)
	}
	h.Runtime = r
}

// end removes everything, and looks for what is left.
func (h *testHost) end(t testing.TB, dir string) {
	for _, i := range h.all() {
		if err := h.remove(h.ctx, i); err != nil {
			t.Errorf("removing %s: %v", i.name(), err)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	h.sweepCgroups()
	for what, left := range leftovers(dir, h.config.Namespace) {
		t.Errorf("the test leaves %s: %s", what, left)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// leftovers are mounts, processes and control groups of a test's directory.
func leftovers(dir, namespace string) map[string]string {
	found := make(map[string]string)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) || strings.Contains(line, namespace) {
			found["a mount"] = line
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		line, _ := os.ReadFile(p)
		text := strings.ReplaceAll(string(line), "\x00", " ")
		if strings.Contains(text, dir) || strings.Contains(text, "-namespace "+namespace+" ") {
			found["a process"] = text
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/swarmd/" + namespace)
	unified, _ := filepath.Glob("/sys/fs/cgroup/swarmd/" + namespace)
	for _, g := range append(groups, unified...) {
		found["a control group"] = g
	}
	return found
}

func (h *testHost) post(e engine.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	close(h.more)
	h.more = make(chan struct{})
}

// await returns the first event posted that is as wanted, and forgets it.
func await[E engine.Event](t testing.TB, h *testHost, wanted func(E) bool) E {
	t.Helper()
	deadline := time.After(patience)
	for {
		h.mu.Lock()
		more := h.more
		for n, e := range h.events {
			if typed, ok := e.(E); ok && wanted(typed) {
				h.events = append(h.events[:n:n], h.events[n+1:]...)
				h.mu.Unlock()
				return typed
			}
		}
		h.mu.Unlock()
		select {
		case <-more:
		case <-deadline:
			var zero E
			t.Fatalf("no %T as awaited was posted", zero)
		}
	}
}

// A story has ids for its containers.
var storyNumber struct {
	sync.Mutex
	n int
}

// task makes a container's description.
func task(label string, spec swarm.ContainerSpec) agent.Container {
	storyNumber.Lock()
	storyNumber.n++
	n := storyNumber.n
	storyNumber.Unlock()
	if spec.Image == "" {
		spec.Image = tinyImage
	}
	id := state.TaskID(fmt.Sprintf("%025d", n))
	return agent.Container{
		Task: id, ID: fmt.Sprintf("%x", sha256.Sum256([]byte(id))), Name: label + ".1." + string(id), Spec: spec,
		Labels: map[string]string{"com.docker.swarm.task.id": string(id), "kind": "test"},
	}
}

func sh(script string) []string { return []string{"sh", "-c", script} }

// make creates a container; it must succeed.
func (h *testHost) make(t testing.TB, c agent.Container) {
	t.Helper()
	if err := h.tryMake(t, c); err != nil {
		t.Fatal(err)
	}
}

func (h *testHost) tryMake(t testing.TB, c agent.Container) error {
	t.Helper()
	h.CreateContainer(engine.CreateContainer{Create: agent.Create{Container: c}})
	return await(t, h, func(e engine.ContainerCreated) bool { return e.Task == c.Task }).Err
}

// run creates and starts a container; it must succeed. It returns the pid.
func (h *testHost) run(t testing.TB, c agent.Container) int {
	t.Helper()
	h.make(t, c)
	h.StartContainer(engine.StartContainer{Start: agent.Start{Task: c.Task}})
	e := await(t, h, func(e engine.ContainerStarted) bool { return e.Task == c.Task })
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	return e.PID
}

func (h *testHost) awaitExit(t testing.TB, c agent.Container) engine.ContainerExited {
	t.Helper()
	return await(t, h, func(e engine.ContainerExited) bool { return e.Task == c.Task })
}

// gone removes a container.
func (h *testHost) gone(t testing.TB, c agent.Container) {
	t.Helper()
	h.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: c.Task}})
	if e := await(t, h, func(e engine.ContainerRemoved) bool { return e.Task == c.Task }); e.Err != nil {
		t.Fatal(e.Err)
	}
}

// said runs a container to its end and returns what it wrote.
func (h *testHost) said(t testing.TB, c agent.Container) string {
	t.Helper()
	h.run(t, c)
	exit := h.awaitExit(t, c)
	text := h.log(t, c)
	if exit.Code != 0 {
		t.Fatalf("exit code %d: %s", exit.Code, text)
	}
	return text
}

// log returns the whole log of a container, when it is complete.
func (h *testHost) log(t testing.TB, c agent.Container) string {
	t.Helper()
	var b strings.Builder
	err := h.Local().ContainerLogs(t.Context(), c.ID, LogOptions{Stdout: true, Stderr: true, Tail: -1, Follow: true}, func(l LogLine) error {
		b.Write(l.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func contextFor(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.WithoutCancel(t.Context()), patience)
}

func execRequest(command ...string) container.ExecCreateRequest {
	return container.ExecCreateRequest{AttachStdout: true, AttachStderr: true, Cmd: command}
}
