package check

import (
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// nothingLeaks looks at the hosts of the core at rest.
type nothingLeaks struct{}

// Sentence implements [Oracle].
func (*nothingLeaks) Sentence() string {
	return "L9 no container and no place in a network is left of a task that is forgotten"
}

// AtRest implements [Rester].
func (o *nothingLeaks) AtRest(c *Checker) {
	for _, h := range c.World.Hosts {
		if c.core(h) {
			o.host(c, h)
		}
	}
}

func (o *nothingLeaks) host(c *Checker, h *sim.Host) {
	for _, x := range h.Containers() {
		if c.View().Task(x.Task) == nil && !c.leaving(h, x.Service) {
			c.Violate(o, "%s has a container of task %s at rest, of which the swarm does not know", h.Name, x.Task)
		}
	}
	for _, e := range h.Plan().Endpoints {
		t := c.View().Task(e.Task)
		switch {
		case t == nil && c.anyRestless() && h.Busy(): // it may be on its way
		case t == nil:
			c.Violate(o, "%s has an endpoint for task %s at rest, of which the swarm does not know", h.Name, e.Task)
		case t.Status.State.Terminal() && !c.restless(c.View().Service(t.Service)):
			c.Violate(o, "%s has an endpoint for task %s at rest, which is %s", h.Name, e.Task, t.Status.State)
		}
	}
}

// leaving reports whether a container of a service may just be on its way out: the
// service never comes to rest, and the host's runtime is at work.
func (c *Checker) leaving(h *sim.Host, service state.ServiceID) bool {
	return h.Busy() && c.restless(c.View().Service(service))
}
