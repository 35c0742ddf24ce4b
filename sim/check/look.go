package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// What the oracles ask of tasks and services. It is written anew, not taken from
// the orchestrator, whose understanding is what is being checked.

// A slotRef names a slot of a service.
type slotRef struct {
	service state.ServiceID
	key     state.SlotKey
}

func slotOf(t *state.Task) slotRef { return slotRef{t.Service, t.SlotKey()} }

// alive reports whether the swarm wants the task.
func alive(t *state.Task) bool { return t.Desired < state.TaskShutdown }

// selfEnded reports whether the task came to its end without being told to.
func selfEnded(t *state.Task) bool {
	switch t.Status.State {
	case state.TaskComplete, state.TaskFailed, state.TaskRejected:
		return true
	default:
		return false
	}
}

// holding reports whether the task is its node's business and has not ended.
func holding(t *state.Task) bool {
	return t.Status.State >= state.TaskAssigned && !t.Status.State.Terminal()
}

// placed reports whether the entry has given the task its place.
func placed(d state.Diff[state.Task]) bool {
	return d.After != nil && d.After.Status.State == state.TaskAssigned &&
		(d.Before == nil || d.Before.Status.State < state.TaskAssigned)
}

// told reports whether the entry is the one that has the task stop.
func told(d state.Diff[state.Task]) bool {
	return d.After != nil && !alive(d.After) && (d.Before == nil || alive(d.Before))
}

func rollingBack(u *state.Update) bool {
	return u != nil && (u.State == swarm.UpdateStateRollbackStarted ||
		u.State == swarm.UpdateStateRollbackPaused || u.State == swarm.UpdateStateRollbackCompleted)
}

func underWay(u *state.Update) bool {
	return u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted)
}

func paused(u *state.Update) bool {
	return u != nil && (u.State == swarm.UpdateStatePaused || u.State == swarm.UpdateStateRollbackPaused)
}

// updateConfig is what holds for the service's present update.
func updateConfig(s *state.Service) swarm.UpdateConfig {
	config := s.Spec.UpdateConfig
	if rollingBack(s.Update) {
		config = s.Spec.RollbackConfig
	}
	if config == nil {
		return swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause, Monitor: 5 * time.Second}
	}
	c := *config
	if c.Monitor <= 0 {
		c.Monitor = 5 * time.Second
	}
	if c.Delay >= c.Monitor {
		c.Monitor = c.Delay + time.Second
	}
	return c
}

// startsFirst reports whether either of the service's configurations starts the
// new task before the old one stops.
func startsFirst(s *state.Service) bool {
	return updateConfig(s).Order == swarm.UpdateOrderStartFirst
}

func isJob(s *state.Service) bool {
	return s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil
}

func isGlobal(s *state.Service) bool {
	return s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil
}

// A restartPolicy is a service's with Docker's defaults.
type restartPolicy struct {
	condition swarm.RestartPolicyCondition
	delay     time.Duration
	attempts  uint64
	window    time.Duration
}

func restartPolicyOf(t *state.Template) restartPolicy {
	p := restartPolicy{condition: swarm.RestartPolicyConditionAny, delay: 5 * time.Second}
	if t == nil || t.Spec.RestartPolicy == nil {
		return p
	}
	r := t.Spec.RestartPolicy
	p.condition = cmp.Or(r.Condition, p.condition)
	if r.Delay != nil {
		p.delay = *r.Delay
	}
	if r.MaxAttempts != nil {
		p.attempts = *r.MaxAttempts
	}
	if r.Window != nil {
		p.window = *r.Window
	}
	return p
}

func isActive(n *state.Node) bool {
	return n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == ""
}

func isDrained(n *state.Node) bool { return n.Spec.Availability == swarm.NodeAvailabilityDrain }

// constraints are what a template demands of nodes.
func constraints(t *state.Template) []state.Constraint {
	if t == nil || t.Spec.Placement == nil {
		return nil
	}
	c, _ := state.ParseConstraints(t.Spec.Placement.Constraints)
	return c
}

// reservations are what a task of the template takes of its node.
func reservations(t *state.Template) swarm.Resources {
	if t == nil || t.Spec.Resources == nil || t.Spec.Resources.Reservations == nil {
		return swarm.Resources{}
	}
	return *t.Spec.Resources.Reservations
}

// A hostPort is a port of a host of its own.
type hostPort struct {
	protocol string
	port     uint32
}

func hostPorts(t *state.Template) []hostPort {
	if t == nil {
		return nil
	}
	var ports []hostPort
	for _, p := range t.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			ports = append(ports, hostPort{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort})
		}
	}
	return ports
}

// platformFits reports whether a node can run what the template is made for.
func platformFits(n *state.Node, t *state.Template) bool {
	if t == nil || t.Spec.Placement == nil || len(t.Spec.Placement.Platforms) == 0 {
		return true
	}
	same := func(a, b string) bool {
		alias := func(s string) string {
			switch s {
			case "x86_64":
				return "amd64"
			case "aarch64":
				return "arm64"
			}
			return s
		}
		return a == "" || b == "" || alias(a) == alias(b)
	}
	p := n.Description.Platform
	return slices.ContainsFunc(t.Spec.Placement.Platforms, func(o swarm.Platform) bool {
		return same(o.OS, p.OS) && same(o.Architecture, p.Architecture)
	})
}

// template is what the task is made from, nil if that is gone.
func (c *Checker) template(t *state.Task) *state.Template {
	return c.View().Template(t.Service, t.Template)
}

// host is the host that a node of the swarm is, nil if it is none.
func (c *Checker) host(id state.NodeID) *sim.Host {
	if id == "" {
		return nil
	}
	return c.World.Host(string(id))
}
