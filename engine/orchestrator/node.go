package orchestrator

import (
	"maps"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// orphanAfter is how long a node may be down before its tasks are given up.
const orphanAfter = 24 * time.Hour

// node looks at what a change of one node means for the tasks on it, and for the
// services that run on every node.
func (p *pass) node(id state.NodeID) {
	n := p.d.Node(id)
	if n != nil {
		p.watch(n, p.now, p.wall)
	}
	unreachable := n == nil || n.State == state.NodeDown
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
		before.Description.Hostname != after.Description.Hostname ||
		before.Description.Platform != after.Description.Platform ||
		!maps.Equal(before.Spec.Labels, after.Spec.Labels) ||
		!maps.Equal(before.Description.Engine.Labels, after.Description.Engine.Labels)
}

// constraintsOf returns what a template demands of nodes. What cannot be parsed
// was refused at admission; should it be here nevertheless, it demands nothing.
func (p *pass) constraintsOf(ref templateRef) []state.Constraint {
	if c, ok := p.constraints[ref]; ok {
		return c
	}
	t := p.d.Template(ref.service, ref.version)
	if t == nil {
		return nil
	}
	var c []state.Constraint
	if t.Spec.Placement != nil {
		c, _ = state.ParseConstraints(t.Spec.Placement.Constraints)
	}
	p.constraints[ref] = c
	return c
}
