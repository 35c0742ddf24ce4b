package api

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// renderNode is one node as GET /nodes shows it. A node that is not a manager
// has no ManagerStatus, whatever role is wished for it.
func renderNode(node *state.Node, leader state.NodeID, roots control.Roots) swarm.Node {
	spec := node.Spec
	spec.Labels = labelsOf(spec.Labels)
	rendered := swarm.Node{
		ID:          string(node.ID),
		Meta:        metaOf(node.Meta, node.SpecVersion),
		Spec:        spec,
		Description: node.Description,
		Status:      swarm.NodeStatus{State: nodeState(node.State), Message: node.Message, Addr: node.Addr},
	}
	rendered.Description.TLSInfo = nodeTLSInfo(node, roots)
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

// nodeTLSInfo is what a node trusts and whose certificate it has. While the swarm's
// root is rotated a node that is up to date has a certificate of the next; when the
// next has become the swarm's, one that is not trusts the former still.
func nodeTLSInfo(node *state.Node, roots control.Roots) swarm.TLSInfo {
	current := node.Certificate >= roots.Version
	switch {
	case current && roots.Next != nil:
		return tlsInfoOf(roots.Cert, roots.Next)
	case current || roots.Next != nil || roots.Former == nil:
		return tlsInfoOf(roots.Cert, roots.Cert)
	default:
		return tlsInfoOf(roots.Former, roots.Cert)
	}
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
