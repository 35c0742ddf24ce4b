package check

import "github.com/swarmd/swarmd/engine/state"

// assignedHaveNode looks at the nodes of tasks. A global service's tasks are made
// for their node.
type assignedHaveNode struct{}

// Sentence implements [Oracle].
func (*assignedHaveNode) Sentence() string { return "S21 a task has a node exactly if it is assigned" }

// Committed implements [Committer].
func (o *assignedHaveNode) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.After
		if t == nil {
			continue
		}
		assigned := t.Status.State >= state.TaskAssigned
		switch {
		case t.Global && t.Node == "":
			c.Violate(o, "entry %d makes task %s of a global service without a node", index, t.ID)
		case !t.Status.State.Terminal() && assigned && t.Node == "":
			c.Violate(o, "entry %d has task %s %s without a node", index, t.ID, t.Status.State)
		case !t.Global && !assigned && t.Node != "":
			c.Violate(o, "entry %d has task %s %s on node %s", index, t.ID, t.Status.State, t.Node)
		}
	}
}
