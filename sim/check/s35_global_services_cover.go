package check

import (
	"github.com/swarmd/swarmd/engine/state"
)

// globalCovers looks at rest at every node. That no slot has two tasks is S22, for
// the slot of a global service is its node.
type globalCovers struct{}

// Sentence implements [Oracle].
func (*globalCovers) Sentence() string {
	return "S35 a global service has one task on every node that may have one, and no other"
}

// Committed implements [Committer].
func (o *globalCovers) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.After
		if t == nil || d.Before != nil || !t.Global {
			continue
		}
		s, n := c.View().Service(t.Service), c.View().Node(t.Node)
		if s != nil && (n == nil || !state.Eligible(n, constraints(c.View().Template(s.ID, s.Template)))) {
			c.Violate(o, "entry %d makes task %s of %s for node %s, which may not have one", index, t.ID, s.Spec.Name, t.Node)
		}
	}
}

// AtRest implements [Rester].
func (o *globalCovers) AtRest(c *Checker) {
	for s := range c.View().Services() {
		if !isGlobal(s) || c.restless(s) || c.waits(s) || paused(s.Update) {
			continue
		}
		made := c.View().Template(s.ID, s.Template)
		for n := range c.View().Nodes() {
			o.node(c, s, n, made)
		}
	}
}

func (o *globalCovers) node(c *Checker, s *state.Service, n *state.Node, made *state.Template) {
	h := c.host(n.ID)
	if h == nil || !c.core(h) {
		return
	}
	var live, ended int
	for _, t := range c.View().Slot(s.ID, state.SlotKey{Node: n.ID}) {
		switch {
		case t.Job && t.Status.State == state.TaskComplete:
			ended++ // it stays where it was done
		case alive(t):
			live++
		case selfEnded(t):
			ended++
		}
	}
	may := n.State == state.NodeReady && state.Eligible(n, constraints(made)) && platformFits(n, made)
	switch {
	case live > 1:
		c.Violate(o, "%s has %d tasks on %s at rest", s.Spec.Name, live, h.Name)
	case live > 0 && (!may && n.State == state.NodeReady || isDrained(n)):
		c.Violate(o, "%s has a task on %s at rest, which may not have one", s.Spec.Name, h.Name)
	case live == 0 && may && isActive(n) && ended == 0:
		c.Violate(o, "%s has no task on %s at rest", s.Spec.Name, h.Name)
	}
}
