package check

import (
	"net/netip"
	"slices"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// quarantine keeps which containers run with which addresses of the swarm's networks.
type quarantine struct {
	living map[netip.Addr]*sim.Container
	had    map[*sim.Container][]netip.Addr
}

// Sentence implements [Oracle].
func (*quarantine) Sentence() string {
	return "S39 an address of a network is given again only once the container that had it is dead, or cut off for good"
}

// Ran implements [Runner].
func (o *quarantine) Ran(_ *Checker, x *sim.Container) {
	o.had[x] = swarmWide(x.Place())
	for _, at := range o.had[x] {
		o.living[at] = x
	}
}

// Ended implements [Runner].
func (o *quarantine) Ended(_ *Checker, x *sim.Container) {
	for _, at := range o.had[x] {
		if o.living[at] == x {
			delete(o.living, at)
		}
	}
	delete(o.had, x)
}

// Committed implements [Committer].
func (o *quarantine) Committed(c *Checker, _ uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if d.After == nil || d.Before != nil && slices.Equal(taskAddresses(d.Before), taskAddresses(d.After)) {
			continue
		}
		for _, at := range taskAddresses(d.After) {
			if x := o.living[at]; x != nil && x.Task != d.After.ID && !c.cutOff(x) {
				c.Violate(o, "task %s is given %s; the container of task %s on %s has it and runs", d.After.ID, at, x.Task, x.Host.Name)
			}
		}
	}
}

// cutOff reports whether nobody takes packets of a container any more: its node was
// removed. Of a task that was given up for lost the swarm knows no better.
func (c *Checker) cutOff(x *sim.Container) bool {
	t := c.View().Task(x.Task)
	return c.View().Node(x.Host.ID) == nil || t != nil && t.Status.State == state.TaskOrphaned
}

// swarmWide are the addresses of an endpoint that other nodes know it by.
func swarmWide(e netplan.Endpoint) []netip.Addr {
	var list []netip.Addr
	if e.Mesh.IsValid() {
		list = append(list, e.Mesh)
	}
	for _, at := range e.Attachments {
		list = append(list, at.Addresses...)
	}
	return list
}
