//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

// What the real world cannot do is said before anything is started, line by line.
func TestRealCannot(t *testing.T) {
	const head = "# It asks for much.\nswarm --managers 3 --workers 1\n"
	for _, test := range []struct{ line, want string }{
		{"clock m1 +1h", "clock: the hosts of a lab have the clock of this machine"},
		{"after 5s: disk leader stuck", "disk: the hosts of a lab have the disk of this machine"},
		{"whenever leader: suspend leader", "suspend: the hosts of a lab have one clock"},
		{"cut m1 m2", ""},
		{"link m1 m2 --loss 0.1", "link: messages can be cut off"},
		{"storm 1m --kill 0.1/s --pause 0.1/s", ""},
		{"storm 1m --kill 0.1/s --drift 0.1/s", "storm --drift: the hosts of a lab have the clock"},
		{"clients 3 for 10s", "clients: no history is kept"},
		{"check converged linearizable", "check linearizable: no history is kept"},
		{"await 10s not quiet and leader", "quiet: it cannot be seen from outside"},
		{"always writes < 100", "writes: it cannot be seen from outside"},
		{"advance 10s..2h", ""},
		{"advance 20m..2h", "advance: it takes 20m0s, and time is real: at most 10m0s at once"},
		{"idle 1h", "idle: it takes 1h0m0s"},
		{"end website --oom", "end --oom: memory cannot be made to run out"},
	} {
		s, err := script.Parse("story.txt", head+test.line+"\n", parser{})
		if err != nil {
			t.Fatal(test.line, err)
		}
		err = checkReal(s)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.line, err)
		case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "story.txt:3: "+test.want)):
			t.Errorf("%s: got %v, want story.txt:3: %s", test.line, err, test.want)
		}
	}
	s, err := script.Parse("story.txt", "# It is large.\nswarm --managers 3 --workers 62\n", parser{})
	if err == nil {
		err = checkReal(s)
	}
	if err == nil || !strings.Contains(err.Error(), "at most 64 in a lab") {
		t.Errorf("65 hosts: %v", err)
	}
}

// The images of a lab have the names that a scenario uses, and behave as it says.
func TestRealImages(t *testing.T) {
	s, err := script.Parse("story.txt", `# It has images.
swarm --managers 1
image web:bad --exits 3 --after 10ms
image web:none --missing
service create --name website web:1
service update --image web:2 website
service update --image web:bad website
service update --image web:none website
`, parser{})
	if err != nil {
		t.Fatal(err)
	}
	images := realImages(s)
	if len(images) != 2 || strings.Join(images[0].Names, " ") != "web:1 web:2" || images[0].Script != "" || strings.Join(images[1].Names, " ") != "web:bad" {
		t.Fatalf("the images are %+v", images)
	}
	for _, test := range []struct {
		image sim.Image
		kill  string
		code  int
	}{
		{sim.Image{Exits: true, Codes: []int{3}, RunTime: 10 * time.Millisecond}, "", 3},
		{sim.Image{Exits: true}, "", 0},
		{sim.Image{}, "kill -TERM $$", 0},
		{sim.Image{Stubborn: true}, "kill -TERM $$; (sleep 0.2; kill -KILL $$) &", -1},
	} {
		text := strings.Replace(imageScript(test.image), "trap 'exit $(cat", test.kill+"\ntrap 'exit $(cat", 1)
		err := exec.CommandContext(t.Context(), "sh", "-c", text).Run()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != test.code {
			t.Errorf("%+v ends with %d, want %d", test.image, code, test.code)
		}
	}
}

// A swarm at rest is held against what really runs.
func TestRealRest(t *testing.T) {
	replicas := uint64(2)
	spec := swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}}
	task := func(id state.TaskID, host string, is, desired state.TaskState) script.Task {
		return script.Task{ID: id, Service: "s", Host: host, State: is, Desired: desired}
	}
	container := func(id state.TaskID, host string) script.Container {
		return script.Container{Task: id, Service: "s", Host: host}
	}
	good := []script.Task{task("a", "m1", state.TaskRunning, state.TaskRunning), task("b", "w1", state.TaskRunning, state.TaskRunning)}
	both := []script.Container{container("a", "m1"), container("b", "w1")}
	for _, test := range []struct {
		name       string
		tasks      []script.Task
		containers []script.Container
		slots      map[state.TaskID]string
		want       string // the sentence that is broken
	}{
		{name: "all is well", tasks: good, containers: both},
		{name: "a container is missing", tasks: good, containers: both[:1], want: "L4 desired is actual"},
		{name: "one is too many", tasks: good, containers: append(both[:2:2], container("c", "m1")), want: "L9 nothing leaks"},
		{name: "one is where it should not be", tasks: good, containers: []script.Container{both[0], container("b", "m1")}, want: "L9 nothing leaks"},
		{name: "one runs twice", tasks: good, containers: append(both[:2:2], container("b", "w2")), want: "S23 one container per task"},
		{name: "a task is missing", tasks: good[:1], containers: both[:1], want: "L4 desired is actual"},
		{
			name: "two are for one slot", tasks: good, containers: both,
			slots: map[state.TaskID]string{"a": "s/1", "b": "s/1"}, want: "S22 one wanted task per slot",
		},
		{
			name: "one waits for no reason", tasks: append(good[:1:1], task("b", "", state.TaskPending, state.TaskRunning)),
			containers: both[:1], want: "L4 desired is actual",
		},
		{
			name: "hosts that are lost may run what they like", tasks: good,
			containers: append(both[:2:2], container("old", "w3")),
		},
		{
			name: "what has ended is nobody's", tasks: append(good[:2:2], task("old", "w2", state.TaskShutdown, state.TaskShutdown)), containers: both,
		},
	} {
		slots := test.slots
		if slots == nil {
			slots = map[state.TaskID]string{"a": "s/1", "b": "s/2"}
		}
		stage := &realStage{trace: &tail{}, seen: &seen{slots: slots, view: &script.View{
			Services: []script.Service{{ID: "s", Name: "website", Spec: &spec}}, Tasks: test.tasks, Containers: test.containers,
		}}}
		stage.checkTasks([]string{"m1", "w1", "w2"})
		switch broken := stage.Violations(); {
		case test.want == "" && len(broken) > 0:
			t.Errorf("%s: %v", test.name, broken)
		case test.want != "" && (len(broken) == 0 || broken[0].Sentence != test.want):
			t.Errorf("%s: %v is broken, want %s", test.name, broken, test.want)
		}
	}
}

// A story is played with real hosts, containers and time, as it is.
func TestReal(t *testing.T) {
	dir := needLab(t)
	out, errs, code := swarmsim(t, "run", "--world", "real", "--json", "--swarmd", filepath.Join(dir, "swarmd"), "../../scenarios/leader-loss.txt")
	if code != exitPassed || !strings.Contains(out, `"world":"real","seed":1,"verdict":"passed"`) {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if left, err := filepath.Glob(filepath.Join(labsDir, "story-*")); err != nil || len(left) > 0 {
		t.Errorf("there is %v left", left)
	}
}

// An image is the same bytes each time, and has all of its names.
func TestLabImage(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("busybox is not installed: make deps")
	}
	var files []string
	for _, name := range []string{"one.tar", "two.tar"} {
		file := filepath.Join(t.TempDir(), name)
		if err := (lab.Image{Names: []string{"web:1", "web:2"}}).WriteFile(file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(text))
	}
	if files[0] != files[1] || !strings.Contains(files[0], `"RepoTags":["web:1","web:2"]`) {
		t.Error("the archives differ, or do not have the names")
	}
}
