package orchestrator_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/state"
)

// A storm draws what happens to a world.
type storm struct {
	*world
	t       *rapid.T
	history int64
	lives   map[string]int // how often each service has been removed
	allowed map[state.ServiceID]uint64
}

// id names a service: one that is made again is another one.
func (s *storm) id(kind string) state.ServiceID {
	return state.ServiceID(fmt.Sprintf("%s-%d", kind, s.lives[kind]))
}

func (s *storm) someKind() string {
	return rapid.SampledFrom([]string{"rep", "all", "job", "each"}).Draw(s.t, "service")
}

func newStorm(t *rapid.T) *storm {
	w := newWorld(t.Fatalf)
	w.fail = func(format string, args ...any) {
		t.Log(w.told())
		t.Fatalf(format, args...)
	}
	s := &storm{world: w, t: t, history: rapid.Int64Range(-1, 3).Draw(t, "history"), lives: map[string]int{}, allowed: map[state.ServiceID]uint64{}}
	s.keep(s.history)
	for _, id := range []state.NodeID{"n1", "n2", "n3"} {
		s.putNode(id, state.NodeReady, swarm.NodeAvailabilityActive, "a")
	}
	return s
}

// keep sets how many tasks of a slot are kept.
func (s *storm) keep(history int64) {
	s.history = history
	s.change(func(d *state.Draft) {
		c := state.Cluster{ID: "swarm"}
		c.Spec.Orchestration.TaskHistoryRetentionLimit = &history
		d.PutCluster(&c)
	})
}

func (s *storm) putNode(id state.NodeID, st state.NodeState, a swarm.NodeAvailability, zone string) {
	s.change(func(d *state.Draft) {
		n := state.Node{ID: id, State: st, Since: s.wall}
		n.Spec.Availability, n.Spec.Labels = a, map[string]string{"zone": zone}
		d.PutNode(&n)
	})
}

// step does one random thing, and has the orchestrator decide.
func (s *storm) step() {
	t := s.t
	step := rapid.SampledFrom([]string{
		"service", "service", "node", "remove", "rollback", "act", "act", "act", "fail", "fail", "advance", "elect",
		"gone", "history", "clock",
	}).Draw(t, "step")
	s.log = append(s.log, "after "+step)
	switch step {
	case "service":
		s.putService(s.someKind())
	case "node":
		s.putNode(rapid.SampledFrom([]state.NodeID{"n1", "n2", "n3"}).Draw(t, "node"),
			rapid.SampledFrom([]state.NodeState{state.NodeReady, state.NodeReady, state.NodeDown}).Draw(t, "state"),
			rapid.SampledFrom([]swarm.NodeAvailability{swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain}).Draw(t, "availability"),
			rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"))
	case "remove":
		kind := s.someKind()
		s.change(func(d *state.Draft) { d.DeleteService(s.id(kind)) })
		s.lives[kind]++
	case "rollback":
		if v := s.store.Draft().Service(s.id("rep")); v != nil && v.Previous != nil {
			s.revise(v.ID, *v.Previous, true)
		}
	case "act":
		s.act(func(*state.Task) bool { return rapid.Bool().Draw(t, "acts") })
	case "fail":
		s.failOne()
	case "advance":
		s.advance(rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second, time.Minute, 25 * time.Hour}).Draw(t, "by"))
	case "elect":
		s.elect()
	case "gone":
		s.change(func(d *state.Draft) {
			d.DeleteNode(rapid.SampledFrom([]state.NodeID{"n1", "n2", "n3"}).Draw(t, "node"))
		})
	case "history":
		s.keep(rapid.Int64Range(-1, 3).Draw(t, "history"))
	case "clock": // somebody sets it
		s.wall += state.Wall(time.Duration(rapid.IntRange(-100, 100).Draw(t, "minutes")) * time.Minute)
	}
	s.pass()
	s.check()
}

func (s *storm) putService(kind string) {
	t, id := s.t, s.id(kind)
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: string(id)}}
	n := rapid.Uint64Range(0, 4).Draw(t, "n")
	switch kind {
	case "rep":
		spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	case "all":
		spec.Mode.Global = &swarm.GlobalService{}
	case "job":
		m := rapid.Uint64Range(0, 3).Draw(t, "concurrent")
		spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{TotalCompletions: &n, MaxConcurrent: &m}
	case "each":
		spec.Mode.GlobalJob = &swarm.GlobalJob{}
	}
	delay := time.Duration(rapid.IntRange(0, 2).Draw(t, "delay")) * time.Second
	attempts := rapid.SampledFrom([]uint64{0, 0, 1, 3}).Draw(t, "attempts")
	condition := rapid.SampledFrom([]swarm.RestartPolicyCondition{"", "any", "on-failure", "none"}).Draw(t, "condition")
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: condition, Delay: &delay, MaxAttempts: &attempts}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "image")}
	if rapid.IntRange(0, 3).Draw(t, "constrained") == 0 {
		spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.zone==a"}}
	}
	if spec.Mode.Replicated != nil || spec.Mode.Global != nil {
		config := func(name string) *swarm.UpdateConfig {
			return &swarm.UpdateConfig{
				Parallelism:     rapid.Uint64Range(0, 2).Draw(t, name+"parallelism"),
				Delay:           time.Duration(rapid.IntRange(0, 1).Draw(t, name+"delay")) * 3 * time.Second,
				FailureAction:   rapid.SampledFrom([]swarm.FailureAction{"", "continue", "rollback"}).Draw(t, name+"action"),
				Order:           rapid.SampledFrom([]swarm.UpdateOrder{"stop-first", "start-first"}).Draw(t, name+"order"),
				MaxFailureRatio: rapid.SampledFrom([]float32{0, 0.5}).Draw(t, name+"ratio"),
			}
		}
		spec.UpdateConfig, spec.RollbackConfig = config("update "), config("rollback ")
	}
	s.revise(id, spec, false)
}

// failOne has a task that an agent runs fail, be rejected, or exit well.
func (s *storm) failOne() {
	s.change(func(d *state.Draft) {
		var some []*state.Task
		for t := range d.Tasks() {
			if n := d.Node(t.Node); n != nil && n.State == state.NodeReady && t.Status.State >= state.TaskAssigned && !t.Status.State.Terminal() {
				some = append(some, t)
			}
		}
		if len(some) > 0 {
			task := some[rapid.IntRange(0, len(some)-1).Draw(s.t, "failing")]
			s.report(d, task, rapid.SampledFrom([]state.TaskState{state.TaskFailed, state.TaskRejected, state.TaskComplete}).Draw(s.t, "outcome"))
		}
	})
}

func wanted(t *state.Task) bool { return t.Desired < state.TaskShutdown }

// check holds what must never be otherwise.
func (s *storm) check() {
	d := s.store.Draft()
	for v := range d.Services() {
		s.paced(d, v)
	}
	for _, id := range d.ServicesWithTasks() {
		v := d.Service(id)
		for key, tasks := range d.Slots(id) {
			live, templates := 0, map[uint64]bool{}
			for _, t := range tasks {
				if d.Template(id, t.Template) == nil {
					s.fail("task %s of %s has no template", t.ID, id)
				}
				if wanted(t) {
					live++
					templates[t.Template] = true
				}
			}
			switch {
			case v == nil && live > 0:
				s.fail("%s is removed, and slot %v has a task that is wanted", id, key)
			case live > 2, live == 2 && len(templates) < 2:
				s.fail("slot %v of %s has %d tasks that are wanted", key, id, live)
			case live == 2 && v.Spec.UpdateConfig.Order != "start-first" && v.Spec.RollbackConfig.Order != "start-first":
				s.fail("slot %v of %s has two tasks without start-first", key, id)
			}
			if s.history >= 0 {
				s.kept(v, key, tasks)
			}
		}
	}
}

// paced checks that no more slots are being moved than the update may move at
// once; those that an earlier, wider update has begun to move may end.
func (s *storm) paced(d *state.Draft, v *state.Service) {
	config := v.Spec.UpdateConfig
	if v.Update != nil && v.Update.State == swarm.UpdateStateRollbackStarted {
		config = v.Spec.RollbackConfig
	}
	if config == nil || config.Parallelism == 0 {
		s.allowed[v.ID] = 1 << 32
		return
	}
	moving, begun := uint64(0), uint64(0)
	for t := range d.TasksOf(v.ID) {
		if t.Rollout && wanted(t) && t.Status.State < state.TaskRunning {
			if begun++; t.Template == v.Template {
				moving++
			}
		}
	}
	most := max(s.allowed[v.ID], config.Parallelism)
	if moving > most {
		s.fail("%d slots of %s are being moved, %d may be", moving, v.ID, most)
	}
	s.allowed[v.ID] = max(config.Parallelism, begun)
}

// kept checks that no more history is kept than there may be.
func (s *storm) kept(v *state.Service, key state.SlotKey, tasks []*state.Task) {
	ended := 0
	for _, t := range tasks {
		if !wanted(t) && t.Status.State.Terminal() {
			ended++
		}
	}
	// Restarts are counted from history; one says that a slot stays empty.
	if limit := max(int(s.history), 1+3); ended > limit {
		s.fail("slot %v of %s keeps %d tasks that have ended", key, v.ID, ended)
	}
}

// converged checks what must hold when everything has been quiet for long.
func (s *storm) converged() {
	d := s.store.Draft()
	for _, id := range d.ServicesWithTasks() {
		if d.Service(id) == nil {
			s.fail("%s is removed, its tasks are not", id)
		}
	}
	for _, id := range d.ServicesWithTemplates() {
		v := d.Service(id)
		for _, made := range d.Templates(id) {
			used := v != nil && (v.Template == made.Version || v.PreviousTemplate == made.Version)
			for t := range d.TasksOf(id) {
				used = used || t.Template == made.Version
			}
			if !used {
				s.fail("template %d of %s is of no use", made.Version, id)
			}
		}
	}
	for v := range d.Services() {
		s.serves(d, v)
		if u := v.Update; u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted) {
			s.fail("%s is %s for ever", v.ID, u.State)
		}
	}
}

// serves checks that a service has the tasks that it should have.
func (s *storm) serves(d *state.Draft, v *state.Service) {
	full, held := 0, 0
	for key, tasks := range d.Slots(v.ID) {
		var live, last *state.Task
		for _, t := range tasks {
			if wanted(t) {
				if live != nil {
					s.fail("slot %v of %s has two tasks at rest", key, v.ID)
				}
				live = t
			}
			if t.Desired <= state.TaskShutdown {
				last = t
			}
		}
		restart := d.Template(v.ID, tasks[len(tasks)-1].Template).Spec.RestartPolicy
		switch {
		case live != nil:
			full++
			paused := v.Update != nil && (v.Update.State == swarm.UpdateStatePaused || v.Update.State == swarm.UpdateStateRollbackPaused)
			// Under start-first the old one stays where the new one has failed for good.
			gone := last.Template == v.Template && last.Status.State > state.TaskRunning
			if live.Template != v.Template && !paused && !gone {
				s.fail("slot %v of %s runs template %d, want %d", key, v.ID, live.Template, v.Template)
			}
			if live.Status.State != state.TaskRunning && (!live.Job || live.Status.State != state.TaskComplete) {
				s.fail("slot %v of %s is %s at rest", key, v.ID, live.Status.State)
			}
		case last != nil && (restart.Condition == "none" || restart.Condition == "on-failure" || *restart.MaxAttempts > 0 || last.Job):
			held++
		}
	}
	switch {
	case v.Spec.Mode.Replicated != nil && (full > int(*v.Spec.Mode.Replicated.Replicas) || full+held < int(*v.Spec.Mode.Replicated.Replicas)):
		s.fail("%s has %d tasks and %d slots that stay empty, want %d", v.ID, full, held, *v.Spec.Mode.Replicated.Replicas)
	case (v.Spec.Mode.Global != nil || v.Spec.Mode.GlobalJob != nil) && (full > 3 || full+held < 3):
		s.fail("%s has %d tasks and %d nodes that stay empty, want 3", v.ID, full, held)
	case v.Spec.Mode.ReplicatedJob != nil && full+held != int(total(v)):
		s.fail("%s has %d slots, want %d", v.ID, full+held, total(v))
	}
}

func total(v *state.Service) uint64 { return *v.Spec.Mode.ReplicatedJob.TotalCompletions }

// shape is what two worlds that went the same way have in common.
func (s *storm) shape() []string {
	var lines []string
	d := s.store.Draft()
	for v := range d.Services() {
		update := "-"
		if v.Update != nil {
			update = string(v.Update.State)
		}
		live := 0
		for t := range d.TasksOf(v.ID) {
			if wanted(t) {
				live++
			}
		}
		lines = append(lines, fmt.Sprintf("%s v%d %s %d", v.ID, v.Template, update, live))
	}
	slices.Sort(lines)
	return lines
}

// quieten has all nodes back and lets everything take its course.
func (s *storm) quieten() {
	for _, id := range []state.NodeID{"n1", "n2", "n3"} {
		s.putNode(id, state.NodeReady, swarm.NodeAvailabilityActive, "a")
	}
	s.rest()
	s.check()
	s.converged()
}

// fork is the same swarm under another leader, who knows only what was committed.
func (s *storm) fork() *storm {
	var b bytes.Buffer
	if _, err := s.store.Freeze().WriteTo(&b); err != nil {
		s.fail("%v", err)
	}
	store, err := state.Restore(&b)
	if err != nil {
		s.fail("%v", err)
	}
	w := *s.world
	w.store, w.names, w.log = store, maps.Clone(w.names), slices.Clone(w.log)
	w.elect()
	return &storm{world: &w, t: s.t, history: s.history, lives: s.lives, allowed: maps.Clone(s.allowed)}
}

// Users, nodes and tasks do as they like for a while, and leaders come and go.
// Nothing forbidden ever holds; and when all nodes are back and nothing fails any
// more, everything comes to what was asked for, and then nothing is written.
func TestStorms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStorm(t)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			s.step()
		}
		other := s.fork()
		s.quieten()
		shape, index := s.shape(), s.store.Index()
		s.advance(48 * time.Hour)
		s.pass()
		if s.store.Index() != index {
			s.fail("nothing happened for two days, and something was written")
		}
		s.elect()
		s.rest()
		if diff := cmp.Diff(shape, s.shape()); diff != "" {
			s.fail("a leader elected afterwards sees it otherwise:\n%s", diff)
		}
		other.quieten()
		if diff := cmp.Diff(shape, other.shape()); diff != "" {
			s.fail("a leader elected in the middle comes to something else:\n%s", diff)
		}
	})
}
