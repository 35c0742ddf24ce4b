// Package netplan decides what the network of a node should look like.
//
// A [Plan] is a value: the whole desired state. real/network makes the kernel
// match it, repairs drift and sweeps away what no plan names; nothing is
// remembered between plans that the plan itself does not say. [Make] makes one from
// what a node knows; a [Planner] makes the same, for what a change costs.
package netplan

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine/state"
)

// A Plan is the complete desired network of one node. Every list is sorted, by its
// first field, so that equal networks are equal plans.
type Plan struct {
	// Generation numbers the plans of a node, from 1; the answer quotes it.
	Generation uint64
	// Gateway is the node's address on the bridge that its containers leave
	// through, with the bridge's subnet.
	Gateway netip.Prefix
	// Kept says that the node has begun anew, and has not been told of the swarm's
	// networks yet. They stay as they were planned last, but that no way leads to its
	// own tasks that are not among the Endpoints any more, or among the Idle: see
	// [Reduce].
	Kept bool
	Idle []state.TaskID // of the Endpoints, if Kept
	// Mesh joins the nodes of the swarm; its zero value is a node by itself.
	Mesh Mesh
	// Networks are the overlays that tasks of this node are on.
	Networks []Network
	// Endpoints are the containers' ends of the network, by task.
	Endpoints []Endpoint
	// Published are the ports that answer on this node, by protocol and port.
	Published []Published
}

// A Mesh is what carries traffic between nodes: a VXLAN on the underlay. The ingress
// network's part of it is routed: each node and each task with published ports has
// an address of the mesh, and a packet for a task goes to the task's node.
type Mesh struct {
	// Underlay is the node's own address that its peers send VXLAN to.
	Underlay netip.Addr
	// Port is the UDP port of VXLAN; 0 is 4789.
	Port uint16
	// VNI is the ingress network's. 0: no port of this node leads to another.
	VNI uint32
	// Subnet is the ingress network's.
	Subnet netip.Prefix
	// Address is the node's own in Subnet.
	Address netip.Addr
	// Peers are the other nodes, by underlay address.
	Peers []Peer
	// Routes are the tasks of other nodes that published ports lead to, by their
	// mesh address.
	Routes []Route
}

// A Peer is another node. VXLAN is accepted from peers only.
type Peer struct {
	Underlay netip.Addr
	Address  netip.Addr // in the mesh; the zero Addr is none
}

// A Route says behind which peer an address is.
type Route struct {
	Address  netip.Addr
	Underlay netip.Addr // of the peer
	// First is the first address of the same endpoint on the network, where that
	// is another one, as of an IPv6 address beside an IPv4 one: the hardware
	// address derives from it. The zero Addr is Address itself.
	First netip.Addr
}

// A Network is an overlay as one node sees it: a bridge and a VXLAN with a static
// table of who is behind which peer. The hardware address of an endpoint derives
// from the first of its addresses.
type Network struct {
	ID   string
	Name string // answers to reverse look-ups end with it
	VNI  uint32
	// Subnets are the network's, each with the gateway's address: IPv4, and where
	// it is enabled IPv6.
	Subnets []netip.Prefix
	// Internal says that the network leads nowhere else.
	Internal bool
	// Remote are the endpoints on other nodes, by address.
	Remote []Route
	// Balanced are the services on the network that have an address of their own.
	Balanced []Balanced
	// Names are what is known by name on this network, by name; names are lower
	// case and without a final dot.
	Names []Name
}

// Balanced is a service's own address (VIP): a connection to any of its ports goes
// to one of the backends, from within the container that makes it.
type Balanced struct {
	VIP      netip.Addr
	Backends []netip.Addr // sorted
}

// A Name is answered with these addresses.
type Name struct {
	Name      string
	Addresses []netip.Addr // sorted, IPv4 before IPv6
}

// An Endpoint is one task's place in the network: a network namespace with an
// interface on the bridge, and one on each overlay.
type Endpoint struct {
	Task state.TaskID
	// Address is the task's on the gateway's bridge. It may be the zero Addr for a
	// task that is on overlays: then it has no way out of them.
	Address netip.Addr
	// Mesh is the task's address in the mesh, which published ports of every node
	// lead to; the zero Addr is none.
	Mesh netip.Addr
	// Attachments are its places on overlays, by network.
	Attachments []Attachment
	// Resolver configures the name server of the container, 127.0.0.11.
	Resolver Resolver
}

// An Attachment is an interface on an overlay.
type Attachment struct {
	Network   string       // ID
	Addresses []netip.Addr // IPv4, and where the network has it IPv6
}

// A Resolver says what the container's name server does with names that the swarm
// does not know.
type Resolver struct {
	// Upstream are name servers to ask, instead of the node's own.
	Upstream []netip.Addr
}

// A Published port answers on the node and passes each new connection to one of
// the backends, in turn. With no backend it refuses.
type Published struct {
	Protocol string     // tcp, udp or sctp
	HostIP   netip.Addr // the only address to answer on; the zero Addr is all
	Port     uint16
	// Sticky has connections of one client address go to one backend as long as
	// there are as many.
	Sticky   bool
	Backends []Backend
}

// A Backend is where a published port leads: the address of an endpoint, or in the
// mesh.
type Backend struct {
	Address netip.Addr
	Port    uint16
}
