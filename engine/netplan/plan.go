// Package netplan decides what the network of a node should look like.
//
// A [Plan] is a value: the whole desired state. real/network makes the kernel
// match it, repairs drift and sweeps away what no plan names; nothing is
// remembered between plans that the plan itself does not say.
package netplan

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine/state"
)

// A Plan is the complete desired network of one node.
type Plan struct {
	// Generation numbers the plans of a node, from 1; the answer quotes it.
	Generation uint64
	// Gateway is the node's address on the bridge that its containers leave
	// through, with the bridge's subnet.
	Gateway netip.Prefix
	// Endpoints are the containers' ends of the network, by task.
	Endpoints []Endpoint
	// Published are the ports that answer on this node, by protocol and port.
	Published []Published
}

// An Endpoint is one task's place in the network: a network namespace with an
// interface on the bridge.
type Endpoint struct {
	Task    state.TaskID
	Address netip.Addr
}

// A Published port answers on the node and passes each new connection to one of
// the backends, in turn. With no backend it refuses.
type Published struct {
	Protocol string     // tcp, udp or sctp
	HostIP   netip.Addr // the only address to answer on; the zero Addr is all
	Port     uint16
	Backends []Backend
}

// A Backend is where a published port leads.
type Backend struct {
	Address netip.Addr
	Port    uint16
}
