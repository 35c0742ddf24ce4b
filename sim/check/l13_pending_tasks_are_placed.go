package check

import (
	"fmt"
	"slices"

	"github.com/swarmd/swarmd/engine/state"
)

// pendingPlaced asks at rest whether any node would take a task that has none.
type pendingPlaced struct{}

// Sentence implements [Oracle].
func (*pendingPlaced) Sentence() string { return "L13 a task waits only while no node can take it" }

// AtRest implements [Rester].
func (o *pendingPlaced) AtRest(c *Checker) {
	for t := range c.View().Tasks() {
		if !alive(t) || t.Status.State >= state.TaskAssigned {
			continue
		}
		for n := range c.View().Nodes() {
			if t.Node != "" && t.Node != n.ID {
				continue
			}
			if refused(c, t, n) == "" {
				c.Violate(o, "task %s waits at rest (%s), and %s could take it", t.ID, t.Status.Err, n.Description.Hostname)
			}
		}
	}
}

// refused says why a node cannot take a task, "" if it can.
func refused(c *Checker, t *state.Task, n *state.Node) string {
	made := c.template(t)
	switch {
	case made == nil:
		return "it has no template"
	case n.State != state.NodeReady || !isActive(n):
		return "it takes no new tasks"
	case !state.Eligible(n, constraints(made)) || !platformFits(n, made):
		return "it is not what the task demands"
	}
	want, ports := reservations(made), hostPorts(made)
	if len(want.GenericResources) > 0 {
		return "that is for S25 to add up"
	}
	cpus, memory, same := want.NanoCPUs, want.MemoryBytes, uint64(1)
	for x := range c.View().TasksOn(n.ID) {
		if !holding(x) {
			continue
		}
		held := reservations(c.template(x))
		cpus, memory = cpus+held.NanoCPUs, memory+held.MemoryBytes
		if x.Service == t.Service && alive(x) {
			same++
		}
		for _, p := range hostPorts(c.template(x)) {
			if slices.Contains(ports, p) {
				return fmt.Sprintf("port %v is in use", p)
			}
		}
	}
	has := n.Description.Resources
	switch p := made.Spec.Placement; {
	case want.NanoCPUs > 0 && cpus > has.NanoCPUs, want.MemoryBytes > 0 && memory > has.MemoryBytes:
		return "it has not enough left"
	case p != nil && p.MaxReplicas > 0 && same > p.MaxReplicas:
		return "it has as many as it may"
	}
	return ""
}
