package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// Docker's words for what becomes of a task.
const (
	textAssigned  = "scheduler assigned task to node"
	textConfirmed = "scheduler confirmed task can run on preassigned node"
	textPending   = "pending task scheduling"
)

// ExplainPeriod is how long the reason why tasks are pending stands at least,
// though it changes: a busy swarm must not rewrite every pending task with every
// task that it places.
const ExplainPeriod = time.Second

// A Scheduler knows what every node has left and which tasks wait for one.
type Scheduler struct {
	nodes    map[state.NodeID]*node
	slots    []*node // nodes by index; nil where one was removed
	free     []int32 // indexes to be used again
	dirty    []*node // changed since the last settle
	levels   []int32 // active tasks of the open nodes by index; closed for others
	moves    []int32 // indexes of nodes whose level has changed, in order
	services map[state.ServiceID]*service
	groups   map[groupRef]*group
	tasks    map[state.TaskID]record // those that have not ended
	classes  map[string]*class
	listed   []*class // the same, in the order in which they were made

	ready   []*group       // have tasks that may have a place
	blocked []*group       // have tasks that have none
	stale   []*group       // blocked, and the reason is to be written
	quiet   []*group       // blocked, and the reason is to be written later
	bound   []state.TaskID // come with their node and are to be tried
	waiting int            // come with their node and were refused

	sessions uint64  // numbers the sessions
	session  session // its memory is used again
}

// A phase is how far a task has come, as far as placing is concerned.
type phase uint8

const (
	absent  phase = iota // ended, unknown, or to stop before it was placed
	pending              // wants a node
	holding              // holds resources of its node, but is to stop
	active               // holds resources and counts as one of the service's
)

// A record is what is remembered of one task.
type record struct {
	group *group
	node  *node // nil while it has none
	phase phase
}

// New returns a scheduler that takes over what is in d.
func New(d *state.Draft, _ time.Time) *Scheduler {
	s := &Scheduler{
		nodes:    map[state.NodeID]*node{},
		services: map[state.ServiceID]*service{},
		groups:   map[groupRef]*group{},
		tasks:    map[state.TaskID]record{},
		classes:  map[string]*class{},
	}
	s.class("", &swarm.TaskSpec{}) // that of all nodes, which is nearly always wanted
	for n := range d.Nodes() {
		s.observeNode(state.Diff[state.Node]{After: n})
	}
	for t := range d.Tasks() {
		g := s.group(groupRef{t.Service, t.Template})
		if g.template == nil {
			g.learn(d.Template(t.Service, t.Template))
		}
		if failed(t) && t.Node != "" {
			if n := s.nodes[t.Node]; n != nil {
				g.fail(n, failedAt(t))
			}
		}
		s.see(t)
	}
	for v := range d.Services() {
		for _, t := range d.Templates(v.ID) {
			s.observeTemplate(state.Diff[state.Template]{After: t})
		}
	}
	return s
}

// Observe takes in changes that were made to the draft or the store, by anybody.
// It decides nothing, and costs as much as the changes.
func (s *Scheduler) Observe(delta *state.Delta) {
	for _, n := range delta.Nodes {
		s.observeNode(n)
	}
	for _, t := range delta.Templates {
		if t.After != nil {
			s.observeTemplate(t)
		}
	}
	for _, t := range delta.Tasks {
		switch {
		case t.After != nil:
			s.see(t.After)
		case t.Before != nil:
			s.move(t.Before, absent)
		}
	}
	for _, t := range delta.Templates { // only now nothing is made from them
		if t.After == nil {
			s.observeTemplate(t)
		}
	}
}

// Pending reports whether [Scheduler.Place] has anything to do.
func (s *Scheduler) Pending() bool {
	return len(s.ready)+len(s.bound)+len(s.stale) > 0 || len(s.dirty) > 0 && len(s.blocked)+s.waiting > 0
}

// Wake returns when Place will have something to do though nothing changes; zero
// is never.
func (s *Scheduler) Wake() time.Time {
	if len(s.quiet) == 0 {
		return time.Time{}
	}
	first := slices.MinFunc(s.quiet, func(a, b *group) int { return a.until.Compare(b.until) })
	return first.until
}

// Place writes to d the node of every pending task that has a place, and why the
// others have none. When d is full it goes on only with tasks that were written in
// d already, which make it no longer; the rest is [Scheduler.Pending].
func (s *Scheduler) Place(d *state.Draft, now time.Time, wall state.Wall) {
	p := &pass{Scheduler: s, d: d, now: now, wall: wall}
	s.speak(now)
	s.settle()
	p.placeBound()
	p.placeGroups()
	s.settle()
	p.placeBound() // what is placed may change why others are not
	p.explain()
	s.trim(max(movesMax, len(s.slots)), linksMax)
	s.session.pass, s.session.g = nil, nil // the draft is the caller's
}

// see brings what is remembered of a task up to date.
func (s *Scheduler) see(t *state.Task) {
	switch {
	case t.Status.State.Terminal():
		r := s.tasks[t.ID]
		if r.phase >= holding && failed(t) {
			r.group.fail(r.node, failedAt(t))
		}
		s.move(t, absent)
	case t.Status.State >= state.TaskAssigned && t.Desired <= state.TaskComplete:
		s.move(t, active)
	case t.Status.State >= state.TaskAssigned:
		s.move(t, holding)
	case t.Desired < state.TaskShutdown && s.addressed(t):
		s.move(t, pending)
	default:
		s.move(t, absent)
	}
}

// addressed reports whether a task has the addresses that it cannot do without. One
// that waits for them comes again when it has them.
func (s *Scheduler) addressed(t *state.Task) bool {
	g := s.groups[groupRef{t.Service, t.Template}]
	return g == nil || g.template == nil || t.Addressed(g.template)
}

// move takes a task from one phase to another.
func (s *Scheduler) move(t *state.Task, to phase) {
	r := s.tasks[t.ID]
	if r.phase == to {
		return
	}
	if r.group == nil {
		r.group = s.group(groupRef{t.Service, t.Template})
	}
	if r.node == nil && t.Node != "" {
		r.node = s.node(t.Node)
		r.node.refs++
	}
	from := r.phase
	r.phase = to
	if from == pending {
		s.unwait(r, t.ID)
	}
	if from >= holding != (to >= holding) && (to >= holding || !mutant.On(mutant.ReservationKept)) {
		s.hold(r, t, to >= holding)
	}
	if (from == active) != (to == active) {
		s.count(r, to == active)
	}
	if to == absent {
		delete(s.tasks, t.ID)
		if r.node != nil {
			r.node.refs--
		}
		return
	}
	s.tasks[t.ID] = r
	if to == pending {
		s.await(r, t)
	}
}

// hold takes from the node what the task reserves, or gives it back.
func (s *Scheduler) hold(r record, t *state.Task, take bool) {
	r.node.hold(&r.group.demand, t.Generic, take)
	r.group.held += sign(take)
	s.touch(r.node, loadChanged)
}

// count adds the task to those that its node has, or takes it away.
func (s *Scheduler) count(r record, add bool) {
	r.group.service.add(r.node, int32(sign(add)))
	s.load(r.node, int32(sign(add)))
	s.touch(r.node, loadChanged)
}

// await has a pending task placed.
func (s *Scheduler) await(r record, t *state.Task) {
	r.group.pending++
	if r.node != nil {
		s.bound = append(s.bound, t.ID)
		return
	}
	r.group.enqueue(s, t.ID)
	if r.group.why != nil && !r.group.ready {
		s.markStale(r.group)
		return
	}
	s.markReady(r.group)
}

// unwait forgets that a task is pending. Its place in a queue is left to be
// skipped.
func (s *Scheduler) unwait(r record, id state.TaskID) {
	r.group.pending--
	if r.group.pending == 0 {
		s.unblock(r.group)
	}
	if r.node == nil {
		return
	}
	if i := slices.Index(r.node.waiting, id); i >= 0 {
		r.node.waiting = slices.Delete(r.node.waiting, i, i+1)
		s.waiting--
	}
	s.touch(r.node, loadChanged)
}

func (s *Scheduler) markReady(g *group) {
	if !g.ready && g.template != nil {
		g.ready = true
		s.ready = append(s.ready, g)
	}
}

func (s *Scheduler) markStale(g *group) {
	if !g.stale {
		g.stale = true
		s.stale = append(s.stale, g)
	}
}

// failed reports whether the task ended as it should not.
func failed(t *state.Task) bool {
	return t.Status.State == state.TaskFailed || t.Status.State == state.TaskRejected
}

// failedAt is when a task failed: its node's word, unless that is later than when
// the leader heard of it.
func failedAt(t *state.Task) state.Wall {
	return min(t.Status.At, cmp.Or(t.Updated, t.Status.At))
}

func sign(plus bool) int {
	if plus {
		return 1
	}
	return -1
}
