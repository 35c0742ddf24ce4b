package check

import (
	"fmt"
	"net/netip"
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
		if !alive(t) || t.Status.State >= state.TaskAssigned || len(t.Addresses) == 0 && c.fullFor(t) {
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

// fullFor reports whether a network that a task is to be on has no address left, or is
// gone.
func (c *Checker) fullFor(t *state.Task) bool {
	made := c.template(t)
	if made == nil {
		return false
	}
	for _, at := range made.Spec.Networks {
		n := c.View().Network(state.NetworkID(at.Target))
		if n == nil || slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return c.freeIn(n, s) <= 0 }) {
			return true
		}
	}
	return false
}

// freeIn counts the addresses of a subnet that nobody has; of a large one it says that
// there are some.
func (c *Checker) freeIn(n *state.Network, subnet netip.Prefix) int {
	within := subnet.Masked()
	if o := n.Spec.IPAMOptions; o != nil {
		for _, pool := range o.Configs {
			if pool.Subnet == within && pool.Range.IsValid() {
				within = pool.Range.Masked()
			}
		}
	}
	const countedMost = 16
	if bits := within.Addr().BitLen() - within.Bits(); bits > countedMost {
		return 1
	}
	free := 0
	for at := within.Addr(); within.Contains(at); at = at.Next() {
		if at != subnet.Addr() && at != subnet.Masked().Addr() && (at.Is6() || subnet.Contains(at.Next())) {
			free++
		}
	}
	held := func(list []netip.Addr) {
		for _, at := range list {
			if within.Contains(at) {
				free--
			}
		}
	}
	for t := range c.View().Tasks() {
		held(taskAddresses(t))
	}
	for s := range c.View().Services() {
		held(serviceAddresses(s))
	}
	for o := range c.View().Nodes() {
		held(nodeAddresses(o))
	}
	return free
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
