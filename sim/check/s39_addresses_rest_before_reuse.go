package check

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// addressesRest looks at every container that an agent orders.
type addressesRest struct{}

// Sentence implements [Oracle].
func (*addressesRest) Sentence() string {
	return "S39 an address is given again only once the container that had it is dead"
}

// Stepped implements [Stepper].
func (o *addressesRest) Stepped(c *Checker, h *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		if create, ok := f.(engine.CreateContainer); ok {
			o.judge(c, h, create.Container.Task, create.Container.Address)
		}
	}
}

func (o *addressesRest) judge(c *Checker, h *sim.Host, task state.TaskID, address netip.Addr) {
	for other := range h.Live() {
		if other.Task != task && other.Address == address {
			c.Violate(o, "%s gives %s to task %s; the container of task %s has it and runs", h.Name, address, task, other.Task)
		}
	}
}
