package check

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// addressesUnique looks at the containers of a host when one begins to run.
type addressesUnique struct{}

// Sentence implements [Oracle].
func (*addressesUnique) Sentence() string {
	return "S37 no two containers that run on a node have the same address"
}

// Ran implements [Runner].
func (o *addressesUnique) Ran(c *Checker, x *sim.Container) {
	if !x.Address.IsValid() {
		c.Violate(o, "task %s runs on %s without an address", x.Task, x.Host.Name)
		return
	}
	for other := range x.Host.Live() {
		if other != x && other.Address == x.Address {
			c.Violate(o, "tasks %s and %s on %s both have %s", x.Task, other.Task, x.Host.Name, x.Address)
		}
	}
}

// Ended implements [Runner].
func (*addressesUnique) Ended(*Checker, *sim.Container) {}

// AtRest implements [Rester]: on all hosts no two places in the network share an
// address of the swarm.
func (o *addressesUnique) AtRest(c *Checker) {
	held := map[netip.Addr]state.TaskID{}
	for _, h := range c.World.Hosts {
		if !c.core(h) {
			continue
		}
		for _, e := range h.Plan().Endpoints {
			for _, at := range swarmWide(e) {
				if other, twice := held[at]; twice && other != e.Task {
					c.Violate(o, "tasks %s and %s both have %s, the second on %s", other, e.Task, at, h.Name)
				}
				held[at] = e.Task
			}
		}
	}
}
