package check

import "github.com/swarmd/swarmd/engine/state"

// onlyOpen looks at the node of every task when it is placed.
type onlyOpen struct{}

// Sentence implements [Oracle].
func (*onlyOpen) Sentence() string { return "S27 nodes that are drained, paused or down get no tasks" }

// Committed implements [Committer].
func (o *onlyOpen) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if !placed(d) {
			continue
		}
		switch n := c.View().Node(d.After.Node); {
		case n == nil:
			c.Violate(o, "entry %d places task %s on node %s, which there is not", index, d.After.ID, d.After.Node)
		case n.State != state.NodeReady || !isActive(n):
			c.Violate(o, "entry %d places task %s on %s, which is %s and in state %d", index, d.After.ID, n.Description.Hostname, n.Spec.Availability, n.State)
		}
	}
}
