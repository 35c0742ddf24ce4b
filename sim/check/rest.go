package check

import (
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// What excuses a service from being as its user asked at rest.

// restless reports whether the service's containers do not do what services are
// for: they cannot be made, or end by themselves. Such a service may never come to
// rest. A service that is gone is not restless.
func (c *Checker) restless(s *state.Service) bool {
	if s == nil {
		return false
	}
	if c.misbehaves(s, c.View().Template(s.ID, s.Template)) {
		return true
	}
	for t := range c.View().TasksOf(s.ID) {
		if alive(t) && t.Template != s.Template && c.misbehaves(s, c.template(t)) {
			return true
		}
	}
	return false
}

// anyRestless reports whether any service is.
func (c *Checker) anyRestless() bool {
	for s := range c.View().Services() {
		if c.restless(s) {
			return true
		}
	}
	return false
}

func (c *Checker) misbehaves(s *state.Service, t *state.Template) bool {
	if t == nil || t.Spec.ContainerSpec == nil {
		return false
	}
	image := c.World.Image(t.Spec.ContainerSpec.Image)
	switch {
	case image.Missing, image.CreateFail > 0, image.StartFail > 0, image.Flaps > 0, image.OOM:
		return true
	case image.Exits:
		return !isJob(s) || !succeeds(image)
	}
	return false
}

// succeeds reports whether the containers of an image end well.
func succeeds(image sim.Image) bool {
	for _, code := range image.Codes {
		if code != 0 {
			return false
		}
	}
	return true
}

// exhausted reports whether the service's restart policy may leave slots empty for
// good, or its job can never be done.
func (c *Checker) exhausted(s *state.Service) bool {
	t := c.View().Template(s.ID, s.Template)
	if t == nil || t.Spec.ContainerSpec == nil {
		return true
	}
	p := restartPolicyOf(t)
	return p.condition == "none" || p.attempts > 0 || isJob(s) && !c.World.Image(t.Spec.ContainerSpec.Image).Exits
}

// waits reports whether a task of the service waits for a node, or, at rest, for
// something that does not come.
func (c *Checker) waits(s *state.Service) bool {
	for t := range c.View().TasksOf(s.ID) {
		if alive(t) && t.Status.State < state.TaskAssigned {
			return true
		}
	}
	return false
}

// endedSlots counts the slots of a service that stay empty because their last task
// may not be followed by another.
func (c *Checker) endedSlots(s *state.Service) (n uint64) {
	for _, tasks := range c.View().Slots(s.ID) {
		var last *state.Task
		wanted := false
		for _, t := range tasks {
			wanted = wanted || alive(t)
			if t.Desired == state.TaskShutdown {
				last = t
			}
		}
		if wanted || last == nil {
			continue
		}
		p := restartPolicyOf(c.template(last))
		if p.condition == "none" || p.condition == "on-failure" && last.Status.State == state.TaskComplete || p.attempts > 0 && selfEnded(last) {
			n++
		}
	}
	return n
}
