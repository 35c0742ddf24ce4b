package check

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// letGoMost is how long a task that is to stop is kept for the sake of nodes from
// which something still leads to it.
const letGoMost = 4 * time.Second

// lettingGo holds what agents stop against what leads to it from other nodes.
type lettingGo struct {
	told  map[state.TaskID]time.Duration
	ready map[state.NodeID]time.Duration // since when nodes are
}

// Sentence implements [Oracle].
func (*lettingGo) Sentence() string {
	return "S40 a container is stopped once no port, name or address of a service leads to it from any node, or some seconds later"
}

// Committed implements [Committer].
func (o *lettingGo) Committed(c *Checker, _ uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		switch {
		case d.After == nil && d.Before != nil:
			delete(o.told, d.Before.ID)
		case told(d) && d.After.Status.State == state.TaskRunning:
			if n := c.View().Node(d.After.Node); n != nil && n.State != state.NodeDown {
				o.told[d.After.ID] = c.World.Now()
			}
		default:
		}
	}
	for _, d := range delta.Nodes {
		if d.After != nil && d.After.State == state.NodeReady && (d.Before == nil || d.Before.State != state.NodeReady) {
			o.ready[d.After.ID] = c.World.Now()
		}
	}
	for _, d := range delta.Nodes { // of a node that is lost nobody waits for anything
		if d.After == nil || d.After.State == state.NodeDown {
			for t := range c.View().TasksOn(first(d).ID) {
				delete(o.told, t.ID)
			}
		}
	}
}

// Stepped implements [Stepper].
func (o *lettingGo) Stepped(c *Checker, h *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		stop, ok := f.(engine.StopContainer)
		if !ok {
			continue
		}
		at, ordered := o.told[stop.Task]
		x := h.Container(stop.Task)
		if !ordered || x == nil || !x.Running || c.World.Now()-at >= letGoMost {
			continue
		}
		for _, other := range c.World.Hosts {
			n := c.View().Node(other.ID)
			if other != h && other.Up() && n != nil && n.State == state.NodeReady && o.ready[n.ID] <= at && leads(other.Plan(), x.Place()) {
				c.Violate(o, "%s stops task %s %v after it was told to, and from %s something leads to it", h.Name, x.Task, c.World.Now()-at, other.Name)
			}
		}
	}
}

// leads reports whether a port, or an address of a service, leads to an endpoint.
func leads(p netplan.Plan, e netplan.Endpoint) bool {
	for _, at := range swarmWide(e) {
		for _, port := range p.Published {
			for _, b := range port.Backends {
				if b.Address == at {
					return true
				}
			}
		}
		for _, n := range p.Networks {
			for _, b := range n.Balanced {
				if slices.Contains(b.Backends, at) {
					return true
				}
			}
		}
	}
	return false
}
