package scheduler

import (
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// A pass is one run of Place over one draft.
type pass struct {
	*Scheduler
	d    *state.Draft
	now  time.Time
	wall state.Wall
}

// writable reports whether a task may be written: there is room in the draft, or
// the task is in it already, and so takes no more.
func (p *pass) writable(t *state.Task) bool { return !p.d.Full() || t.Version == p.d.Version() }

// pendingTask returns the task as it is now, nil if it wants no node any more.
func (p *pass) pendingTask(id state.TaskID) *state.Task {
	t := p.d.Task(id)
	if t == nil || t.Status.State >= state.TaskAssigned || t.Desired >= state.TaskShutdown {
		return nil
	}
	return t
}

// placeBound looks at the tasks that come with their node.
func (p *pass) placeBound() {
	queue := p.bound
	p.bound = nil
	for i, id := range queue {
		t := p.pendingTask(id)
		r := p.tasks[id]
		if t == nil || r.phase != pending {
			continue
		}
		if !p.writable(t) {
			p.bound = append(p.bound, queue[i:]...)
			return
		}
		g, n := r.group, r.node
		why := gone
		if g.template != nil {
			p.classOf(g)
			why = g.reason(n)
		}
		if why == accepted {
			p.assign(t, g, n, textConfirmed)
			continue
		}
		n.waiting = append(n.waiting, id)
		p.waiting++
		if text := why.explain(1); text != "" && text != t.Status.Err {
			p.refuse(t, text)
		}
	}
}

// placeGroups places what waits in groups, group by group.
func (p *pass) placeGroups() {
	for len(p.ready) > 0 {
		g := p.ready[0]
		if !p.placeGroup(g) {
			return
		}
		g.ready = false
		p.ready = p.ready[1:]
	}
	p.ready = nil
}

// placeGroup places the tasks of a group until there are none, or no node for them.
// It reports false when the draft has no room.
func (p *pass) placeGroup(g *group) bool {
	var x *session
	for len(g.queue) > 0 {
		t := p.pendingTask(g.queue[0])
		if t == nil {
			g.queue = g.queue[1:]
			continue
		}
		if !p.writable(t) {
			return false
		}
		if x == nil {
			p.classOf(g)
			x = p.begin(g)
		}
		n := x.next()
		if n == nil {
			p.block(g)
			return true
		}
		g.queue = g.queue[1:]
		p.assign(t, g, n, textAssigned)
	}
	g.queue = nil
	p.unblock(g)
	return true
}

// assign gives a task its node.
func (p *pass) assign(t *state.Task, g *group, n *node, message string) {
	c := *t
	c.Node = n.id
	c.Updated = p.wall
	c.Status = state.TaskStatus{State: state.TaskAssigned, At: p.wall, Message: message}
	if len(g.demand.generic) > 0 {
		c.Generic = n.pick(g.demand.generic)
	}
	p.d.PutTask(&c)
	p.move(&c, active)
}
