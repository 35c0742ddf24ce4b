package orchestrator

import (
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// orphanAfter is how long a node may be down before its tasks are given up.
const orphanAfter = state.PatienceMax

// node looks at what a change of one node means for the tasks on it, and for the
// services that run on every node.
func (p *pass) node(id state.NodeID) {
	n := p.d.Node(id)
	if n != nil {
		p.watch(n, p.now, p.wall)
	}
	unreachable := n == nil || n.State == state.NodeDown
	if !unreachable {
		p.weigh(n)
	}
	for t := range p.d.TasksOn(id) {
		if !ended(t) && (unreachable || alive(t) && p.fateOf(t) != stays) {
			p.slots.push(slotRef{t.Service, t.SlotKey()})
		}
	}
	for _, s := range p.globals.all() {
		p.slots.push(slotRef{s, state.SlotKey{Node: id}})
	}
}

// watch remembers until when a node that is down is waited for.
func (o *Orchestrator) watch(n *state.Node, now time.Time, wall state.Wall) {
	if n.State != state.NodeDown {
		delete(o.lost, n.ID)
		return
	}
	if _, ok := o.lost[n.ID]; ok {
		return
	}
	left := max(0, min(n.Since.Add(orphanAfter).Sub(wall), orphanAfter))
	o.lost[n.ID] = now.Add(left)
	o.deadlines.add(now.Add(left), cause{node: n.ID})
}

// givenUp reports whether nobody expects to hear of a node's tasks any more.
func (p *pass) givenUp(id state.NodeID) bool {
	n := p.d.Node(id)
	if n == nil {
		return true
	}
	at, ok := p.lost[id]
	return ok && n.State == state.NodeDown && !p.now.Before(at)
}

// matters reports whether a change of a node can change what runs on it.
func matters(before, after *state.Node) bool {
	return before.State != after.State || before.Spec.Availability != after.Spec.Availability ||
		before.Manager != after.Manager || before.Addr != after.Addr ||
		before.Description.Resources.NanoCPUs != after.Description.Resources.NanoCPUs ||
		before.Description.Resources.MemoryBytes != after.Description.Resources.MemoryBytes ||
		before.Description.Hostname != after.Description.Hostname ||
		before.Description.Platform != after.Description.Platform ||
		!maps.Equal(before.Spec.Labels, after.Spec.Labels) ||
		!maps.Equal(before.Description.Engine.Labels, after.Description.Engine.Labels)
}

// A demand is what tasks made from a template demand of a node.
type demand struct {
	constraints      []state.Constraint
	nanoCPUs, memory int64 // reserved
}

// demandOf returns what a template demands of nodes. Constraints that cannot be
// parsed were refused at admission; should one be here nevertheless, it demands
// nothing.
func (p *pass) demandOf(ref templateRef) demand {
	if d, ok := p.demands[ref]; ok {
		return d
	}
	t := p.d.Template(ref.service, ref.version)
	if t == nil {
		return demand{}
	}
	d := demand{}
	if t.Spec.Placement != nil {
		d.constraints, _ = state.ParseConstraints(t.Spec.Placement.Constraints)
	}
	if r := t.Spec.Resources; r != nil && r.Reservations != nil {
		d.nanoCPUs, d.memory = r.Reservations.NanoCPUs, r.Reservations.MemoryBytes
	}
	p.demands[ref] = d
	return d
}

// weigh finds the tasks of a node that has shrunk for which it does not have what
// they reserve any more: the youngest, after the others have been given theirs.
func (p *pass) weigh(n *state.Node) {
	left := n.Description.Resources
	if left.NanoCPUs == 0 && left.MemoryBytes == 0 { // it has not said yet
		return
	}
	var held []*state.Task
	fits := true
	for t := range p.d.TasksOn(n.ID) {
		if alive(t) && assigned(t) && !ended(t) {
			delete(p.evicted, t.ID)
			d := p.demandOf(templateRef{t.Service, t.Template})
			left.NanoCPUs -= d.nanoCPUs
			left.MemoryBytes -= d.memory
			fits = fits && left.NanoCPUs >= 0 && left.MemoryBytes >= 0
			held = append(held, t)
		}
	}
	if fits {
		return
	}
	slices.SortFunc(held, older)
	left = n.Description.Resources
	for _, t := range held {
		d := p.demandOf(templateRef{t.Service, t.Template})
		if d.nanoCPUs > 0 && d.nanoCPUs > left.NanoCPUs || d.memory > 0 && d.memory > left.MemoryBytes {
			p.evicted[t.ID] = true
			continue
		}
		left.NanoCPUs -= d.nanoCPUs
		left.MemoryBytes -= d.memory
	}
}
