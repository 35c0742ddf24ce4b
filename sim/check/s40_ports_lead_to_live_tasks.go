package check

import (
	"net/netip"
	"slices"
	"time"

	"github.com/swarmd/swarmd/sim"
)

// staleBackendMost is how long a published port may lead to a container that has
// ended: the event, a step, a plan, and its being carried out; and a survey where
// the event was lost.
const staleBackendMost = 20 * time.Second

// portsLead looks, some time after a container has ended, at whether a port of its
// node leads to it still.
type portsLead struct{ due []deadEnd }

type deadEnd struct {
	at time.Duration
	x  *sim.Container
	to netip.Addr // where the port led
}

// Sentence implements [Oracle].
func (*portsLead) Sentence() string { return "S40 published ports lead to tasks that run" }

// Ran implements [Runner]: an address that is given anew is no dead end.
func (o *portsLead) Ran(_ *Checker, x *sim.Container) {
	o.due = slices.DeleteFunc(o.due, func(d deadEnd) bool { return d.x.Host == x.Host && d.to == x.Address || d.to == x.Place().Mesh })
}

// Ended implements [Runner].
func (o *portsLead) Ended(c *Checker, x *sim.Container) {
	if at := whereLed(x.Host, x); at.IsValid() {
		o.due = append(o.due, deadEnd{c.World.Now() + staleBackendMost, x, at})
	}
}

// Sampled implements [Sampler].
func (o *portsLead) Sampled(c *Checker) {
	now := c.World.Now()
	for len(o.due) > 0 && o.due[0].at <= now {
		d := o.due[0]
		o.due = o.due[1:]
		h := d.x.Host
		switch {
		case !backend(h, d.to), taken(c, h, d.to):
		case !h.Up() || h.UpSince() > d.at-staleBackendMost: // it has not had the time
			o.due = append(o.due, deadEnd{now + staleBackendMost, d.x, d.to})
		default:
			c.Violate(o, "a port of %s leads to %s, whose container, of task %s, ended %v ago", h.Name, d.to, d.x.Task, now-d.x.Ended)
		}
	}
}

// AtRest implements [Rester]: every backend is a container that runs.
func (o *portsLead) AtRest(c *Checker) {
	meshed := map[netip.Addr]bool{}
	for _, h := range c.World.Hosts {
		for x := range h.Live() {
			meshed[x.Place().Mesh] = true
		}
	}
	for _, h := range c.World.Hosts {
		if !c.core(h) {
			continue
		}
		for _, p := range h.Plan().Published {
			for _, b := range p.Backends {
				if !meshed[b.Address] && !taken(c, h, b.Address) && !justEnded(c, h, b.Address) {
					c.Violate(o, "port %d of %s leads to %s, where nothing runs", p.Port, h.Name, b.Address)
				}
			}
		}
	}
}

// backend reports whether a port of the host leads to an address.
func backend(h *sim.Host, to netip.Addr) bool {
	for _, p := range h.Plan().Published {
		for _, b := range p.Backends {
			if b.Address == to {
				return true
			}
		}
	}
	return false
}

// whereLed is the address under which a port of the host leads to a container, the
// zero Addr if none does.
func whereLed(h *sim.Host, x *sim.Container) netip.Addr {
	for _, at := range []netip.Addr{x.Place().Mesh, x.Address} {
		if at.IsValid() && backend(h, at) {
			return at
		}
	}
	return netip.Addr{}
}

// justEnded reports whether a container that had the address ended a moment ago, as
// those of some services do again and again.
func justEnded(c *Checker, h *sim.Host, address netip.Addr) bool {
	for _, other := range c.World.Hosts {
		for _, x := range other.Containers() {
			t := c.View().Task(x.Task)
			led := t != nil && t.Mesh == address || other == h && x.Address == address
			if led && !x.Running && x.Ended > 0 && c.World.Now()-x.Ended < staleBackendMost {
				return true
			}
		}
	}
	return false
}

// taken reports whether a container that runs has the address: on the host's bridge,
// or anywhere in the mesh.
func taken(c *Checker, h *sim.Host, address netip.Addr) bool {
	for _, other := range c.World.Hosts {
		for x := range other.Live() {
			if x.Place().Mesh == address || other == h && x.Address == address {
				return true
			}
		}
	}
	return false
}
