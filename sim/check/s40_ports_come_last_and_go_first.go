package check

import (
	"net/netip"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// withdrawalMost is how long a container that is to stop is kept for the sake of
// those that a port still leads to it.
const withdrawalMost = 2 * time.Second

// portsOrder holds what engines have planned for the ports of their nodes against
// what they do to containers.
type portsOrder struct {
	withdrawn map[hostAddress]time.Duration // since when a plan without it was asked for
}

type hostAddress struct {
	host    *sim.Host
	address netip.Addr
}

// Sentence implements [Oracle].
func (*portsOrder) Sentence() string {
	return "S40 ports lead to a container when it is healthy, and elsewhere before it is stopped"
}

// Stepped implements [Stepper].
func (o *portsOrder) Stepped(c *Checker, h *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		switch f := f.(type) {
		case engine.ApplyNetwork:
			o.planned(c, h, f.Plan)
		case engine.StopContainer:
			o.stopped(c, h, h.Container(f.Task))
		default:
		}
	}
}

// planned looks at the backends of a plan, and at those that it leaves out.
func (o *portsOrder) planned(c *Checker, h *sim.Host, plan netplan.Plan) {
	named := map[netip.Addr]bool{}
	for _, p := range plan.Published {
		for _, b := range p.Backends {
			named[b.Address] = true
		}
	}
	mesh := map[state.TaskID]netip.Addr{}
	for _, e := range plan.Endpoints {
		mesh[e.Task] = e.Mesh
	}
	for x := range h.Live() {
		at := hostAddress{h, x.Address}
		led := named[x.Address] || mesh[x.Task].IsValid() && named[mesh[x.Task]]
		switch _, out := o.withdrawn[at]; {
		case !led && !out:
			o.withdrawn[at] = c.World.Now()
		case led:
			delete(o.withdrawn, at)
			o.healthy(c, h, x)
		}
	}
}

// healthy looks at a container that ports are to lead to. One that a daemon has
// found running it may take for healthy, as it was before.
func (o *portsOrder) healthy(c *Checker, h *sim.Host, x *sim.Container) {
	t := c.View().Task(x.Task)
	if t == nil || h.UpSince() > x.Started {
		return
	}
	made := c.template(t)
	if made == nil || made.Spec.ContainerSpec == nil {
		return
	}
	check := made.Spec.ContainerSpec.Healthcheck
	if check == nil || len(check.Test) == 0 || check.Test[0] == "NONE" {
		return
	}
	if age := c.World.Now() - x.Started; age < c.World.Image(x.Image).Healthy {
		c.Violate(o, "%s has ports lead to task %s after %v, when it is not healthy", h.Name, x.Task, age)
	}
}

// stopped looks at a container that is to be stopped.
func (o *portsOrder) stopped(c *Checker, h *sim.Host, x *sim.Container) {
	if x == nil || !x.Running || !whereLed(h, x).IsValid() || c.World.Now()-h.UpSince() < 2*withdrawalMost {
		return // one that has just come up does not know of the plans before
	}
	if at, out := o.withdrawn[hostAddress{h, x.Address}]; !out || c.World.Now()-at < withdrawalMost*8/10 {
		c.Violate(o, "%s stops task %s, which its ports lead to", h.Name, x.Task)
	}
}

// Ran implements [Runner].
func (*portsOrder) Ran(*Checker, *sim.Container) {}

// Ended implements [Runner].
func (o *portsOrder) Ended(_ *Checker, x *sim.Container) {
	delete(o.withdrawn, hostAddress{x.Host, x.Address})
}
