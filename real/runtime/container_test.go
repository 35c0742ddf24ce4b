package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

func ignore(jsonstream.Message) {}

// All stories about containers share one containerd. Those that lose it, or the
// runtime, come first and alone.
func TestContainers(t *testing.T) {
	h := startHost(t)
	h.load(t, tinyImage, imageOf(t, v1.Config{Cmd: []string{"sh"}}))
	h.load(t, "entry:1", imageOf(t, v1.Config{
		Entrypoint: []string{"echo", "entry"}, Cmd: []string{"cmd"}, Env: []string{"PATH=/bin", "IMG=image", "OVER=image", "GONE=image"},
	}))
	type story func(*testing.T, *testHost)
	for name, alone := range map[string]story{
		"runtime restarts": restarts, "runtime is away when a container ends": away,
		"containerd dies": containerdDies, "runtime is killed": killed, "runtime ends while containers start": endsEarly, "creations are cut short": cutShort, "image meant by a tag": retag,
	} {
		t.Run(name, func(t *testing.T) { alone(t, h) })
	}
	for name, shared := range map[string]story{
		"options": inside, "lifecycle": lifecycle, "twice": twice, "refusals": refusals, "stop": stops, "out of memory": outOfMemory,
		"wait": waits, "volumes": volumes, "seeded volume": seeded, "exec": execs, "exec terminal": execTerminal,
		"health": health, "rotation": rotation, "open stdin": openStdin, "inspection": inspection, "events": happenings,
		"registry": pulls, "registry that is silent": silent, "image volumes": imageVolumes, "archives": archives, "numbers": numbers,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); shared(t, h) })
	}
}

// A container is created, says something on both streams, ends with a code, and
// is removed with its log.
func lifecycle(t *testing.T, h *testHost) {
	c := task("life", swarm.ContainerSpec{Command: sh("echo out; echo err >&2; exit 3")})
	if pid := h.run(t, c); pid <= 1 {
		t.Errorf("pid is %d", pid)
	}
	if e := h.awaitExit(t, c); e.Code != 3 || e.OOM {
		t.Errorf("exited with %+v, want code 3", e)
	}
	text := h.log(t, c)
	if !strings.Contains(text, "out\n") || !strings.Contains(text, "err\n") {
		t.Errorf("the log is %q", text)
	}
	h.gone(t, c)
	if _, err := h.find(c.ID); !errdefs.IsNotFound(err) {
		t.Errorf("the container is still there: %v", err)
	}
	if _, err := os.Stat(h.keepDir(c.ID)); !os.IsNotExist(err) {
		t.Errorf("the log is still there: %v", err)
	}
}

// What has been done already is done again without harm.
func twice(t *testing.T, h *testHost) {
	c := task("twice", swarm.ContainerSpec{Command: []string{"sleep", "600"}})
	first := h.run(t, c)
	h.make(t, c)
	h.StartContainer(engine.StartContainer{Start: agent.Start{Task: c.Task}})
	if e := await(t, h, func(e engine.ContainerStarted) bool { return e.Task == c.Task }); e.Err != nil || e.PID != first {
		t.Errorf("the second start answers %+v, want pid %d", e, first)
	}
	h.gone(t, c) // kills it, too
	h.awaitExit(t, c)
	h.gone(t, c)
	h.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: c.Task}})
	if e := h.awaitExit(t, c); e.Err != nil {
		t.Error(e.Err)
	}
}

// What cannot be made says so in Docker's words, and leaves nothing behind.
func refusals(t *testing.T, h *testHost) {
	for _, c := range []struct {
		spec swarm.ContainerSpec
		want string
	}{
		{swarm.ContainerSpec{Image: "nosuch:1"}, "No such image: nosuch:1"},
		{swarm.ContainerSpec{Image: "UPPER"}, "invalid reference format"},
		{swarm.ContainerSpec{User: "nobody"}, "unable to find user nobody: no matching entries in passwd file"},
		{swarm.ContainerSpec{CapabilityAdd: []string{"CAP_FLY"}}, `unknown capability: "CAP_FLY"`},
		{swarm.ContainerSpec{Dir: "relative"}, "the working directory 'relative' is invalid, it needs to be an absolute path"},
		{swarm.ContainerSpec{StopSignal: "SIGWHAT"}, "Invalid signal: SIGWHAT"},
		{
			swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/nosuch", Target: "/a"}}},
			`invalid mount config for type "bind": bind source path does not exist: /nosuch`,
		},
		{swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "a", Target: "b"}}}, "mount path must be absolute"},
		{swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/a"}, {Type: mount.TypeTmpfs, Target: "/a/"}}}, "Duplicate mount point: /a"},
		{swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeCluster, Source: "v", Target: "/a"}}}, "cluster volumes are not supported"},
		{swarm.ContainerSpec{Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: "vv", Target: "/a",
			VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: "flocker"}},
		}}}, `plugin "flocker" not found`},
	} {
		described := task("refused", c.spec)
		if err := h.tryMake(t, described); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.spec, err, c.want)
		}
		if _, err := os.Stat(h.runDir(described.ID)); !os.IsNotExist(err) {
			t.Errorf("%+v leaves a directory: %v", c.spec, err)
		}
	}
	logged := task("refused", swarm.ContainerSpec{})
	logged.LogDriver = &swarm.Driver{Name: "gelf"}
	if err := h.tryMake(t, logged); err == nil || !strings.Contains(err.Error(), "no log driver named 'gelf' is registered") {
		t.Errorf("log driver: %v", err)
	}
	unknown := task("refused", swarm.ContainerSpec{Command: []string{"/no/such/program"}})
	h.make(t, unknown)
	h.StartContainer(engine.StartContainer{Start: agent.Start{Task: unknown.Task}})
	e := await(t, h, func(e engine.ContainerStarted) bool { return e.Task == unknown.Task })
	if e.Err == nil || !strings.Contains(e.Err.Error(), "no such file or directory") {
		t.Errorf("a program that is not there: %v", e.Err)
	}
	h.gone(t, unknown)
}

// A stop sends the signal, waits, then kills; the exit answers it.
func stops(t *testing.T, h *testHost) {
	obeys := task("obeys", swarm.ContainerSpec{Command: sh("trap 'echo got it; exit 5' INT; echo ready; while true; do sleep 0.05; done"), StopSignal: "SIGINT"})
	h.run(t, obeys)
	h.awaitLog(t, obeys, "ready")
	h.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: obeys.Task, Grace: patience}})
	if e := h.awaitExit(t, obeys); e.Code != 5 {
		t.Errorf("exited with %+v, want code 5", e)
	}
	h.gone(t, obeys)

	ignores := task("ignores", swarm.ContainerSpec{Command: sh("trap '' TERM; echo ready; while true; do sleep 0.05; done")})
	h.run(t, ignores)
	h.awaitLog(t, ignores, "ready")
	h.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: ignores.Task, Grace: 100 * time.Millisecond}})
	if e := h.awaitExit(t, ignores); e.Code != 137 || e.OOM {
		t.Errorf("exited with %+v, want code 137", e)
	}
	err := h.Local().StopContainer(t.Context(), ignores.ID, "", nil)
	if !errors.Is(err, errdefs.ErrNotModified) {
		t.Errorf("stopping what has stopped: %v", err)
	}
	h.gone(t, ignores)
}

// awaitLog waits for a text in a container's log.
func (h *testHost) awaitLog(t *testing.T, c agent.Container, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	err := h.Local().ContainerLogs(ctx, c.ID, LogOptions{Stdout: true, Stderr: true, Tail: -1, Follow: true}, func(l LogLine) error {
		if strings.Contains(string(l.Text), text) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		t.Fatalf("%q does not come: %v", text, err)
	}
}

// A container that wants more memory than it may have is killed, and said to be.
func outOfMemory(t *testing.T, h *testHost) {
	c := task("greedy", swarm.ContainerSpec{Command: sh("exec dd if=/dev/zero of=/dev/null bs=100M count=1")})
	c.Limits.MemoryBytes = 16 << 20
	h.run(t, c)
	if e := h.awaitExit(t, c); e.Code != 137 || !e.OOM {
		t.Errorf("exited with %+v, want code 137 and OOM", e)
	}
	state, err := h.Local().Container(t.Context(), c.ID)
	if err != nil || !state.State.OOMKilled {
		t.Errorf("inspection: %+v, %v", state.State, err)
	}
	h.gone(t, c)
}

// A wait ends with what it waits for.
func waits(t *testing.T, h *testHost) {
	c := task("waited", swarm.ContainerSpec{Command: sh("sleep 0.3; exit 7")})
	h.run(t, c)
	for _, condition := range []container.WaitCondition{container.WaitConditionNextExit, container.WaitConditionNotRunning} {
		answer, err := h.Local().WaitContainer(t.Context(), c.Name, condition)
		if err != nil || answer.StatusCode != 7 {
			t.Errorf("%s: %+v, %v; want code 7", condition, answer, err)
		}
		if condition == container.WaitConditionNextExit {
			h.awaitExit(t, c)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Local().WaitContainer(ended, c.ID[:20], container.WaitConditionRemoved); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that is given up: %v", err)
	}
	if _, err := h.Local().WaitContainer(t.Context(), "nosuch", ""); !errdefs.IsNotFound(err) || err.Error() != "No such container: nosuch" {
		t.Errorf("a container that is not there: %v", err)
	}
	h.gone(t, c)
}

// A named volume outlives its container; one in use is not removed.
func volumes(t *testing.T, h *testHost) {
	with := []mount.Mount{{Type: mount.TypeVolume, Source: "kept", Target: "/v", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{"a": "b"}}}}
	writer := task("writer", swarm.ContainerSpec{Command: sh("echo kept >/v/note"), Mounts: with})
	h.said(t, writer)
	err := h.Local().RemoveVolume(t.Context(), "kept", true)
	if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "volume is in use - ["+writer.ID+"]") {
		t.Errorf("removing a volume in use: %v", err)
	}
	h.gone(t, writer)
	reader := task("reader", swarm.ContainerSpec{Command: sh("cat /v/note; touch /v/x 2>/dev/null || echo refused"), Mounts: with})
	reader.Spec.Mounts[0].ReadOnly = true
	if got := h.said(t, reader); got != "kept\nrefused\n" {
		t.Errorf("it reads %q", got)
	}
	h.gone(t, reader)
	list, err := h.Local().Volumes(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(v volume.Volume) bool { return v.Name == "kept" && v.Labels["a"] == "b" && v.Driver == "local" }) {
		t.Errorf("the volumes are %+v, %v", list, err)
	}
	if err := h.Local().RemoveVolume(t.Context(), "kept", false); err != nil {
		t.Error(err)
	}
	if err := h.Local().RemoveVolume(t.Context(), "kept", false); !errdefs.IsNotFound(err) {
		t.Errorf("removing it again: %v", err)
	}
}

// A new volume has what the image has at its place, with owner and mode, unless
// it is not to; a volume without a name goes with its container.
func seeded(t *testing.T, h *testHost) {
	script := "cat /data/seed 2>/dev/null || echo nothing; stat -c '%u %g %a' /data"
	for _, c := range []struct {
		m    mount.Mount
		want string
	}{
		{mount.Mount{Type: mount.TypeVolume, Target: "/data"}, "from the image\n33 44 750\n"},
		{mount.Mount{Type: mount.TypeVolume, Target: "/data", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}, "nothing\n0 0 755\n"},
		{mount.Mount{Type: mount.TypeVolume, Target: "/data", VolumeOptions: &mount.VolumeOptions{
			DriverConfig: &mount.Driver{Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}},
		}}, "from the image\n33 44 750\n"},
	} {
		described := task("seeded", swarm.ContainerSpec{Command: sh(script), Mounts: []mount.Mount{c.m}})
		if got := h.said(t, described); got != c.want {
			t.Errorf("it says %q, want %q", got, c.want)
		}
		i, err := h.find(described.ID)
		if err != nil {
			t.Fatal(err)
		}
		dir := h.volumeRoot(i.record.Anonymous[0])
		h.gone(t, described)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the volume is still there: %v", err)
		}
	}
}

// The volumes that an image asks for are made, filled, and go with the container.
func imageVolumes(t *testing.T, h *testHost) {
	h.load(t, "volume:1", imageOf(t, v1.Config{Volumes: map[string]struct{}{"/data": {}, "/new/place": {}}}))
	c := task("volumes", swarm.ContainerSpec{Image: "volume:1", ReadOnly: true, Command: sh("cat /data/seed; echo x >/new/place/y && echo written")})
	if got := h.said(t, c); got != "from the image\nwritten\n" {
		t.Errorf("it says %q", got)
	}
	i, err := h.find(c.Name)
	if err != nil || len(i.record.Anonymous) != 2 || len(i.record.Mounts) != 2 {
		t.Fatalf("the volumes are %v, %v", i.record.Anonymous, err)
	}
	h.gone(t, c)
	for _, name := range i.record.Anonymous {
		if _, err := os.Stat(h.volumeRoot(name)); !os.IsNotExist(err) {
			t.Errorf("volume %s is still there: %v", name, err)
		}
	}
}

// A container's log is limited in size and number of files, and is read as one.
func rotation(t *testing.T, h *testHost) {
	c := task("talker", swarm.ContainerSpec{Command: sh("for i in $(seq 1 300); do echo line $i of many, which takes some room; done"), Env: []string{"COLOUR=red"}})
	c.LogDriver = &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "8k", "max-file": "3", "labels": "kind", "env": "COLOUR"}}
	text := h.said(t, c)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) >= 300 || len(lines) < 50 || lines[len(lines)-1] != "line 300 of many, which takes some room" {
		t.Errorf("%d lines, the last of them %q", len(lines), lines[len(lines)-1])
	}
	files, err := filepath.Glob(filepath.Join(h.keepDir(c.ID), "log*"))
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, ".lock") })
	if err != nil || len(files) != 3 {
		t.Errorf("the files are %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 8<<10 {
			t.Errorf("%s: %v, %v", f, info.Size(), err)
		}
	}
	var last LogLine
	err = h.Local().ContainerLogs(t.Context(), c.ID, LogOptions{Stdout: true, Tail: 1}, func(l LogLine) error { last = l; return nil })
	if err != nil || !strings.HasPrefix(string(last.Text), "line 300 ") || last.Attributes["kind"] != "test" || last.Attributes["COLOUR"] != "red" {
		t.Errorf("the last line is %+v, %v", last, err)
	}
	h.gone(t, c)

	silent := task("silent", swarm.ContainerSpec{Command: sh("echo unheard")})
	silent.LogDriver = &swarm.Driver{Name: "none"}
	h.run(t, silent)
	h.awaitExit(t, silent)
	err = h.Local().ContainerLogs(t.Context(), silent.ID, LogOptions{Stdout: true, Tail: -1}, func(LogLine) error { return nil })
	if err == nil || err.Error() != "configured logging driver does not support reading" {
		t.Errorf("reading what was not kept: %v", err)
	}
	h.gone(t, silent)
}

// A stdin that is open does not end.
func openStdin(t *testing.T, h *testHost) {
	c := task("open", swarm.ContainerSpec{Command: sh("echo before; cat; echo after"), OpenStdin: true})
	h.run(t, c)
	h.awaitLog(t, c, "before")
	h.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: c.Task, Signal: "SIGKILL"}})
	h.awaitExit(t, c)
	if text := h.log(t, c); text != "before\n" {
		t.Errorf("the log is %q", text)
	}
	h.gone(t, c)
}
