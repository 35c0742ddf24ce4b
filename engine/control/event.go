package control

import (
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// Actions of events.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionRemove = "remove"
)

// Events tells of what a commit changed, in Docker's terms: services and nodes
// that were created, updated or removed, with what differs that Docker names, and networks.
// Index is of the commit, wall when it was decided. Docker tells nothing of the
// cluster and of tasks.
func Events(delta *state.Delta, index uint64, wall state.Wall) []Event {
	var events []Event
	tell := func(kind, id, action string, attributes map[string]string) {
		events = append(events, Event{Index: index, At: wall, Type: kind, Action: action, ID: id, Attributes: attributes})
	}
	for _, n := range delta.Nodes {
		switch before, after := n.Before, n.After; {
		case before == nil && after == nil: // came and went in one commit
		case before == nil:
			tell("node", string(after.ID), actionCreate, named(after.Description.Hostname))
		case after == nil:
			tell("node", string(before.ID), actionRemove, named(before.Description.Hostname))
		default:
			tell("node", string(after.ID), actionUpdate, nodeDifferences(before, after))
		}
	}
	for _, s := range delta.Services {
		switch before, after := s.Before, s.After; {
		case before == nil && after == nil:
		case before == nil:
			tell("service", string(after.ID), actionCreate, named(after.Spec.Name))
		case after == nil:
			tell("service", string(before.ID), actionRemove, named(before.Spec.Name))
		default:
			tell("service", string(after.ID), actionUpdate, serviceDifferences(before, after))
		}
	}
	for _, n := range delta.Networks {
		before, after := n.Before, n.After
		switch there := after != nil && !after.Removed; {
		case before == nil && there:
			tell("network", string(after.ID), actionCreate, named(after.Spec.Name))
		case before != nil && !before.Removed && !there:
			tell("network", string(before.ID), actionRemove, named(before.Spec.Name))
		}
	}
	return events
}

func named(name string) map[string]string { return map[string]string{"name": name} }

// differ sets what.old and what.new where they are not the same; what is "" is
// left out.
func differ(attributes map[string]string, what, before, after string) {
	if before == after {
		return
	}
	if before != "" {
		attributes[what+".old"] = before
	}
	if after != "" {
		attributes[what+".new"] = after
	}
}

func nodeDifferences(before, after *state.Node) map[string]string {
	a := named(after.Description.Hostname)
	differ(a, "availability", string(before.Spec.Availability), string(after.Spec.Availability))
	differ(a, "role", string(before.Spec.Role), string(after.Spec.Role))
	differ(a, "state", stateName(before.State), stateName(after.State))
	return a
}

func stateName(s state.NodeState) string {
	switch s {
	case state.NodeDown:
		return string(swarm.NodeStateDown)
	case state.NodeReady:
		return string(swarm.NodeStateReady)
	case state.NodeDisconnected:
		return string(swarm.NodeStateDisconnected)
	default:
		return string(swarm.NodeStateUnknown)
	}
}

func serviceDifferences(before, after *state.Service) map[string]string {
	a := named(after.Spec.Name)
	differ(a, "image", image(&before.Spec), image(&after.Spec))
	if b, n := before.Spec.Mode.Replicated, after.Spec.Mode.Replicated; b != nil && n != nil {
		differ(a, "replicas", strconv.FormatUint(*b.Replicas, 10), strconv.FormatUint(*n.Replicas, 10))
	}
	if after.Update != nil { // an update that is forgotten is no news
		old := swarm.UpdateState("")
		if before.Update != nil {
			old = before.Update.State
		}
		differ(a, "updatestate", string(old), string(after.Update.State))
	}
	return a
}

func image(s *swarm.ServiceSpec) string {
	if c := s.TaskTemplate.ContainerSpec; c != nil {
		return c.Image
	}
	return ""
}
