package netplan

import (
	"net/netip"
	"slices"

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

	// What must be looked for where something changes. Under homeless is what was
	// known for the sake of no network that is known: see parting.
	ofService  index[state.ServiceID, state.TaskID]
	ofNode     index[state.NodeID, state.TaskID]
	onNetwork  index[state.NetworkID, state.TaskID]
	servicesOn index[state.NetworkID, state.ServiceID]
}

const homeless = state.NetworkID("") // no network's

func newTables() Tables {
	return Tables{
		peers: map[state.NodeID]wire.Peer{}, networks: map[state.NetworkID]wire.Network{},
		services: map[state.ServiceID]wire.Service{}, endpoints: map[state.TaskID]*wire.Endpoint{},
		ofService: index[state.ServiceID, state.TaskID]{}, ofNode: index[state.NodeID, state.TaskID]{},
		onNetwork: index[state.NetworkID, state.TaskID]{}, servicesOn: index[state.NetworkID, state.ServiceID]{},
	}
}

// Update takes in news; full says that there is nothing else.
func (t *Tables) Update(m *wire.Tables, full bool) {
	if full || t.peers == nil {
		*t = newTables()
	}
	if m == nil {
		return
	}
	tasks, services := t.parting(m.Networks)
	for _, id := range tasks {
		t.place(&wire.Endpoint{Task: id, Gone: true})
	}
	for _, id := range services {
		t.offer(wire.Service{ID: id, Gone: true})
	}
	if m.Mesh != nil {
		t.mesh = *m.Mesh
	}
	for _, p := range m.Peers {
		note(t.peers, p.Node, p, p.Gone)
	}
	for _, n := range m.Networks {
		note(t.networks, n.ID, n, n.Gone)
	}
	for _, s := range m.Services {
		t.offer(s)
	}
	for _, e := range m.Endpoints {
		t.place(&e)
	}
}

func note[K comparable, V any](m map[K]V, k K, v V, gone bool) {
	if gone {
		delete(m, k)
		return
	}
	m[k] = v
}

// parting is what is forgotten because it was known for the sake of a network alone:
// of that the node is told nothing more. So it is with a network that comes though
// it is known: its last task had gone, and who else went then was not told.
func (t *Tables) parting(told []wire.Network) (tasks []state.TaskID, services []state.ServiceID) {
	if len(told) == 0 {
		return nil, nil
	}
	still := func(id state.NetworkID) bool {
		return t.knows(id) && !slices.ContainsFunc(told, func(n wire.Network) bool { return n.ID == id })
	}
	of := func(id state.NetworkID) {
		for _, task := range t.onNetwork[id] {
			if !placed(t.endpoints[task], still) {
				tasks = append(tasks, task)
			}
		}
		for _, service := range t.servicesOn[id] {
			if s := t.services[service]; !offered(&s, still) {
				services = append(services, service)
			}
		}
	}
	of(homeless)
	for _, n := range told {
		of(n.ID)
	}
	return tasks, services
}

func (t *Tables) knows(id state.NetworkID) bool { _, known := t.networks[id]; return known }

// placed reports whether an endpoint is of interest, if networks that are known are.
func placed(e *wire.Endpoint, known func(state.NetworkID) bool) bool {
	return e.Mesh.IsValid() || slices.ContainsFunc(e.Attachments, func(at state.Attachment) bool { return known(at.Network) })
}

// offered reports whether a service is.
func offered(s *wire.Service, known func(state.NetworkID) bool) bool {
	return len(s.Ports) > 0 || slices.ContainsFunc(s.Aliases, func(a wire.Aliases) bool { return known(a.Network) })
}

// place takes in what was told of an endpoint.
func (t *Tables) place(e *wire.Endpoint) {
	old := t.endpoints[e.Task]
	note(t.endpoints, e.Task, e, e.Gone)
	if old != nil && !e.Gone && old.Service == e.Service && old.Node == e.Node && old.Mesh.IsValid() == e.Mesh.IsValid() &&
		slices.EqualFunc(old.Attachments, e.Attachments, func(a, b state.Attachment) bool { return a.Network == b.Network }) {
		return // it is found where it was
	}
	if old != nil {
		t.ofService.drop(old.Service, e.Task)
		t.ofNode.drop(old.Node, e.Task)
		t.onNetwork.drop(homeless, e.Task)
		for _, at := range old.Attachments {
			t.onNetwork.drop(at.Network, e.Task)
		}
	}
	if e.Gone {
		return
	}
	t.ofService.put(e.Service, e.Task)
	t.ofNode.put(e.Node, e.Task)
	if !placed(e, t.knows) {
		t.onNetwork.put(homeless, e.Task)
	}
	for _, at := range e.Attachments {
		t.onNetwork.put(at.Network, e.Task)
	}
}

// offer takes in what was told of a service.
func (t *Tables) offer(s wire.Service) {
	if old, known := t.services[s.ID]; known {
		t.servicesOn.drop(homeless, s.ID)
		for _, id := range networksOf(&old) {
			t.servicesOn.drop(id, s.ID)
		}
	}
	note(t.services, s.ID, s, s.Gone)
	if s.Gone {
		return
	}
	if !offered(&s, t.knows) {
		t.servicesOn.put(homeless, s.ID)
	}
	for _, id := range networksOf(&s) {
		t.servicesOn.put(id, s.ID)
	}
}

// networksOf are those that a service is known on, some of them twice.
func networksOf(s *wire.Service) []state.NetworkID {
	var list []state.NetworkID
	for _, a := range s.Aliases {
		list = append(list, a.Network)
	}
	for _, v := range s.VIPs {
		list = append(list, v.Network)
	}
	return list
}

// behind is the address of the peer that a node is.
func (t *Tables) behind(node state.NodeID) netip.Addr { return t.peers[node].Underlay }
