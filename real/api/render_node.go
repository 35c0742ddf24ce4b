package api

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// renderNode is one node as GET /nodes shows it. A node that is not a manager
// has no ManagerStatus, whatever role is wished for it.
func renderNode(node *state.Node, leader state.NodeID) swarm.Node {
	spec := node.Spec
	spec.Labels = labelsOf(spec.Labels)
	rendered := swarm.Node{
		ID:          string(node.ID),
		Meta:        metaOf(node.Meta, node.SpecVersion),
		Spec:        spec,
		Description: node.Description,
		Status:      swarm.NodeStatus{State: nodeState(node.State), Message: node.Message, Addr: node.Addr},
	}
	if !node.Manager {
		return rendered
	}
	rendered.ManagerStatus = &swarm.ManagerStatus{
		Leader:       node.ID == leader,
		Reachability: swarm.ReachabilityReachable,
		Addr:         node.ManagerAddr,
	}
	if node.State == state.NodeDown || node.State == state.NodeDisconnected {
		rendered.ManagerStatus.Reachability = swarm.ReachabilityUnreachable
	}
	return rendered
}

func nodeState(s state.NodeState) swarm.NodeState {
	switch s {
	case state.NodeDown:
		return swarm.NodeStateDown
	case state.NodeReady:
		return swarm.NodeStateReady
	case state.NodeDisconnected:
		return swarm.NodeStateDisconnected
	case state.NodeUnknown:
		return swarm.NodeStateUnknown
	}
	return swarm.NodeStateUnknown
}
