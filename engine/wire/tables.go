package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/state"
)

// Tables are what a node must know of the swarm's networks: in a full [Assign] all,
// else what has changed.
type Tables struct {
	Mesh     *Mesh `json:",omitempty"` // as it is now; nil is no news
	Peers    []Peer
	Networks []Network
	Services []Service
	// Endpoints are tasks with a place on a network. They are encoded by themselves:
	// there are many.
	Endpoints []Endpoint `json:"-"`
}

// Empty reports whether there is no news.
func (t *Tables) Empty() bool {
	return t == nil || t.Mesh == nil && len(t.Peers)+len(t.Networks)+len(t.Services)+len(t.Endpoints) == 0
}

// Leaving reports whether there is news of endpoints that nothing is to lead to any
// more.
func (t *Tables) Leaving() bool {
	return t != nil && slices.ContainsFunc(t.Endpoints, func(e Endpoint) bool { return e.Phase == EndpointLeaving })
}

// A Mesh is the ingress network's part of what joins nodes. Its zero value is none.
type Mesh struct {
	VNI    uint32
	Subnet netip.Prefix
	Port   uint16 // of VXLAN, UDP
}

// A Peer is a node, and where it is reached: the receiver too.
type Peer struct {
	Node     state.NodeID
	Underlay netip.Addr
	Mesh     netip.Addr // its address in the mesh
	Gone     bool       `json:",omitempty"`
}

// A Network is one that the node has tasks on.
type Network struct {
	ID       state.NetworkID
	Name     string
	VNI      uint32
	Subnets  []netip.Prefix // each with the gateway's address
	Internal bool           `json:",omitempty"`
	Gone     bool           `json:",omitempty"`
}

// A Service is one that publishes ports, or is on a network of the node's tasks.
type Service struct {
	ID      state.ServiceID
	Name    string
	VIPs    []state.VIP        `json:",omitempty"`
	Ports   []swarm.PortConfig `json:",omitempty"` // those that every node publishes
	Aliases []Aliases          `json:",omitempty"`
	// Publishing is how its ports are published.
	Publishing state.Publishing `json:",omitzero"`

	Gone bool `json:",omitempty"`
}

// Aliases are the other names of a service on one network.
type Aliases struct {
	Network state.NetworkID
	Names   []string
}

// A Phase says what may lead to an endpoint.
type Phase uint8

// The phases of an endpoint, in order.
const (
	EndpointJoining Phase = iota // it is reached by its address
	EndpointServing              // names, VIPs and ports lead to it too
	EndpointLeaving              // it ends its work, and nothing new leads to it
)

// An Endpoint is a task's place on networks.
type Endpoint struct {
	Task        state.TaskID
	Service     state.ServiceID
	Node        state.NodeID
	Slot        uint64 // 0: the slot is the node
	Phase       Phase
	Attachments []state.Attachment
	Mesh        netip.Addr // its address in the mesh
	Gone        bool
}

func appendTables(b []byte, t *Tables) []byte {
	if t.Empty() {
		return append(b, 0)
	}
	b = append(b, 1)
	data, err := json.Marshal(t)
	invariant.Check(err == nil, "tables cannot be written: %v", err)
	b = appendText(b, string(data))
	b = binary.AppendUvarint(b, uint64(len(t.Endpoints)))
	for i := range t.Endpoints {
		b = appendEndpoint(b, &t.Endpoints[i])
	}
	return b
}

func appendEndpoint(b []byte, e *Endpoint) []byte {
	b = appendText(b, string(e.Task))
	b = append(b, flag(e.Gone))
	if e.Gone {
		return b
	}
	b = appendText(b, string(e.Service))
	b = appendText(b, string(e.Node))
	b = binary.AppendUvarint(b, e.Slot)
	b = append(b, byte(e.Phase))
	b = binary.AppendUvarint(b, uint64(len(e.Attachments)))
	for _, at := range e.Attachments {
		b = appendText(b, string(at.Network))
		b = binary.AppendUvarint(b, uint64(len(at.Addresses)))
		for _, a := range at.Addresses {
			b = appendText(b, string(a.AsSlice()))
		}
	}
	return appendText(b, string(e.Mesh.AsSlice()))
}

func (r *reader) tables() *Tables {
	if r.byte() == 0 || r.err != nil {
		return nil
	}
	t := &Tables{}
	if data := r.bytes(); r.err == nil {
		r.err = json.Unmarshal(data, t)
	}
	for range r.count() {
		t.Endpoints = append(t.Endpoints, r.endpoint())
	}
	return t
}

func (r *reader) endpoint() Endpoint {
	e := Endpoint{Task: state.TaskID(r.text()), Gone: r.byte() == 1}
	if e.Gone || r.err != nil {
		return e
	}
	e.Service, e.Node, e.Slot, e.Phase = state.ServiceID(r.text()), state.NodeID(r.text()), r.uvarint(), Phase(r.byte())
	for range r.count() {
		at := state.Attachment{Network: state.NetworkID(r.text())}
		for range r.count() {
			at.Addresses = append(at.Addresses, r.addr())
		}
		e.Attachments = append(e.Attachments, at)
	}
	e.Mesh = r.addr()
	return e
}

// addr reads an address; no bytes are the zero Addr.
func (r *reader) addr() netip.Addr {
	data := r.bytes()
	if r.err != nil || len(data) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(data)
	if !ok {
		r.err = fmt.Errorf("an address has %d bytes", len(data))
	}
	return a
}
