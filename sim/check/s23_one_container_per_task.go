package check

import (
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// oneContainer remembers where every task has run.
type oneContainer struct{ ran map[state.TaskID]*sim.Host }

// Sentence implements [Oracle].
func (*oneContainer) Sentence() string {
	return "S23 a task runs once, on its node, and not when it is said to have ended"
}

// Ran implements [Runner].
func (o *oneContainer) Ran(c *Checker, x *sim.Container) {
	if where := o.ran[x.Task]; where != nil {
		c.Violate(o, "task %s runs on %s, and has run on %s", x.Task, x.Host.Name, where.Name)
	}
	o.ran[x.Task] = x.Host
	t := c.View().Task(x.Task)
	switch {
	case t == nil: // it was removed while the order was under way
	case t.Node != x.Host.ID:
		c.Violate(o, "task %s runs on %s, and is node %s's", x.Task, x.Host.Name, t.Node)
	case t.Status.State.Terminal() && t.Status.State != state.TaskOrphaned:
		c.Violate(o, "task %s, which is %s, begins to run on %s", x.Task, t.Status.State, x.Host.Name)
	}
}

// Ended implements [Runner].
func (*oneContainer) Ended(*Checker, *sim.Container) {}

// Committed implements [Committer]: who is told that a task has ended can rely on
// it, but for those that were given up unseen.
func (o *oneContainer) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.After
		if t == nil || !t.Status.State.Terminal() || t.Status.State == state.TaskOrphaned || d.Before != nil && d.Before.Status.State.Terminal() {
			continue
		}
		if h := c.host(t.Node); h != nil {
			if x := h.Container(t.ID); x != nil && x.Running {
				c.Violate(o, "entry %d says that task %s is %s (%s %s), and it runs on %s", index, t.ID, t.Status.State, t.Status.Message, t.Status.Err, h.Name)
			}
		}
	}
}
