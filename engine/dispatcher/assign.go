package dispatcher

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Apart returns what is to be sent now, whatever has committed: to nodes that are
// not in the session that they believe in, and to those that are silent.
func (p *Dispatcher) Apart(now time.Time) []Outgoing {
	p.clock.advance(now, p.stall())
	out := p.callRoll(p.strangers)
	p.strangers = nil
	return out
}

// Flush returns what else is to be sent now. d must be what has committed, and all
// of that must have been observed.
func (p *Dispatcher) Flush(d *state.Draft) []Outgoing {
	var out []Outgoing
	p.spread(d)
	p.tabulate(d)
	for _, id := range p.dirty {
		n := p.nodes[id]
		if n == nil {
			continue
		}
		n.dirty = false
		if n.session == 0 {
			continue
		}
		if m, any := p.assign(d, n); any {
			out = append(out, Outgoing{id, m})
		}
	}
	p.dirty = p.dirty[:0]
	return out
}

// assign writes the next message of a node's session.
func (p *Dispatcher) assign(d *state.Draft, n *node) (wire.Assign, bool) {
	m := wire.Assign{Session: n.session, Full: n.full, Period: int64(p.beat)}
	if node := d.Node(n.id); node != nil {
		m.Manager = node.Manager || node.Spec.Role == swarm.NodeRoleManager
	}
	if c := d.Cluster(); c != nil {
		m.Certificate = c.CertVersion
	}
	if !slices.Equal(n.known, p.managers) {
		n.known, m.Managers = p.managers, p.managers
	}
	if n.full {
		for t := range d.TasksOn(n.id) {
			add(&m, d, p.held(t))
		}
	} else {
		slices.Sort(n.tasks)
		for _, id := range slices.Compact(n.tasks) {
			if t := d.Task(id); t != nil {
				if !p.table.draining[id] { // else the node knows all that it is to know
					add(&m, d, t)
				}
			} else if !mutant.On(mutant.GoneForgotten) {
				m.Gone = append(m.Gone, id)
			}
		}
		if !n.tell && len(m.Tasks)+len(m.Keep)+len(m.Gone) == 0 {
			n.tasks = nil
			return m, false
		}
	}
	m.Tables = p.tables(d, n)
	n.sequence++
	m.Sequence = n.sequence
	if n.beat != p.beat || n.toldAt == 0 {
		// A node that waits to be greeted is silent for as long as the log is slow, and
		// one that is to speak more rarely need not speak before: their graces begin now.
		anew := n.toldAt == 0 || p.beat > n.beat
		n.slowest, n.beat, n.toldAt = max(n.slowest, n.beat), p.beat, n.sequence
		if anew {
			p.alive(n)
		}
	}
	n.tasks, n.full, n.tell = nil, false, false
	return m, true
}

// add puts a task where it belongs in the message. A task that its node is to
// stop is assigned still. Of one given up for lost no container may stay: it
// may be running, if its node has come back.
func add(m *wire.Assign, d *state.Draft, t *state.Task) {
	switch {
	case !assigned(t):
	case t.Status.State == state.TaskOrphaned:
		m.Gone = append(m.Gone, t.ID)
	case t.Status.State.Terminal():
		m.Keep = append(m.Keep, t.ID)
	default:
		m.Tasks = append(m.Tasks, wire.Assignment{Task: t, Template: d.Template(t.Service, t.Template)})
	}
}

// assigned reports whether a task is its node's business.
func assigned(t *state.Task) bool {
	return t != nil && t.Node != "" && t.Status.State >= state.TaskAssigned
}

// observeTask notes which node is to be told of a task.
func (p *Dispatcher) observeTask(t state.Diff[state.Task]) {
	switch {
	case t.After == nil:
		if assigned(t.Before) {
			p.touch(t.Before.Node, t.Before.ID)
		}
	case !assigned(t.After):
	case !assigned(t.Before), t.Before.Desired != t.After.Desired,
		t.Before.Status.State.Terminal() != t.After.Status.State.Terminal(),
		t.Before.Status.State != t.After.Status.State && t.After.Status.State == state.TaskOrphaned:
		p.touch(t.After.Node, t.After.ID)
	}
}

// managersOf lists those who take part in consensus, and can be reached.
func managersOf(d *state.Draft) []wire.Manager {
	managers := []wire.Manager{}
	for n := range d.Nodes() {
		if n.Manager && n.ManagerAddr != "" {
			managers = append(managers, reachable(n))
		}
	}
	return managers
}

func (p *Dispatcher) touch(id state.NodeID, task state.TaskID) {
	n := p.nodes[id]
	if n == nil || n.session == 0 || n.full {
		return
	}
	n.tasks = append(n.tasks, task)
	p.soil(n)
}

// spread notes which nodes are to be told of what concerns many: how often to
// speak, and the change of a template that tasks are made from.
func (p *Dispatcher) spread(d *state.Draft) {
	if p.tellManagers || p.managers == nil {
		p.managers = managersOf(d)
		p.tell = p.tell || p.tellManagers
		p.tellManagers = false
	}
	if p.tell {
		p.tell = false
		for n := range d.Nodes() {
			if m := p.nodes[n.ID]; m != nil {
				m.tell = true
				p.soil(m)
			}
		}
	}
	for _, tpl := range p.templates {
		for t := range d.TasksOf(tpl.Service) {
			if t.Template == tpl.Version && assigned(t) && !t.Status.State.Terminal() {
				p.touch(t.Node, t.ID)
			}
		}
	}
	p.templates = nil
}
