package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/enginetest"
	"github.com/swarmd/swarmd/engine/state"
)

// TestStorm lets a swarm of one node live through whatever a driver may do to it:
// answers that come late or say that it failed, leaders deposed with proposals in
// flight that commit or do not, entries of the log's own between, containers that
// die, the process that dies. At every step the contract holds. When the storm is
// over, what runs is what was asked for, every call has been answered, and
// nothing more is written.
func TestStorm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storm{Harness: enginetest.NewHarness(), removes: map[engine.RequestID]string{}, creates: map[engine.RequestID]string{}}
		s.Start()
		s.Found()
		s.Call(control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"})
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			s.act(t)
			s.check(t)
		}
		s.calm()
		s.check(t)
		s.converged(t)
	})
}

type storm struct {
	*enginetest.Harness
	story   []string
	replies int // that have been looked at
	removes map[engine.RequestID]string
	creates map[engine.RequestID]string
}

var sorts = []string{enginetest.HoldLog, enginetest.HoldRuntime, enginetest.HoldNetwork}

// act does one thing that may happen.
func (s *storm) act(t *rapid.T) {
	name := func() string { // never the beginning of an ID, which would name a service too
		return rapid.SampledFrom([]string{"web-a", "web-b"}).Draw(t, "service")
	}
	switch rapid.SampledFrom([]string{
		"create", "scale", "scale", "image", "rm", "exit", "tick", "tick", "hold", "release",
		"answer", "answer", "answer", "fail", "depose", "elect", "append", "restart", "list",
	}).Draw(t, "act") {
	case "create":
		n := name()
		id := s.Call(control.ServiceCreate{Spec: newService(n, rapid.Uint64Range(0, 3).Draw(t, "replicas"))})
		s.creates[id] = n
	case "scale":
		n := rapid.Uint64Range(0, 4).Draw(t, "replicas")
		s.update(name(), func(spec *swarm.ServiceSpec) { spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n} })
	case "image":
		image := fmt.Sprintf("nginx:%d", rapid.IntRange(1, 3).Draw(t, "version"))
		s.update(name(), func(spec *swarm.ServiceSpec) {
			c := *spec.TaskTemplate.ContainerSpec
			c.Image = image
			spec.TaskTemplate.ContainerSpec = &c
		})
	case "rm":
		n := name()
		s.removes[s.Call(control.ServiceRemove{Ref: n})] = n
	case "list":
		s.Call(control.ServiceList{Status: true})
	case "exit":
		if running := s.Running(); len(running) > 0 {
			s.Exit(rapid.SampledFrom(running).Draw(t, "task"), rapid.SampledFrom([]int{0, 1}).Draw(t, "code"))
		}
	case "tick":
		s.Pass(time.Duration(rapid.IntRange(1, 8000).Draw(t, "ms")) * time.Millisecond)
	case "hold", "release":
		s.Hold(rapid.SampledFrom(sorts).Draw(t, "sort"), rapid.Bool().Draw(t, "on"))
	case "answer":
		if waiting := s.Waiting(); len(waiting) > 0 {
			s.Answer(rapid.SampledFrom(waiting).Draw(t, "kind"), "", "")
		}
	case "fail":
		if waiting := s.Waiting(); len(waiting) > 0 {
			s.Answer(rapid.SampledFrom(waiting).Draw(t, "kind"), "", "the world is not perfect")
		}
	case "depose":
		if s.Leading() {
			s.Depose()
		}
	case "elect":
		s.elect()
	case "append":
		s.Commit(func(*state.Draft) {})
	case "restart":
		s.Start()
		s.Found()
	}
}

// elect makes the node lead, if it has a log to lead.
func (s *storm) elect() {
	if !s.Leading() && s.Store().Draft().Cluster() != nil {
		s.Elect()
	}
}

func (s *storm) update(name string, change func(*swarm.ServiceSpec)) {
	service := s.Store().Draft().ServiceByName(name)
	if service == nil {
		return
	}
	spec := service.Spec
	change(&spec)
	s.Call(control.ServiceUpdate{Ref: string(service.ID), Version: service.SpecVersion, Spec: spec})
}

func newService(name string, replicas uint64) swarm.ServiceSpec {
	delay := time.Second
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: name},
		Mode:        swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "nginx:1"},
			RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay},
		},
		UpdateConfig: &swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, FailureAction: swarm.UpdateFailureActionContinue},
	}
}

// calm lets everything be answered and well for a while.
func (s *storm) calm() {
	for _, sort := range sorts {
		s.Hold(sort, false)
	}
	s.elect()
	for range 600 { // stops that failed are tried again after a minute at most
		s.Pass(time.Second)
	}
}

// check holds what has happened so far to the contract.
func (s *storm) check(t *rapid.T) {
	lines := s.Take()
	s.story = append(s.story, lines)
	if strings.Contains(lines, "fault:") {
		s.fatal(t, "the story has a fault")
	}
	s.acknowledged(t)
	if faults := s.Faults(); len(faults) > 0 {
		s.fatal(t, "the contract is broken: %q", faults)
	}
}

// acknowledged holds that what a call was told is made was written, unless a later
// call of the same pass has undone it.
func (s *storm) acknowledged(t *rapid.T) {
	replies := s.Replies()[s.replies:]
	s.replies = len(s.Replies())
	for i, r := range replies {
		made, ok := r.Answer.(control.Created)
		if !ok || s.creates[r.Request] == "" || s.Written(state.Key{Kind: state.KindService, ID: made.ID}) {
			continue
		}
		undone := slices.ContainsFunc(replies[i:], func(u engine.Reply) bool {
			_, done := u.Answer.(control.Done)
			return done && s.removes[u.Request] == s.creates[r.Request]
		})
		if !undone {
			s.fatal(t, "call %d was told that a service is made, and nothing of it is in the log", r.Request)
		}
	}
}

func (s *storm) fatal(t *rapid.T, format string, args ...any) {
	t.Fatalf("%s\nafter this:\n%s", fmt.Sprintf(format, args...), strings.Join(s.story, "\n"))
}

// converged compares what runs with what was asked for.
func (s *storm) converged(t *rapid.T) {
	if owed := s.Owed(); len(owed) > 0 {
		s.fatal(t, "not answered: %v", owed)
	}
	d := s.Store().Draft()
	want, got := map[string]uint64{}, map[string]uint64{}
	for service := range d.Services() {
		if n := *service.Spec.Mode.Replicated.Replicas; n > 0 {
			want[service.Spec.Name] = n
		}
		if u := service.Update; u != nil && u.State == swarm.UpdateStateUpdating {
			s.fatal(t, "the update of %s has not ended", service.Spec.Name)
		}
	}
	for _, id := range s.Running() {
		task := d.Task(id)
		if task == nil || task.Status.State != state.TaskRunning || task.Desired != state.TaskRunning {
			s.fatal(t, "%s runs, and should not: %+v", s.Names.Name("task", string(id)), task)
		}
		service := d.Service(task.Service)
		if service == nil || task.Template != service.Template {
			s.fatal(t, "%s runs an old template", s.Names.Name("task", string(id)))
		}
		got[service.Spec.Name]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.fatal(t, "what runs is not what was asked for (-asked +runs):\n%s", diff)
	}
	for _, id := range s.Containers() {
		if d.Task(id) == nil {
			s.fatal(t, "%s is forgotten, and its container is there", s.Names.Name("task", string(id)))
		}
	}
	index := s.Store().Index()
	s.Pass(time.Hour)
	if s.check(t); s.Store().Index() != index {
		s.fatal(t, "%d entries were written in an idle hour", s.Store().Index()-index)
	}
}
