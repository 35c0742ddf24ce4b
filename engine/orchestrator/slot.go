package orchestrator

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// A slot is one slot of a service as a pass sees it, changes included.
type slot struct {
	*pass
	service *state.Service // nil when it was removed
	ref     slotRef
	tasks   []*state.Task // oldest first
}

func (p *pass) view(s *state.Service, id state.ServiceID, key state.SlotKey) *slot {
	return &slot{pass: p, service: s, ref: slotRef{id, key}, tasks: p.tasksIn(id, key)}
}

// slot looks at one slot and writes what follows from what it finds: whatever
// has ended or must leave its node is replaced or not, what waited may start,
// and what is of no use any more goes.
func (p *pass) slot(id state.ServiceID, key state.SlotKey) {
	s := p.d.Service(id)
	var r *rollout
	if s != nil {
		r = p.rolloutOf(s)
	}
	v := p.view(s, id, key)
	v.abandon()
	if s == nil || isGlobal(s) && p.d.Node(key.Node) == nil {
		v.dismiss()
	} else {
		v.rerun()
		v.relieve()
		v.settle(r)
		v.fill()
		v.prune()
		v.promote()
	}
	v.reap()
	if s != nil {
		v.note()
		if r != nil && p.rollouts[id] == r {
			r.look(v)
		}
	}
}

// latest returns the service as it is now: this very look at the slot may have
// written it.
func (v *slot) latest() *state.Service {
	v.service = v.d.Service(v.ref.service)
	return v.service
}

// abandon gives up tasks of nodes that have left the swarm, or have been down
// for so long that nobody expects them back.
func (v *slot) abandon() {
	for i, t := range v.tasks {
		if ended(t) || !assigned(t) || !v.givenUp(t.Node) {
			continue
		}
		c := *t
		c.Status.State = state.TaskOrphaned
		c.Status.At = v.wall
		c.Status.Message = "node is gone"
		v.tasks[i] = v.put(&c)
	}
}

// dismiss has every task removed, and with them the slot.
func (v *slot) dismiss() {
	for i, t := range v.tasks {
		v.tasks[i] = v.desire(t, state.TaskRemove)
	}
}

// A fate is why a task that is wanted cannot go on.
type fate uint8

const (
	stays  fate = iota
	over        // it has ended
	lost        // its node is down or gone
	moving      // its node is drained, or no longer has what the service demands
)

// fateOf says what must become of a wanted task.
func (p *pass) fateOf(t *state.Task) fate {
	if t.Status.State == state.TaskOrphaned {
		return lost
	}
	if ended(t) {
		return over
	}
	if t.Node == "" {
		return stays
	}
	n := p.d.Node(t.Node)
	switch {
	case n == nil:
		return lost
	case n.State == state.NodeDown && !mutant.On(mutant.DownIgnored):
		if p.awaited(n, t) {
			return stays
		}
		return lost
	case n.Spec.Availability == swarm.NodeAvailabilityDrain && !mutant.On(mutant.DrainIgnored):
		return moving
	case p.evicted[t.ID], !state.Eligible(n, p.demandOf(templateRef{t.Service, p.demanding(t)}).constraints) && !mutant.On(mutant.ConstraintUnenforced):
		return moving
	default:
		return stays
	}
}

// demanding is the version of the template whose constraints the task's node
// must satisfy: for one of a global service, which no update can move, the
// service's present one.
func (p *pass) demanding(t *state.Task) uint64 {
	if s := p.d.Service(t.Service); t.Global && s != nil {
		return s.Template
	}
	return t.Template
}

// done reports whether a task is a job's and has done it: it is never run again.
func done(t *state.Task) bool { return t.Job && t.Status.State == state.TaskComplete }

// settle shuts down what has ended or must leave its node, and replaces it.
func (v *slot) settle(r *rollout) {
	type departure struct {
		task *state.Task
		why  fate
	}
	var departures []departure
	for i, t := range v.tasks {
		if !alive(t) || done(t) && !mutant.On(mutant.JobRunAgain) {
			continue
		}
		why := v.fateOf(t)
		if why == stays || why == over && v.early(t) {
			continue
		}
		if why == over && r != nil {
			v.countFailure(r, t)
			v.latest()
		}
		v.tasks[i] = v.desire(t, state.TaskShutdown)
		departures = append(departures, departure{v.tasks[i], why})
	}
	for _, d := range departures {
		v.replace(d.task, d.why)
	}
	if len(departures) > 0 && !v.lively() {
		v.hold(departures[len(departures)-1].task)
	}
}

// early reports whether the task has ended before the delay was over that it was
// to wait out: an image that cannot be had shows at once. Its successor comes when
// it would have begun itself, or nothing would hold a slot back that never gets so
// far as to start.
func (v *slot) early(t *state.Task) bool {
	return t.Desired == state.TaskReady && !v.drained(t.Node) && v.now.Before(v.dueOf(t))
}

// replace makes a successor of a task that was shut down, if one is needed and
// the restart policy lets it.
func (v *slot) replace(t *state.Task, why fate) {
	if v.served(t) || !v.placeable() {
		return
	}
	template := v.d.Template(t.Service, t.Template)
	policy := policyOf(v.service, template)
	if !policy.allows(t, v.tasks) {
		return
	}
	how := successor{template: v.templateAfter(t), failures: t.Failures}
	delay := time.Duration(0)
	if why == over {
		how.failures = policy.failures(t, v.wall)
		if !v.drained(t.Node) {
			delay = policy.delayAfter(how.failures)
		}
	} else {
		how.rollout = t.Rollout && t.Ran == 0 && how.template == t.Template
	}
	v.succeed(how, delay)
}

// hold leaves the slot empty for good, if t may have no successor. The newest task
// says so: what was made after t, and t has outlived, goes.
func (v *slot) hold(t *state.Task) {
	if policyOf(v.service, v.d.Template(t.Service, t.Template)).allows(t, v.tasks) {
		return
	}
	for i := slices.Index(v.tasks, t) + 1; i < len(v.tasks); i++ {
		v.tasks[i] = v.desire(v.tasks[i], state.TaskRemove)
	}
}

// succeed makes the slot's next task. It waits for its delay, and for whatever
// else of the slot is still stopping.
func (v *slot) succeed(how successor, delay time.Duration) {
	how.after = v.stopping(nil)
	how.held = delay > 0 || how.after != nil
	if delay > 0 {
		how.start = v.wall.Add(delay)
	}
	t := v.create(v.service, v.ref.key, v.tasks, how)
	v.tasks = append(v.tasks, t)
	if delay > 0 {
		v.due[t.ID] = v.now.Add(delay)
	}
	if how.held {
		v.deadlines.add(v.readyAt(t), cause{slot: v.ref})
	}
}

// served reports whether the slot can do without a successor of t: a task of the
// current template is there, or t itself was one that is being replaced.
func (v *slot) served(t *state.Task) bool {
	for _, o := range v.tasks {
		if alive(o) && (o.Template == v.service.Template || t.Template != v.service.Template) {
			return true
		}
	}
	return false
}

// templateAfter is the version that a successor of t is made from. While slots
// are moved to another version one at a time, those that have not had their turn
// keep theirs.
func (v *slot) templateAfter(t *state.Task) uint64 {
	u := v.service.Update
	if v.service.Update == nil || u.Template != v.service.Template || !isOver(u.State) {
		if v.d.Template(t.Service, t.Template) != nil && !t.Job {
			return t.Template
		}
	}
	return v.service.Template
}

// placeable reports whether a task made now would have a place: a global
// service's tasks have one node only.
func (v *slot) placeable() bool {
	return !isGlobal(v.service) || v.open(v.ref.key.Node, v.service)
}

// open reports whether the node takes new tasks of the service.
func (p *pass) open(id state.NodeID, s *state.Service) bool {
	n := p.d.Node(id)
	return n != nil && n.State == state.NodeReady &&
		(n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == "") &&
		state.Eligible(n, p.demandOf(templateRef{s.ID, s.Template}).constraints)
}

func (p *pass) drained(id state.NodeID) bool {
	n := p.d.Node(id)
	return n != nil && n.Spec.Availability == swarm.NodeAvailabilityDrain
}

// prune leaves the slot with one task; while an update starts the new one first,
// with the old one too as long as that serves and the new one does not.
func (v *slot) prune() {
	var current, old *state.Task
	count := 0
	for _, t := range v.tasks {
		if !alive(t) {
			continue
		}
		count++
		if t.Template == v.service.Template {
			current = further(current, t)
		} else {
			old = further(old, t)
		}
	}
	if count < 2 || isGlobal(v.service) && mutant.On(mutant.GlobalTwice) {
		return
	}
	if current != nil && old != nil {
		runs := current.Status.State == state.TaskRunning
		if runs && !mutant.On(mutant.StartFirstPlusOne) || old.Status.State != state.TaskRunning || !startFirst(v.service) {
			old = nil
		}
	}
	for i, t := range v.tasks {
		if alive(t) && t != current && t != old {
			v.tasks[i] = v.desire(t, state.TaskShutdown)
		}
	}
}

// further returns the task that has come further; of equals the first. One that has
// ended, and is only waited for, has come nowhere.
func further(a, b *state.Task) *state.Task {
	switch {
	case a == nil, ended(a) && !ended(b), ended(a) == ended(b) && b.Status.State > a.Status.State:
		return b
	default:
		return a
	}
}

// promote starts what has waited long enough.
func (v *slot) promote() {
	for i, t := range v.tasks {
		if t.Desired != state.TaskReady {
			continue
		}
		if at := v.readyAt(t); v.now.Before(at) {
			v.deadlines.add(at, cause{slot: v.ref})
			continue
		}
		v.tasks[i] = v.desire(t, goal(v.service))
		delete(v.due, t.ID)
		delete(v.patience, t.ID)
	}
}

// readyAt is when the task may start, or is to be looked at again.
func (v *slot) readyAt(t *state.Task) time.Time {
	at := v.dueOf(t)
	if !v.now.Before(at) && v.stopping(t) != nil {
		return v.patienceOf(t)
	}
	return at
}

// dueOf is when the task's restart delay ends.
func (v *slot) dueOf(t *state.Task) time.Time {
	if t.Start == 0 {
		return v.now
	}
	if at, ok := v.due[t.ID]; ok {
		return at
	}
	delay := policyOf(v.service, v.d.Template(t.Service, t.Template)).delayAfter(t.Failures)
	at := v.now.Add(v.remaining(t.Start, delay))
	if at.After(v.now) && mutant.On(mutant.DelayForgotten) {
		at = v.now
	}
	v.due[t.ID] = at
	return at
}

// patienceOf is when the task starts though its predecessor has not stopped.
func (v *slot) patienceOf(t *state.Task) time.Time {
	if at, ok := v.patience[t.ID]; ok {
		return at
	}
	patience := stopPatience(v.d.Template(t.Service, t.Template))
	at := v.now.Add(v.remaining(max(t.Created, t.Start).Add(patience), patience))
	v.patience[t.ID] = at
	return at
}

// stopping returns a task of the slot, other than t, that was told to stop and
// may yet run somewhere within reach.
func (v *slot) stopping(t *state.Task) *state.Task {
	for _, o := range v.tasks {
		if o == t || alive(o) || ended(o) || !assigned(o) {
			continue
		}
		if n := v.d.Node(o.Node); n != nil && n.State != state.NodeDown && !mutant.On(mutant.PredecessorIgnored) {
			return o
		}
	}
	return nil
}

// occupied reports whether the slot counts as one of the service's: it has a
// wanted task, or its last one has ended and may not be restarted.
func (v *slot) occupied() bool {
	if v.lively() {
		return true
	}
	last := v.last()
	return last != nil && !policyOf(v.service, v.d.Template(last.Service, last.Template)).allows(last, v.tasks)
}

// last returns the newest task that was shut down rather than removed.
func (v *slot) last() *state.Task {
	for _, v0 := range slices.Backward(v.tasks) {
		if v0.Desired == state.TaskShutdown {
			return v0
		}
	}
	return nil
}
