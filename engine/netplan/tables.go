package netplan

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Tables are what a node has been told of the swarm's networks. They stay as they are
// when nobody tells more. The zero value knows nothing.
type Tables struct {
	mesh      wire.Mesh
	peers     map[state.NodeID]wire.Peer
	networks  map[state.NetworkID]wire.Network
	services  map[state.ServiceID]wire.Service
	endpoints map[state.TaskID]*wire.Endpoint // frozen
	order     []*wire.Endpoint                // the same, by task
}

// Update takes in news; full says that there is nothing else.
func (t *Tables) Update(m *wire.Tables, full bool) {
	if full || t.peers == nil {
		*t = Tables{
			peers: map[state.NodeID]wire.Peer{}, networks: map[state.NetworkID]wire.Network{},
			services: map[state.ServiceID]wire.Service{}, endpoints: map[state.TaskID]*wire.Endpoint{},
		}
	}
	if m == nil {
		return
	}
	if m.Mesh != nil {
		t.mesh = *m.Mesh
	}
	for _, p := range m.Peers {
		set(t.peers, p.Node, p, p.Gone)
	}
	for _, n := range m.Networks {
		delete(t.networks, n.ID)
	}
	if len(m.Networks) > 0 {
		t.leave()
	}
	for _, n := range m.Networks {
		set(t.networks, n.ID, n, n.Gone)
	}
	for _, s := range m.Services {
		set(t.services, s.ID, s, s.Gone)
	}
	for _, e := range m.Endpoints {
		t.place(&e)
	}
}

// place takes in what was told of an endpoint.
func (t *Tables) place(e *wire.Endpoint) {
	i, there := slices.BinarySearchFunc(t.order, e.Task, func(o *wire.Endpoint, id state.TaskID) int { return strings.Compare(string(o.Task), string(id)) })
	set(t.endpoints, e.Task, e, e.Gone)
	switch {
	case e.Gone && there:
		t.order = slices.Delete(t.order, i, i+1)
	case e.Gone:
	case there:
		t.order[i] = e
	default:
		t.order = slices.Insert(t.order, i, e)
	}
}

// leave forgets what was known for the sake of a network alone: of that the node is
// told nothing more. So it is with a network that comes though it is known: its last
// task had gone, and who else went then was not told.
func (t *Tables) leave() {
	t.order = slices.DeleteFunc(t.order, func(e *wire.Endpoint) bool {
		on := func(at state.Attachment) bool { _, known := t.networks[at.Network]; return known }
		if e.Mesh.IsValid() || slices.ContainsFunc(e.Attachments, on) {
			return false
		}
		delete(t.endpoints, e.Task)
		return true
	})
	for _, service := range slices.Sorted(maps.Keys(t.services)) {
		s := t.services[service]
		on := func(a wire.Aliases) bool { _, known := t.networks[a.Network]; return known }
		if len(s.Ports) == 0 && !slices.ContainsFunc(s.Aliases, on) {
			delete(t.services, service)
		}
	}
}

func set[K comparable, V any](m map[K]V, k K, v V, gone bool) {
	if gone {
		delete(m, k)
		return
	}
	m[k] = v
}

// others are the nodes beside self that can be reached, by underlay address.
func (t *Tables) others(self state.NodeID) []Peer {
	var peers []Peer
	for _, id := range slices.Sorted(maps.Keys(t.peers)) {
		if p := t.peers[id]; id != self && p.Underlay.IsValid() {
			peers = append(peers, Peer{Underlay: p.Underlay, Address: p.Mesh})
		}
	}
	slices.SortFunc(peers, func(a, b Peer) int { return a.Underlay.Compare(b.Underlay) })
	return slices.CompactFunc(peers, func(a, b Peer) bool { return a.Underlay == b.Underlay })
}

// behind is the address of the peer that a node is.
func (t *Tables) behind(node state.NodeID) netip.Addr { return t.peers[node].Underlay }
