package runtime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

// execute runs a command in a container and returns what it wrote and its code.
func (h *testHost) execute(t *testing.T, c agent.Container, request container.ExecCreateRequest, stdin io.Reader) (stdout, stderr string, code int) {
	t.Helper()
	l := h.Local()
	id, err := l.CreateExec(t.Context(), c.Name, request)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if err := l.StartExec(t.Context(), id, ExecStreams{Stdin: stdin, Stdout: &out, Stderr: &errs}); err != nil {
		t.Logf("exec: %v", err)
		errs.WriteString(err.Error())
	}
	inspected, err := l.Exec(t.Context(), id)
	if err != nil || inspected.Running || inspected.ExitCode == nil {
		t.Fatalf("the process is %+v, %v", inspected, err)
	}
	return out.String(), errs.String(), *inspected.ExitCode
}

// Processes are added to a running container, with its environment or another.
func execs(t *testing.T, h *testHost) {
	c := task("exec", swarm.ContainerSpec{Command: []string{"sleep", "600"}, Env: []string{"A=container"}, Dir: "/tmp"})
	h.run(t, c)
	both := container.ExecCreateRequest{AttachStdout: true, AttachStderr: true}
	with := func(change func(*container.ExecCreateRequest)) container.ExecCreateRequest {
		r := both
		change(&r)
		return r
	}
	for _, e := range []struct {
		request     container.ExecCreateRequest
		stdin       io.Reader
		out, errors string
		code        int
	}{
		{request: with(func(r *container.ExecCreateRequest) { r.Cmd = sh("echo out; echo err >&2; exit 4") }), out: "out\n", errors: "err\n", code: 4},
		{request: with(func(r *container.ExecCreateRequest) { r.Cmd = sh("echo $A $B; pwd; id -u"); r.Env = []string{"B=b"} }), out: "container b\n/tmp\n0\n"},
		{request: with(func(r *container.ExecCreateRequest) { r.Cmd = sh("id -u; pwd"); r.User = "web"; r.WorkingDir = "/data" }), out: "33\n/data\n"},
		{
			request: with(func(r *container.ExecCreateRequest) { r.Cmd = []string{"wc", "-c"}; r.AttachStdin = true }),
			stdin:   strings.NewReader(strings.Repeat("x", 300_000)), out: "300000\n",
		},
		{request: with(func(r *container.ExecCreateRequest) { r.Cmd = []string{"nosuch"} }), errors: "executable file not found", code: 127},
		{request: with(func(r *container.ExecCreateRequest) { r.Cmd = sh("head -c 3000000 /dev/zero | tr '\\0' x") }), out: strings.Repeat("x", 3_000_000)},
	} {
		out, errs, code := h.execute(t, c, e.request, e.stdin)
		if out != e.out || !strings.Contains(errs, e.errors) || code != e.code {
			t.Errorf("%v: out %.100q (%d bytes), err %q, code %d", e.request.Cmd, out, len(out), errs, code)
		}
	}
	if _, err := h.Local().Exec(t.Context(), "nosuch"); !errdefs.IsNotFound(err) {
		t.Errorf("a process that is not there: %v", err)
	}
	h.gone(t, c)
	h.awaitExit(t, c)
}

// A process may have a terminal, which has a size and can be resized.
func execTerminal(t *testing.T, h *testHost) {
	c := task("terminal", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
	h.run(t, c)
	l := h.Local()
	id, err := l.CreateExec(t.Context(), c.ID, container.ExecCreateRequest{
		Tty: true, AttachStdin: true, AttachStdout: true, ConsoleSize: &[2]uint{30, 100},
		Cmd: sh("stty size; read x; stty size; echo read $x; exit 6"),
	})
	if err != nil {
		t.Fatal(err)
	}
	in, typing := io.Pipe()
	screen, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- l.StartExec(context.WithoutCancel(t.Context()), id, ExecStreams{Stdin: in, Stdout: out})
		_ = out.Close()
	}()
	first := make([]byte, 8)
	if _, err := io.ReadFull(screen, first); err != nil || string(first) != "30 100\r\n" {
		rest, _ := io.ReadAll(io.LimitReader(screen, 40))
		t.Fatalf("the screen shows %q %q, %v", first, rest, err)
	}
	if err := l.ResizeExec(t.Context(), id, 40, 120); err != nil {
		t.Error(err)
	}
	if _, err := fmt.Fprint(typing, "word\n"); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(screen)
	if err != nil || string(rest) != "word\r\n40 120\r\nread word\r\n" {
		t.Errorf("the screen shows %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if e, err := l.Exec(t.Context(), id); err != nil || e.ExitCode == nil || *e.ExitCode != 6 {
		t.Errorf("the process is %+v, %v", e, err)
	}
	_ = typing.Close()
	h.gone(t, c)
	h.awaitExit(t, c)
}

func (h *testHost) check(t *testing.T, c agent.Container, held string, timeout time.Duration, test ...string) engine.ContainerProbed {
	t.Helper()
	h.ProbeContainer(engine.ProbeContainer{Probe: agent.Probe{Task: c.Task, Command: test, Timeout: timeout, Health: held}})
	return await(t, h, func(e engine.ContainerProbed) bool { return e.Task == c.Task })
}

// Health checks run in the container; their results are shown.
func health(t *testing.T, h *testHost) {
	c := task("checked", swarm.ContainerSpec{Command: []string{"sleep", "600"}, Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}, Retries: 2}})
	h.run(t, c)
	status := func() (text string, state *container.Health) {
		t.Helper()
		inspected, err := h.Local().Container(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		list, err := h.Local().Containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(list, func(s container.Summary) bool { return s.ID == c.ID })
		return list[at].Status, inspected.State.Health
	}
	if text, _ := status(); !strings.HasSuffix(text, "(health: starting)") {
		t.Errorf("before the first check it is %q", text)
	}
	if e := h.check(t, c, "starting", patience, "CMD", "echo", "fine"); !e.Healthy || e.Output != "fine\n" {
		t.Errorf("a good check answers %+v", e)
	}
	if text, state := status(); !strings.HasPrefix(text, "Up ") || !strings.HasSuffix(text, " (healthy)") || state.Log[0].Output != "fine\n" {
		t.Errorf("after it: %q, %+v", text, state)
	}
	if e := h.check(t, c, "healthy", patience, "CMD-SHELL", "echo bad; exit 1"); e.Healthy || e.Output != "bad\n" {
		t.Errorf("a bad check answers %+v", e)
	}
	if e := h.check(t, c, "healthy", 200*time.Millisecond, "CMD-SHELL", "echo began; sleep 600"); e.Healthy || !strings.HasPrefix(e.Output, "Health check exceeded timeout (200ms)") {
		t.Errorf("a slow check answers %+v", e)
	}
	if e := h.check(t, c, "healthy", patience, "CMD-SHELL", "head -c 10000 /dev/zero | tr '\\0' x; exit 1"); len(e.Output) != probeOutputBytesMax+len("...") {
		t.Errorf("a talkative check answers %d bytes", len(e.Output))
	}
	if text, state := status(); !strings.HasSuffix(text, "(unhealthy)") || state.FailingStreak != 3 || len(state.Log) != 4 || state.Log[2].ExitCode != codeNoProbe {
		t.Errorf("in the end: %q, %+v", text, state)
	}
	h.gone(t, c)
	h.awaitExit(t, c)
	if e := h.check(t, c, "", patience, "CMD", "true"); e.Healthy {
		t.Error("a container that is gone is healthy")
	}
}

// Inspection has Docker's shape.
func inspection(t *testing.T, h *testHost) {
	c := task("shown", swarm.ContainerSpec{
		Command: sh("sleep 600"), Hostname: "web", Env: []string{"A=1"}, User: "0", Dir: "/tmp", Hosts: []string{"1.2.3.4 foo"},
		StopSignal: "SIGINT", CapabilityAdd: []string{"CAP_NET_ADMIN"},
	})
	c.Limits = swarm.Limit{MemoryBytes: 50 << 20, NanoCPUs: 500_000_000, Pids: 100}
	c.Ports = []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost}}
	pid := h.run(t, c)
	got, err := h.Local().Container(t.Context(), "/"+c.Name)
	if err != nil {
		t.Fatal(err)
	}
	port, err := network.ParsePort("80/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"identity": got.ID == c.ID && got.Name == "/"+c.Name && strings.HasPrefix(got.Image, "sha256:"),
		"process":  got.Path == "sh" && len(got.Args) == 2 && got.State.Pid == pid && got.State.Running && got.State.Status == "running",
		"config":   got.Config.Hostname == "web" && slices.Contains(got.Config.Env, "A=1") && got.Config.WorkingDir == "/tmp" && got.Config.StopSignal == "SIGINT" && got.Config.Image == tinyImage,
		"limits":   got.HostConfig.Memory == 50<<20 && got.HostConfig.NanoCPUs == 500_000_000 && *got.HostConfig.PidsLimit == 100,
		"hosts":    slices.Equal(got.HostConfig.ExtraHosts, []string{"foo:1.2.3.4"}),
		"ports":    got.NetworkSettings.Ports[port][0].HostPort == "8080",
		"times":    got.State.FinishedAt == neverText && got.State.StartedAt > got.Created,
		"log":      got.HostConfig.LogConfig.Type == "json-file",
	} {
		if !ok {
			t.Errorf("the %s is wrong: %+v %+v %+v", what, got, got.Config, got.HostConfig)
		}
	}
	if err := h.Local().RemoveContainer(t.Context(), c.ID, false); !errdefs.IsConflict(err) {
		t.Errorf("removing what runs: %v", err)
	}
	if err := h.Local().RemoveContainer(t.Context(), c.ID[:40], true); err != nil {
		t.Error(err)
	}
	h.awaitExit(t, c)
}

// What happens to a container is told as Docker tells it.
func happenings(t *testing.T, h *testHost) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	feed := h.Local().Events(ctx)
	c := task("told", swarm.ContainerSpec{Command: sh("trap 'exit 9' TERM; while true; do sleep 0.05; done")})
	h.run(t, c)
	h.execute(t, c, container.ExecCreateRequest{Cmd: []string{"true"}}, nil)
	if err := h.Local().StopContainer(t.Context(), c.ID, "", nil); err != nil {
		t.Error(err)
	}
	h.awaitExit(t, c)
	h.gone(t, c)
	var got []string
	deadline := time.After(patience)
	for len(got) == 0 || got[len(got)-1] != "destroy" {
		select {
		case e := <-feed:
			if e.Actor.ID == c.ID && e.Type == events.ContainerEventType {
				got = append(got, string(e.Action))
				if e.Actor.Attributes["name"] != c.Name || e.Actor.Attributes["image"] != tinyImage || e.Actor.Attributes["kind"] != "test" {
					t.Errorf("%s has %v", e.Action, e.Actor.Attributes)
				}
			}
		case <-deadline:
			t.Fatalf("only %v were told", got)
		}
	}
	slices.Sort(got[5:8]) // die and stop are told by different witnesses
	want := []string{"create", "start", "exec_create: true", "exec_start: true", "exec_die", "die", "kill", "stop", "destroy"}
	if !slices.Equal(got, want) {
		t.Errorf("told are\n%v, want\n%v", got, want)
	}
	cancel()
	for range feed { // it closes
	}
}

// A running container can be measured.
func numbers(t *testing.T, h *testHost) {
	c := task("measured", swarm.ContainerSpec{Command: sh("sleep 600 & sleep 600")})
	c.Limits.MemoryBytes = 64 << 20
	h.run(t, c)
	s, err := h.Local().StatsContainer(t.Context(), c.ID)
	if err != nil || s.MemoryStats.Usage == 0 || s.MemoryStats.Limit != 64<<20 || s.CPUStats.CPUUsage.TotalUsage == 0 || s.CPUStats.SystemUsage == 0 || s.PidsStats.Current == 0 {
		t.Errorf("the numbers are %+v, %v", s, err)
	}
	top, err := h.Local().TopContainer(t.Context(), c.ID, "")
	if err != nil || len(top.Processes) == 0 || !strings.Contains(fmt.Sprint(top.Processes), "sleep 600") {
		t.Errorf("the processes are %+v, %v", top, err)
	}
	counts, err := h.Local().Counts(t.Context())
	if err != nil || counts.Running < 1 || counts.Images < 2 {
		t.Errorf("the counts are %+v, %v", counts, err)
	}
	if err := h.Local().KillContainer(t.Context(), c.ID, "KILL"); err != nil {
		t.Error(err)
	}
	h.awaitExit(t, c)
	if err := h.Local().KillContainer(t.Context(), c.ID, ""); !errdefs.IsConflict(err) {
		t.Errorf("killing what has ended: %v", err)
	}
	h.gone(t, c)
}
