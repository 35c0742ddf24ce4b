package check

import (
	"slices"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// desiredActual holds what the core runs against what the services ask for.
type desiredActual struct{}

// Sentence implements [Oracle].
func (*desiredActual) Sentence() string {
	return "L4 what is asked for comes to run, and nothing else does, and it stays so"
}

// AtRest implements [Rester].
func (o *desiredActual) AtRest(c *Checker) {
	for s := range c.View().Services() {
		if c.restless(s) {
			continue
		}
		if s.Spec.Mode.Replicated != nil {
			o.replicas(c, s)
		}
		for key, tasks := range c.View().Slots(s.ID) {
			o.slot(c, s, key, tasks)
		}
	}
	for _, h := range c.World.Hosts {
		if c.core(h) {
			o.host(c, h)
		}
	}
}

// replicas looks at how many slots a replicated service has.
func (o *desiredActual) replicas(c *Checker, s *state.Service) {
	want, have := uint64(1), uint64(0)
	if n := s.Spec.Mode.Replicated.Replicas; n != nil {
		want = *n
	}
	for _, tasks := range c.View().Slots(s.ID) {
		if slices.ContainsFunc(tasks, alive) {
			have++
		}
	}
	ended := c.endedSlots(s)
	if have > want || have+ended < want {
		c.Violate(o, "%s has %d wanted tasks at rest and %d slots that stay empty; it has %d replicas", s.Spec.Name, have, ended, want)
	}
}

// slot looks at the tasks of one slot.
func (o *desiredActual) slot(c *Checker, s *state.Service, key state.SlotKey, tasks []*state.Task) {
	for _, t := range tasks {
		h := c.host(t.Node)
		switch {
		case !alive(t):
			if n := c.View().Node(t.Node); holding(t) && n != nil && n.State == state.NodeReady {
				c.Violate(o, "task %s of slot %v of %s is %s at rest, and to be %s", t.ID, key, s.Spec.Name, t.Status.State, t.Desired)
			}
		case t.Status.State < state.TaskAssigned: // L13
		case t.Job && t.Status.State == state.TaskComplete:
		case t.Status.State != state.TaskRunning:
			c.Violate(o, "task %s of slot %v of %s is %s at rest, and to be %s", t.ID, key, s.Spec.Name, t.Status.State, t.Desired)
		case h == nil || !c.core(h):
			if n := c.View().Node(t.Node); n == nil || n.State == state.NodeDown {
				c.Violate(o, "task %s of slot %v of %s is on node %s, which is down", t.ID, key, s.Spec.Name, t.Node)
			}
		default:
			if x := h.Container(t.ID); x == nil || !x.Running {
				c.Violate(o, "task %s of slot %v of %s is said to run at rest; %s does not run it", t.ID, key, s.Spec.Name, h.Name)
			}
		}
	}
}

// host looks at what a host runs: nothing but what is wanted.
func (o *desiredActual) host(c *Checker, h *sim.Host) {
	for x := range h.Live() {
		t := c.View().Task(x.Task)
		switch {
		case t == nil:
			c.Violate(o, "%s runs task %s at rest, of which the swarm does not know", h.Name, x.Task)
		case !alive(t) && !c.restless(c.View().Service(t.Service)):
			c.Violate(o, "%s runs task %s at rest, which is %s and to be %s", h.Name, x.Task, t.Status.State, t.Desired)
		}
	}
}
