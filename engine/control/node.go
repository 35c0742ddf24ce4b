package control

import (
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// updateNode replaces a node's spec.
func (a *admission) updateNode(call NodeUpdate) Answer {
	spec := call.Spec
	if failed := first(
		func() *Failed { return sized("node spec", spec, nodeSpecBytesMax) },
		func() *Failed { return role(spec.Role) },
		func() *Failed { return availability(spec.Availability, false) },
	); failed != nil {
		return *failed
	}
	old, failed := node(a.d, call.Ref)
	if failed != nil {
		return *failed
	}
	spec.Role = swarm.NodeRole(strings.ToLower(string(spec.Role)))
	spec.Availability = swarm.NodeAvailability(strings.ToLower(string(spec.Availability)))
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	if failed := first(
		func() *Failed { return a.demotion(old, spec.Role) },
		func() *Failed { return a.outOfSequence(call.Version, old.SpecVersion) },
	); failed != nil {
		return *failed
	}
	next := *old
	next.Meta, next.SpecVersion, next.Spec = a.touched(old.Meta), a.d.Version(), spec
	if spec.Role != old.Spec.Role {
		next.Trust = a.d.Version()
	}
	a.d.PutNode(&next)
	return Done{}
}

// demotion refuses to take the last manager away: one that is to go itself does not
// count, though it may take part still.
func (a *admission) demotion(n *state.Node, to swarm.NodeRole) *Failed {
	if n.Spec.Role != swarm.NodeRoleManager || to != swarm.NodeRoleWorker {
		return nil
	}
	for other := range a.d.Nodes() {
		if other.ID != n.ID && other.Manager && other.Spec.Role == swarm.NodeRoleManager {
			return nil
		}
	}
	return unmet("attempting to demote the last manager of the swarm")
}

// removeNode forgets a node, and whatever it was still to run: nobody will ever
// report on those tasks again.
func (a *admission) removeNode(call NodeRemove) Answer {
	n, failed := node(a.d, call.Ref)
	switch {
	case failed != nil:
		return *failed
	case n.Spec.Role == swarm.NodeRoleManager && n.Manager:
		return *unmet("node %s is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal", n.ID)
	case !call.Force && n.State == state.NodeReady:
		return *unmet("node %s is not down and can't be removed", n.ID)
	}
	var orphans []*state.Task
	for t := range a.d.TasksOn(n.ID) {
		if !t.Status.State.Terminal() {
			orphans = append(orphans, t)
		}
	}
	for _, old := range orphans {
		t := *old
		t.Meta = a.touched(old.Meta)
		t.Status.State, t.Status.At = state.TaskOrphaned, a.wall
		t.Status.Message, t.Status.Err = "Task belonged to a node that has been deleted", ""
		a.d.PutTask(&t)
	}
	a.d.DeleteNode(n.ID)
	return Done{}
}

func role(r swarm.NodeRole) *Failed {
	switch swarm.NodeRole(strings.ToLower(string(r))) {
	case swarm.NodeRoleWorker, swarm.NodeRoleManager:
		return nil
	}
	return plain(Invalid, "invalid Role: %q", r)
}

func availability(v swarm.NodeAvailability, optional bool) *Failed {
	switch swarm.NodeAvailability(strings.ToLower(string(v))) {
	case swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
		return nil
	case "":
		if optional {
			return nil
		}
	}
	return plain(Invalid, "invalid Availability: %q", v)
}
