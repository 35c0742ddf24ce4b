package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

// found is what was found of a container after a restart.
func (h *testHost) foundAgain(t *testing.T, c agent.Container) agent.Found {
	t.Helper()
	e := await(t, h, func(engine.ContainersFound) bool { return true })
	for _, f := range e.Containers {
		if f.Task == c.Task {
			return f
		}
	}
	t.Fatalf("container %s was not found", c.Name)
	return agent.Found{}
}

// drain forgets what was found before.
func (h *testHost) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = nil
}

// The runtime restarts under a container, which goes on with the same process,
// log and record.
func restarts(t *testing.T, h *testHost) {
	c := task("lives", swarm.ContainerSpec{Command: sh("echo one; while ! test -e /tmp/go; do sleep 0.05; done; echo two; sleep 600")})
	pid := h.run(t, c)
	h.awaitLog(t, c, "one")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.drain()
	h.start(t)
	f := h.foundAgain(t, c)
	if !f.Running || f.PID != pid || f.ID != c.ID || f.Labels["kind"] != "test" {
		t.Errorf("found is %+v, want it running with pid %d", f, pid)
	}
	if out, errs, code := h.execute(t, c, execRequest("touch", "/tmp/go"), nil); code != 0 {
		t.Errorf("exec after the restart: %q, %q, code %d", out, errs, code)
	}
	h.awaitLog(t, c, "two")
	h.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: c.Task, Signal: "SIGKILL"}})
	if e := h.awaitExit(t, c); e.Code != 137 {
		t.Errorf("exited with %+v, want code 137", e)
	}
	h.gone(t, c)
}

// victimArgument makes the test's program a runtime that is to be killed.
const victimArgument = "victim"

// runVictim starts a runtime and a container, says its pid, and waits for its end.
func runVictim(dir string) {
	h := &testHost{more: make(chan struct{})}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	h.config = configOf(dir, self)
	h.config.Post = h.post
	if h.Runtime, err = Start(context.Background(), h.config); err != nil {
		panic(err)
	}
	c := victimTask()
	if _, err := h.create(h.ctx, c); err != nil {
		panic(err)
	}
	pid, err := h.Runtime.start(h.ctx, h.instance(c.Task), c.Task)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, pid)
	select {}
}

func victimTask() agent.Container {
	c := task("victim", swarm.ContainerSpec{Command: sh("while ! test -e /tmp/go; do sleep 0.02; done; echo survived; exit 11")})
	c.Task, c.Name = "victim00000000000000000000", "victim.1"
	c.ID = fmt.Sprintf("%x", sha256.Sum256([]byte(c.Task)))
	return c
}

// The runtime's process is killed, nothing else: the next one adopts containerd,
// and the container goes on with its log.
func killed(t *testing.T, h *testHost) {
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.CommandContext(context.WithoutCancel(t.Context()), self, victimArgument, filepath.Dir(h.config.Root))
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanln(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(victim.Process.Kill(), victim.Wait()); err == nil {
		t.Error("the victim ended by itself")
	}
	before := h.containerdPID(t)
	h.drain()
	h.start(t)
	if after := h.containerdPID(t); after != before {
		t.Errorf("containerd has pid %d, it was %d", after, before)
	}
	c := victimTask()
	if f := h.foundAgain(t, c); !f.Running || f.PID != pid {
		t.Errorf("found is %+v, want it running with pid %d", f, pid)
	}
	h.execute(t, c, execRequest("touch", "/tmp/go"), nil)
	if e := h.awaitExit(t, c); e.Code != 11 {
		t.Errorf("exited with %+v, want code 11", e)
	}
	if text := h.log(t, c); text != "survived\n" {
		t.Errorf("the log is %q", text)
	}
	h.gone(t, c)
}

func (h *testHost) containerdPID(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.config.State, "containerd", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A container that ends while the runtime is away is found with its code.
func away(t *testing.T, h *testHost) {
	c := task("ends", swarm.ContainerSpec{Command: sh("while ! test -e /tmp/go; do sleep 0.02; done; exit 17")})
	pid := h.run(t, c)
	waiting := task("waits", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
	h.make(t, waiting)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/root/tmp/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, pid)
	h.drain()
	h.start(t)
	f := h.foundAgain(t, c)
	if f.Running || !f.Started || f.ExitCode != 17 || time.Since(f.Finished.Time()) > time.Hour {
		t.Errorf("found is %+v, want it ended with code 17", f)
	}
	// One that was only created can still be started.
	h.StartContainer(engine.StartContainer{Start: agent.Start{Task: waiting.Task}})
	if e := await(t, h, func(e engine.ContainerStarted) bool { return e.Task == waiting.Task }); e.Err != nil {
		t.Error(e.Err)
	}
	h.gone(t, waiting)
	h.awaitExit(t, waiting)
	h.gone(t, c)
}

// awaitGone waits until a process has ended.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := contextFor(t)
	defer cancel()
	if !awaitExit(ctx, pid) {
		t.Fatalf("process %d does not end", pid)
	}
}

// containerd is killed; it is started again, containers live on, and what ended
// meanwhile is noticed.
func containerdDies(t *testing.T, h *testHost) {
	lives := task("lives", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
	ends := task("ends", swarm.ContainerSpec{Command: sh("while ! test -e /tmp/go; do sleep 0.02; done; exit 21")})
	pid := h.run(t, lives)
	ending := h.run(t, ends)
	h.drain()
	containerd := h.containerdPID(t)
	if err := syscall.Kill(containerd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, containerd)
	if err := os.WriteFile("/proc/"+strconv.Itoa(ending)+"/root/tmp/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := h.foundAgain(t, lives); !f.Running || f.PID != pid {
		t.Errorf("found is %+v, want it running with pid %d", f, pid)
	}
	if e := h.awaitExit(t, ends); e.Code != 21 {
		t.Errorf("exited with %+v, want code 21", e)
	}
	h.gone(t, ends)
	h.gone(t, lives)
	h.awaitExit(t, lives)
}

// The runtime and its containerd end while containers start, as when a node leaves its
// swarm and the daemon is stopped at once. The next one finds them, and nothing is left
// of any when it has removed them.
func endsEarly(t *testing.T, h *testHost) {
	const burst = 8
	for range burst {
		c := task("early", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
		h.make(t, c)
		h.StartContainer(engine.StartContainer{Start: agent.Start{Task: c.Task}})
	}
	ctx, cancel := contextFor(t)
	defer cancel()
	for len(h.groups(t)) == 0 && ctx.Err() == nil {
		awaitClosed(ctx, ctx.Done(), time.Millisecond) // a look at what the kernel has
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.drain()
	h.start(t)
	found := await(t, h, func(engine.ContainersFound) bool { return true }).Containers
	if len(found) != burst {
		t.Errorf("%d containers are found of %d", len(found), burst)
	}
	for _, f := range found {
		h.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: f.Task}})
	}
	for range found {
		if e := await(t, h, func(engine.ContainerRemoved) bool { return true }); e.Err != nil {
			t.Error(e.Err)
		}
	}
	if left := h.groups(t); len(left) > 0 {
		t.Errorf("there are control groups left of containers that are gone: %v", left)
	}
}

// groups are the control groups of containers, each by one of its files.
func (h *testHost) groups(t *testing.T) (found []string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/*/swarmd/", "/sys/fs/cgroup/swarmd/"} {
		more, err := filepath.Glob(filepath.Join(pattern, h.config.Namespace, "*", "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, more...)
	}
	return found
}

// What has come into being for a process that was killed, after the next one had
// looked at what there is, goes all the same, and what is being created does not. A
// process that runc has left in a container's control group goes with the container.
func cutShort(t *testing.T, h *testHost) {
	image, err := h.image(h.ctx, tinyImage)
	if err != nil {
		t.Fatal(err)
	}
	half := func(label string) *instance {
		t.Helper()
		rec := newRecord(task(label, swarm.ContainerSpec{Command: []string{"sleep", "600"}}), image, h.host.snapshotter)
		if err := h.design(&rec, image); err != nil {
			t.Fatal(err)
		}
		i := newInstance(rec, h.shims.place(1))
		if err := h.build(h.ctx, i, image); err != nil {
			t.Fatal(err)
		}
		return i
	}
	late, now := half("late"), half("now")
	made := h.Runtime.make(now.id())
	h.settle(h.ctx)
	for i, want := range map[*instance]bool{late: false, now: true} {
		_, err := h.client.ContainerService().Get(h.ctx, i.id())
		_, snapshot := h.client.SnapshotService(h.host.snapshotter).Stat(h.ctx, i.id())
		_, dir := os.Stat(h.keepDir(i.id()))
		if err == nil != want || snapshot == nil != want || dir == nil != want {
			t.Errorf("%s: it is to be there: %v; the container: %v; its file system: %v; its directory: %v", i.name(), want, err, snapshot, dir)
		}
	}
	made()
	h.settle(h.ctx)
	if _, err := h.client.ContainerService().Get(h.ctx, now.id()); err == nil {
		t.Error("a container that is created no more is there")
	}
	h.shims.leave(late.shim)
	h.shims.leave(now.shim)

	c := task("stray", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
	h.make(t, c)
	stray := exec.CommandContext(h.ctx, busybox, "sleep", "600")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	group := filepath.Dir(h.cgroupFile(c.ID, "pids", "cgroup.procs"))
	if err := errors.Join(os.MkdirAll(filepath.Join(group, "below"), 0o755), os.WriteFile(filepath.Join(group, "below", "cgroup.procs"), []byte(strconv.Itoa(stray.Process.Pid)), 0)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = stray.Wait() // which says that it was killed
		close(ended)
	}()
	h.gone(t, c)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("a process in the control group of a container that is gone lives on")
		stray.Process.Kill() //nolint:errcheck // for the tests to come
	}
	if left := h.groups(t); len(left) > 0 {
		t.Errorf("there are control groups left of a container that is gone: %v", left)
	}
}
