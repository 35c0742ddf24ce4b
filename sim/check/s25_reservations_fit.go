package check

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// reservationsFit adds up a node whenever it is given a task that reserves.
type reservationsFit struct{}

// Sentence implements [Oracle].
func (*reservationsFit) Sentence() string {
	return "S25 what the tasks of a node reserve is no more than it has, and nothing is reserved twice"
}

// Committed implements [Committer].
func (o *reservationsFit) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if !placed(d) {
			continue
		}
		r := reservations(c.template(d.After))
		if r.NanoCPUs > 0 || r.MemoryBytes > 0 || len(r.GenericResources) > 0 {
			o.judge(c, index, d.After, r)
		}
	}
}

func (o *reservationsFit) judge(c *Checker, index uint64, placed *state.Task, r swarm.Resources) {
	n := c.View().Node(placed.Node)
	if n == nil {
		return // S27
	}
	var cpus, memory int64
	discrete := map[string]int64{}
	named := map[[2]string]state.TaskID{}
	for t := range c.View().TasksOn(n.ID) {
		if !holding(t) {
			continue
		}
		held := reservations(c.template(t))
		cpus += held.NanoCPUs
		memory += held.MemoryBytes
		for _, g := range t.Generic {
			switch {
			case g.DiscreteResourceSpec != nil:
				discrete[g.DiscreteResourceSpec.Kind] += g.DiscreteResourceSpec.Value
			case g.NamedResourceSpec != nil:
				key := [2]string{g.NamedResourceSpec.Kind, g.NamedResourceSpec.Value}
				if other := named[key]; other != "" {
					c.Violate(o, "entry %d: tasks %s and %s both have %v of node %s", index, other, t.ID, key, n.Description.Hostname)
				}
				named[key] = t.ID
			}
		}
	}
	has := n.Description.Resources
	if r.NanoCPUs > 0 && cpus > has.NanoCPUs || r.MemoryBytes > 0 && memory > has.MemoryBytes {
		c.Violate(o, "entry %d places task %s on %s, where %d nanoCPUs of %d and %d bytes of %d are then reserved",
			index, placed.ID, n.Description.Hostname, cpus, has.NanoCPUs, memory, has.MemoryBytes)
	}
	for _, g := range placed.Generic {
		if g.DiscreteResourceSpec == nil {
			continue
		}
		kind, there := g.DiscreteResourceSpec.Kind, int64(0)
		for _, own := range has.GenericResources {
			if own.DiscreteResourceSpec != nil && own.DiscreteResourceSpec.Kind == kind {
				there += own.DiscreteResourceSpec.Value
			}
		}
		if discrete[kind] > there {
			c.Violate(o, "entry %d: %d %s of node %s are reserved, it has %d", index, discrete[kind], kind, n.Description.Hostname, there)
		}
	}
}
