package orchestrator

import (
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/state"
)

// alive reports whether the task is wanted: it runs, is to run, or is a job's.
func alive(t *state.Task) bool { return t.Desired < state.TaskShutdown }

// assigned reports whether an agent may have been told of the task.
func assigned(t *state.Task) bool { return t.Status.State >= state.TaskAssigned }

// ended reports whether the task is over, as its agent or the orchestrator says.
func ended(t *state.Task) bool { return t.Status.State.Terminal() }

// selfEnded reports whether the task came to its end without being told to.
func selfEnded(t *state.Task) bool {
	switch t.Status.State {
	case state.TaskComplete, state.TaskFailed, state.TaskRejected:
		return true
	default:
		return false
	}
}

// goal is the desired state of a task that nothing holds back.
func goal(s *state.Service) state.TaskState {
	if isJob(s) {
		return state.TaskComplete
	}
	return state.TaskRunning
}

func isJob(s *state.Service) bool {
	return s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil
}

func isGlobal(s *state.Service) bool {
	return s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil
}

// tasksIn returns the tasks of a slot, oldest first.
func (p *pass) tasksIn(service state.ServiceID, key state.SlotKey) []*state.Task {
	return slices.Clone(p.d.Slot(service, key))
}

// older orders the tasks of a slot by age. Times in one slot never repeat or go
// back: [pass.create] sees to that.
func older(a, b *state.Task) int {
	switch {
	case a.Created < b.Created:
		return -1
	case a.Created > b.Created:
		return 1
	default:
		return strings.Compare(string(a.ID), string(b.ID))
	}
}

// A successor says how a task begins.
type successor struct {
	template uint64
	after    *state.Task // what must have stopped first, nil for nothing
	held     bool        // the task waits at Ready, for its delay or its predecessor
	start    state.Wall
	failures uint32
	rollout  bool
}

// create makes a task in a slot whose other tasks are given, oldest first.
func (p *pass) create(s *state.Service, key state.SlotKey, others []*state.Task, how successor) *state.Task {
	born := p.wall
	if n := len(others); n > 0 {
		born = max(born, others[n-1].Created+1)
	}
	t := &state.Task{
		ID:       state.TaskID(p.mint.ID()),
		Meta:     state.Meta{Version: p.d.Version(), Created: born, Updated: p.wall},
		Service:  s.ID,
		Slot:     key.Number,
		Global:   isGlobal(s),
		Node:     key.Node,
		Template: how.template,
		Desired:  goal(s),
		Start:    how.start,
		Failures: how.failures,
		Rollout:  how.rollout,
		Status:   state.TaskStatus{State: state.TaskNew, At: p.wall, Message: "created"},
	}
	if how.held {
		t.Desired = state.TaskReady
	}
	if how.after != nil {
		t.After = how.after.ID
	}
	if isJob(s) {
		t.Job, t.JobIteration = true, s.JobIteration
	}
	p.d.PutTask(t)
	return t
}

// desire writes what the task should come to, and returns the task as changed.
func (p *pass) desire(t *state.Task, desired state.TaskState) *state.Task {
	if t.Desired == desired {
		return t
	}
	c := *t
	c.Desired = desired
	return p.put(&c)
}

// put writes a changed copy of a task.
func (p *pass) put(c *state.Task) *state.Task {
	c.Version, c.Updated = p.d.Version(), p.wall
	p.d.PutTask(c)
	return c
}

// putService writes a changed copy of a service. Its SpecVersion is left alone:
// what a client read of the spec still holds.
func (p *pass) putService(c *state.Service) *state.Service {
	c.Version, c.Updated = p.d.Version(), p.wall
	p.d.PutService(c)
	return c
}
