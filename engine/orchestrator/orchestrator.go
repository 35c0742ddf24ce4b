package orchestrator

import (
	"time"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// An Orchestrator remembers where to look next. All of it can be rebuilt.
type Orchestrator struct {
	// What is to be looked at in the next pass.
	nodes    queue[state.NodeID]
	services queue[state.ServiceID]
	slots    queue[slotRef]
	rolls    queue[state.ServiceID] // their updates
	litter   queue[templateRef]
	// everything says that every slot is to be looked at: more or less history is kept.
	everything bool

	deadlines agenda
	due       map[state.TaskID]time.Time // when a task that waits out its restart delay may start
	patience  map[state.TaskID]time.Time // when a task stops waiting for its predecessor to stop
	lost      map[state.NodeID]time.Time // when the tasks of a node that is down are given up

	rollouts map[state.ServiceID]*rollout
	jobs     map[state.ServiceID]*job
	plans    map[state.ServiceID]*plan
	globals  queue[state.ServiceID]            // services that run on every node
	uses     map[templateRef]int               // tasks made from each template
	deep     map[state.ServiceID]state.SlotKey // services of which every slot is to be looked at, from which on
	swept    map[state.ServiceID]bool          // services whose abandoned slots are to lose their history

	demands map[templateRef]demand
	evicted map[state.TaskID]bool // tasks whose node does not have what they reserve
}

// A slotRef names a slot of a service.
type slotRef struct {
	service state.ServiceID
	key     state.SlotKey
}

// A templateRef names a template.
type templateRef struct {
	service state.ServiceID
	version uint64
}

// New returns an orchestrator that takes over what is in d.
func New(d *state.Draft, now time.Time, wall state.Wall) *Orchestrator {
	o := &Orchestrator{
		due:      map[state.TaskID]time.Time{},
		patience: map[state.TaskID]time.Time{},
		lost:     map[state.NodeID]time.Time{},
		rollouts: map[state.ServiceID]*rollout{},
		jobs:     map[state.ServiceID]*job{},
		plans:    map[state.ServiceID]*plan{},
		uses:     map[templateRef]int{},
		deep:     map[state.ServiceID]state.SlotKey{},
		swept:    map[state.ServiceID]bool{},
		demands:  map[templateRef]demand{},
		evicted:  map[state.TaskID]bool{},
	}
	for n := range d.Nodes() {
		o.watch(n, now, wall)
		o.nodes.push(n.ID)
	}
	for s := range d.Services() {
		o.meet(s)
	}
	for _, id := range d.ServicesWithTemplates() { // those of services removed too
		o.markDeep(id)
		for _, t := range d.Templates(id) {
			o.litter.push(templateRef{id, t.Version})
		}
	}
	for _, id := range d.ServicesWithTasks() {
		o.markDeep(id)
		for t := range d.TasksOf(id) {
			o.uses[templateRef{id, t.Template}]++
		}
	}
	return o
}

// Observe takes in changes that were made to the draft or the store, by anybody:
// it decides nothing, and costs as much as the changes.
func (o *Orchestrator) Observe(delta *state.Delta) {
	for _, c := range delta.Clusters {
		if c.Before != nil && c.After != nil && retention(c.Before) != retention(c.After) {
			o.everything = true
		}
	}
	for _, n := range delta.Nodes {
		o.observeNode(n)
	}
	for _, s := range delta.Services {
		o.observeService(s)
	}
	for _, t := range delta.Tasks {
		o.observeTask(t)
	}
}

func (o *Orchestrator) observeNode(n state.Diff[state.Node]) {
	switch {
	case n.After == nil:
		delete(o.lost, n.Before.ID)
		o.nodes.push(n.Before.ID)
	case n.Before == nil || matters(n.Before, n.After):
		o.nodes.push(n.After.ID)
	}
}

func (o *Orchestrator) observeService(s state.Diff[state.Service]) {
	switch {
	case s.After == nil:
		o.forget(s.Before)
		if mutant.On(mutant.RemovalForgotten) {
			return
		}
		o.markDeep(s.Before.ID)
		o.litter.push(templateRef{s.Before.ID, s.Before.Template})
		o.litter.push(templateRef{s.Before.ID, s.Before.PreviousTemplate})
		return
	case s.Before == nil:
		o.meet(s.After)
		o.services.push(s.After.ID)
		return
	}
	before, after := s.Before, s.After
	if before.Spec.Labels[state.PatienceLabel] != after.Spec.Labels[state.PatienceLabel] {
		o.markDeep(after.ID) // some may not be waited for any more
	}
	if before.Template != after.Template || before.PreviousTemplate != after.PreviousTemplate {
		o.litter.push(templateRef{after.ID, before.Template})
		o.litter.push(templateRef{after.ID, before.PreviousTemplate})
	}
	if before.SpecVersion != after.SpecVersion || before.Template != after.Template ||
		before.JobIteration != after.JobIteration || foreign(after.Update) || before.Update != nil && after.Update == nil {
		o.swept[after.ID] = true
		o.services.push(after.ID)
		o.rolls.push(after.ID)
	}
	if before.JobIteration != after.JobIteration {
		o.markDeep(after.ID)
	}
}

// foreign reports whether somebody else wrote the update: the orchestrator's own
// name their template.
func foreign(u *state.Update) bool { return u != nil && u.Template == 0 }

func (o *Orchestrator) observeTask(t state.Diff[state.Task]) {
	switch {
	case t.After == nil:
		b := t.Before
		ref := templateRef{b.Service, b.Template}
		if o.uses[ref]--; o.uses[ref] <= 0 {
			delete(o.uses, ref)
			o.litter.push(ref)
		}
		delete(o.due, b.ID)
		delete(o.patience, b.ID)
		delete(o.evicted, b.ID)
	case t.Before == nil:
		o.uses[templateRef{t.After.Service, t.After.Template}]++
	case t.Before.Status.State != t.After.Status.State && t.After.Status.State >= state.TaskRunning:
		o.slots.push(slotRef{t.After.Service, t.After.SlotKey()})
	}
}

// meet remembers what has to be known of every service.
func (o *Orchestrator) meet(s *state.Service) {
	if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil {
		o.globals.push(s.ID)
	}
}

func (o *Orchestrator) forget(s *state.Service) {
	o.globals.remove(s.ID)
	delete(o.rollouts, s.ID)
	delete(o.jobs, s.ID)
	delete(o.plans, s.ID)
	delete(o.swept, s.ID)
}

func (o *Orchestrator) markDeep(id state.ServiceID) {
	o.deep[id] = state.SlotKey{}
	o.services.push(id)
	o.rolls.push(id)
}

// Pending reports whether Reconcile has anything to look at, deadlines apart.
func (o *Orchestrator) Pending() bool {
	return o.everything || o.nodes.len()+o.services.len()+o.slots.len()+o.rolls.len()+o.litter.len() > 0
}

// Wake returns when Reconcile will next have something to look at though nothing
// changes; zero is never.
func (o *Orchestrator) Wake() time.Time { return o.deadlines.next() }

// Reconcile writes to d what follows from what has changed and what has come
// due. It stops when d is full; the rest is [Orchestrator.Pending].
func (o *Orchestrator) Reconcile(d *state.Draft, mint *entropy.Source, now time.Time, wall state.Wall) {
	p := pass{Orchestrator: o, d: d, mint: mint, now: now, wall: wall}
	for _, c := range o.deadlines.expire(now) {
		p.wake(c)
	}
	for !d.Full() {
		switch {
		case o.everything:
			o.everything = false
			for s := range d.Services() {
				o.markDeep(s.ID)
			}
		case o.nodes.len() > 0:
			p.node(o.nodes.pop())
		case o.services.len() > 0:
			p.service(o.services.pop())
		case o.slots.len() > 0:
			ref := o.slots.pop()
			p.slot(ref.service, ref.key)
		case o.rolls.len() > 0:
			p.roll(o.rolls.pop())
		case o.litter.len() > 0:
			p.collect(o.litter.pop())
		default:
			return
		}
	}
}

// A pass is one run of Reconcile over one draft.
type pass struct {
	*Orchestrator
	d    *state.Draft
	mint *entropy.Source
	now  time.Time
	wall state.Wall
}

// wake puts what a deadline was about where it will be looked at.
func (p *pass) wake(c cause) {
	switch {
	case c.node != "":
		p.nodes.push(c.node)
	case c.roll:
		p.rolls.push(c.slot.service)
	default:
		p.slots.push(c.slot)
	}
}

// remaining is how much is left of a delay that ends at the wall time until:
// whatever the clocks say, neither less than nothing nor more than all of it.
func (p *pass) remaining(until state.Wall, delay time.Duration) time.Duration {
	return max(0, min(until.Sub(p.wall), delay))
}
