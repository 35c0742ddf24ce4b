package agent

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A Config is what an agent knows of its node.
type Config struct {
	Self     state.NodeID // "" until the node is in a swarm
	Hostname string
	Platform swarm.Platform
	Gateway  netip.Prefix // containers get the other addresses of its subnet
}

// An Agent has the tasks of one node run. Make one with [New]; events come in by
// its methods, [Agent.Tick] decides, [Agent.Drain] hands out what was decided.
type Agent struct {
	config    Config
	tasks     map[state.TaskID]*task
	found     bool // the containers of the node are known
	full      bool // all tasks of the node are known
	network   network
	deadlines deadlines

	dirty   []*task // to be looked at in the next Tick
	changed []*task // whose status is to be reported
	orders  []Order
}

// New returns an agent that knows no task and no container.
func New(config Config) *Agent {
	return &Agent{
		config:  config,
		tasks:   make(map[state.TaskID]*task),
		network: newNetwork(config.Gateway),
	}
}

// An Output is what an agent wants done.
type Output struct {
	Wake   time.Time // when to Tick again, zero: upon the next event
	Orders []Order
	// NetworkChanged says that the network is to be made as Generation, a new one,
	// and Endpoints have it; else both are zero.
	NetworkChanged bool
	Generation     uint64
	Endpoints      []Endpoint // by task
	Statuses       []wire.Status
}

// Drain hands out what has been decided since the last Drain. wall is the time
// of day, for statuses.
func (a *Agent) Drain(wall state.Wall) Output {
	out := Output{Orders: a.orders}
	a.orders = nil
	for _, t := range a.changed {
		t.unreported = false
		if a.tasks[t.id] != t || t.duty != dutyAssigned {
			continue // when it is assigned again, it is reported if that is news
		}
		if t.status.At == 0 {
			t.status.At = wall
		}
		out.Statuses = append(out.Statuses, wire.Status{Task: t.id, Status: t.status})
	}
	a.changed = nil
	if a.found && a.network.dirty {
		a.network.dirty = false
		a.network.generation++
		out.NetworkChanged = true
		out.Generation = a.network.generation
		out.Endpoints = a.Endpoints()
	}
	out.Wake = a.deadlines.next(a.tasks)
	if at := a.network.retryAt; !at.IsZero() && (out.Wake.IsZero() || at.Before(out.Wake)) {
		out.Wake = at
	}
	return out
}

// Tick decides about every task that something has happened to, or whose time
// has come. What it costs depends on their number alone.
func (a *Agent) Tick(now time.Time) {
	a.retryNetwork(now)
	a.deadlines.expire(a.tasks, now, a.mark)
	for len(a.dirty) > 0 {
		tasks := a.dirty
		a.dirty = nil
		for _, t := range tasks {
			t.queued = false
			if a.tasks[t.id] == t {
				a.advance(t, now)
			}
		}
	}
}

// Identify tells the agent which node of the swarm it is on.
func (a *Agent) Identify(node state.NodeID) { a.config.Self = node }

// Reconnect has the status of every task reported again: there is a new session
// with a leader.
func (a *Agent) Reconnect(time.Time) {
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		if t := a.tasks[id]; t.own && !mutant.On(mutant.ReportsKept) {
			a.report(t)
		}
	}
}

// Assign takes in what the leader wants. It supersedes what was wanted before.
func (a *Agent) Assign(m wire.Assign, _ time.Time) {
	if m.Full {
		a.full = true
		a.dismissOthers(m)
	}
	for _, id := range m.Gone {
		a.dismiss(id, dutyGone)
	}
	for _, id := range m.Keep {
		a.dismiss(id, dutyKept)
	}
	for _, x := range m.Tasks {
		if x.Task != nil {
			a.assign(x)
		}
	}
}

// dismissOthers ends every task that a full assignment does not name.
func (a *Agent) dismissOthers(m wire.Assign) {
	named := make(map[state.TaskID]bool, len(m.Tasks)+len(m.Keep))
	for _, x := range m.Tasks {
		if x.Task != nil {
			named[x.Task.ID] = true
		}
	}
	for _, id := range m.Keep {
		named[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		if !named[id] {
			a.dismiss(id, dutyGone)
		}
	}
}

// dismiss says that a task is not to run. One that is not known yet is noted
// only while its container may still be found.
func (a *Agent) dismiss(id state.TaskID, duty duty) {
	t := a.tasks[id]
	if t == nil {
		if a.found {
			return
		}
		t = a.add(id)
	}
	t.duty = duty
	a.mark(t)
}

func (a *Agent) assign(x wire.Assignment) {
	t := a.tasks[x.Task.ID]
	if t == nil {
		t = a.add(x.Task.ID)
	}
	if t.duty == dutyUnknown && x.Task.Status.State < state.TaskRunning {
		t.health.passed = false // it was found running, but had not been healthy yet
	}
	t.duty = dutyAssigned
	if t.task == nil || t.task.Desired <= state.TaskComplete || x.Task.Desired > state.TaskComplete {
		t.task = x.Task // who is to stop stays so: another leader may wait for others first
	}
	if x.Template != nil {
		t.template = x.Template
	}
	switch known := x.Task.Status; {
	case known.State > t.status.State && !t.status.State.Terminal():
		t.status, t.own = known, false // it was this node's before a restart
	case t.own && known.State < t.status.State && !mutant.On(mutant.ReportsKept):
		a.report(t) // a report was lost, or is under way
	}
	a.set(t, state.TaskAccepted, "accepted", "")
	a.mark(t)
}

// Pulled answers [Pull].
func (a *Agent) Pulled(id state.TaskID, err error, _ time.Time) {
	t := a.answered(id, busyPull)
	if t == nil {
		return
	}
	if t.pulled = err == nil; err != nil {
		a.fail(t, err.Error())
	}
}

// Created answers [Create]. health is the image's own health check.
func (a *Agent) Created(id state.TaskID, health *container.HealthConfig, err error, _ time.Time) {
	t := a.answered(id, busyCreate)
	if t == nil {
		return
	}
	if err != nil {
		t.box = boxDoubtful
		a.fail(t, err.Error())
		return
	}
	t.box = boxMade
	t.health.config = effectiveHealth(t.plan.Health, health)
}

// Started answers [Start].
func (a *Agent) Started(id state.TaskID, pid int, err error, now time.Time) {
	t := a.answered(id, busyStart)
	switch {
	case t == nil:
	case err != nil:
		t.cause = err.Error()
		if t.box == boxMade {
			t.box = boxRuns // it may, after all: it is stopped before anybody is told
		}
	case t.box == boxMade: // else its end was told first
		t.box, t.pid = boxRuns, pid
		t.health.begin(now)
	}
}

// Exited says that a container's process has ended, asked for by [Stop] or not;
// or, if err is set, that it could not be stopped. Docker does not say in a
// task's status that it ran out of memory, so neither does the agent.
func (a *Agent) Exited(id state.TaskID, code int, _ bool, err error, now time.Time) {
	t := a.tasks[id]
	if t == nil {
		return
	}
	if err != nil {
		if a.answered(id, busyStop) != nil {
			t.backOff(now)
		}
		return
	}
	if t.busy == busyStop {
		t.busy, t.failures = busyNot, 0
	}
	if t.box == boxRuns || t.busy == busyStart {
		t.box, t.code, t.pid = boxEnded, code, 0
		t.health.probing = false
		a.mark(t)
	}
}

// Removed answers [Remove].
func (a *Agent) Removed(id state.TaskID, err error, now time.Time) {
	t := a.answered(id, busyRemove)
	switch {
	case t == nil:
	case err != nil:
		t.backOff(now)
	default:
		t.box, t.failures = boxNone, 0
	}
}

// answered returns the task if it waits for the answer to such an order, and has
// it looked at; nil if the answer is a stale one.
func (a *Agent) answered(id state.TaskID, b busy) *task {
	t := a.tasks[id]
	if t == nil || t.busy != b {
		return nil
	}
	t.busy = busyNot
	a.mark(t)
	return t
}

func (a *Agent) add(id state.TaskID) *task {
	t := &task{id: id}
	a.tasks[id] = t
	return t
}

// mark has a task looked at in the next Tick.
func (a *Agent) mark(t *task) {
	if !t.queued {
		t.queued = true
		a.dirty = append(a.dirty, t)
	}
}

// report has a task's status reported in the next Drain.
func (a *Agent) report(t *task) {
	if !t.unreported {
		t.unreported = true
		a.changed = append(a.changed, t)
	}
}
