package dispatcher

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A table is what nodes are told of the networks, and what of that has changed.
type table struct {
	endpoints map[state.TaskID]*wire.Endpoint
	services  map[state.ServiceID]*wire.Service
	mesh      wire.Mesh
	active    bool // there are networks: until then nodes are told nothing of each other

	order    []state.NodeID // all nodes
	tasks    []state.TaskID // to be looked at
	offered  []state.ServiceID
	peers    []state.NodeID
	stirred  []state.NodeID // whose state has changed: what leads to their tasks may
	networks bool           // some network has changed

	draining map[state.TaskID]bool // not to be told to stop yet
	waves    []*wave
}

// news is what a node has not been told of the networks.
type news struct {
	on        map[state.NetworkID]int // the networks of its tasks, and of how many
	endpoints []state.TaskID
	services  []state.ServiceID
	peers     []state.NodeID
	networks  []state.NetworkID // that it has come to, or left
	mesh      bool
	applied   uint64 // the newest assignment that its network follows, in this session
}

func newTable() table {
	return table{
		endpoints: map[state.TaskID]*wire.Endpoint{}, services: map[state.ServiceID]*wire.Service{},
		draining: map[state.TaskID]bool{},
	}
}

// fillTable looks through the swarm for all that tables have.
func (p *Dispatcher) fillTable(d *state.Draft) {
	p.table.mesh = meshOf(d)
	if p.table.active = anyNetwork(d); !p.table.active {
		return
	}
	for s := range d.Services() {
		p.table.offered = append(p.table.offered, s.ID)
	}
	for t := range d.Tasks() {
		if placed(t) {
			p.table.tasks = append(p.table.tasks, t.ID)
		}
	}
	p.tabulate(d)
	for _, id := range slices.Sorted(maps.Keys(p.table.endpoints)) {
		if e := p.table.endpoints[id]; e.Phase == wire.EndpointLeaving {
			p.drain(d, e)
		}
	}
}

func anyNetwork(d *state.Draft) bool {
	for range d.Networks() {
		return true
	}
	return false
}

// placed reports whether a task has a place on a network.
func placed(t *state.Task) bool { return t != nil && (len(t.Addresses) > 0 || t.Mesh.IsValid()) }

// observeTable notes what tables may have to follow.
func (p *Dispatcher) observeTable(delta *state.Delta) {
	x := &p.table
	for _, n := range delta.Nodes {
		b, a := n.Before, n.After
		switch {
		case b == nil && a == nil:
		case b == nil || a == nil, b.Addr != a.Addr, b.DataPath != a.DataPath, b.Mesh != a.Mesh:
			x.peers = append(x.peers, cmp.Or(a, b).ID)
		}
		if b != nil && a != nil && b.State != a.State {
			x.stirred = append(x.stirred, a.ID)
		}
	}
	for _, s := range delta.Services {
		if o := cmp.Or(s.After, s.Before); o != nil {
			x.offered = append(x.offered, o.ID)
		}
	}
	x.networks = x.networks || len(delta.Networks) > 0
	for _, t := range delta.Tasks {
		if b, a := t.Before, t.After; (placed(a) || placed(b)) && (a == nil || b == nil ||
			b.Node != a.Node || b.Desired != a.Desired || b.Status.State != a.Status.State) {
			x.tasks = append(x.tasks, cmp.Or(a, b).ID)
		}
	}
}

// tabulate brings the tables up to date with what has committed.
func (p *Dispatcher) tabulate(d *state.Draft) {
	x := &p.table
	for _, id := range x.stirred {
		for t := range d.TasksOn(id) {
			if placed(t) {
				x.tasks = append(x.tasks, t.ID)
			}
		}
	}
	if x.networks {
		if !x.active {
			x.active = anyNetwork(d)
			p.each(func(n *node) bool { n.tasks, n.full = nil, true; return true })
		}
		if mesh := meshOf(d); mesh != x.mesh {
			x.mesh = mesh
			p.each(func(n *node) bool { n.news.mesh = true; return true })
		}
	}
	for _, id := range x.offered {
		p.setService(d, id)
	}
	for _, id := range x.tasks {
		p.setEndpoint(d, id)
	}
	for _, id := range x.peers {
		if !x.active {
			break
		}
		p.each(func(n *node) bool { n.news.peers = append(n.news.peers, id); return true })
	}
	x.stirred, x.networks, x.offered, x.tasks, x.peers = nil, false, nil, nil, nil
}

// each shows every node that is in session to do, which says whether something is
// to be sent to it.
func (p *Dispatcher) each(do func(n *node) bool) {
	for _, id := range p.table.order {
		if n := p.nodes[id]; n != nil && n.session != 0 && !n.full && do(n) {
			n.tell = true
			p.soil(n)
		}
	}
}

func meshOf(d *state.Draft) wire.Mesh {
	in := d.Ingress()
	if in == nil || len(in.Subnets) == 0 {
		return wire.Mesh{}
	}
	mesh := wire.Mesh{VNI: in.VNI, Subnet: in.Subnets[0].Masked()}
	if c := d.Cluster(); c != nil {
		mesh.Port = uint16(c.DataPathPort)
	}
	return mesh
}

// endpointOf is what tables have of a task, nil for one that is not in them: it has
// no node, it has ended, or nothing led to it yet that leads to it through ports
// alone.
func endpointOf(d *state.Draft, t *state.Task) *wire.Endpoint {
	if !placed(t) || t.Node == "" || t.Status.State < state.TaskAssigned || t.Status.State.Terminal() {
		return nil
	}
	e := &wire.Endpoint{Task: t.ID, Service: t.Service, Node: t.Node, Mesh: t.Mesh, Attachments: t.Attachments(d.Template(t.Service, t.Template))}
	if !t.Global {
		e.Slot = t.Slot
	}
	if t.Status.State == state.TaskRunning {
		e.Phase = wire.EndpointServing
		if n := d.Node(t.Node); t.Desired > state.TaskComplete || n == nil || n.State == state.NodeDown {
			e.Phase = wire.EndpointLeaving
		}
	}
	if len(e.Attachments) == 0 && e.Phase == wire.EndpointJoining {
		return nil
	}
	return e
}

func (p *Dispatcher) setEndpoint(d *state.Draft, id state.TaskID) {
	x := &p.table
	old, now := x.endpoints[id], endpointOf(d, d.Task(id))
	if now == nil {
		delete(x.draining, id)
	}
	if old == nil && now == nil || old != nil && now != nil && old.Phase == now.Phase {
		return // the rest of it never changes
	}
	if now == nil {
		delete(x.endpoints, id)
	} else {
		x.endpoints[id] = now
	}
	if old == nil {
		p.attend(now, 1)
	}
	p.each(func(n *node) bool {
		if !n.concerned(old) && !n.concerned(now) {
			return false
		}
		if now == nil && n.id != old.Node && mutant.On(mutant.TableKeepsGone) {
			return false
		}
		n.news.endpoints = append(n.news.endpoints, id)
		return true
	})
	switch {
	case now == nil:
		p.attend(old, -1)
	case old != nil && now.Phase == wire.EndpointLeaving:
		p.drain(d, now)
	}
}

// attend counts the tasks that a node has on each network.
func (p *Dispatcher) attend(e *wire.Endpoint, by int) {
	n := p.nodes[e.Node]
	if n == nil {
		return
	}
	for _, at := range e.Attachments {
		if n.news.on == nil {
			n.news.on = map[state.NetworkID]int{}
		}
		before := n.news.on[at.Network]
		n.news.on[at.Network] = before + by
		if before+by == 0 {
			delete(n.news.on, at.Network)
		}
		if (before == 0 || before+by == 0) && n.session != 0 && !n.full {
			n.news.networks = append(n.news.networks, at.Network)
			n.tell = true
			p.soil(n)
		}
	}
}

// concerned reports whether a node must know of an endpoint.
func (n *node) concerned(e *wire.Endpoint) bool {
	return e != nil && (e.Mesh.IsValid() || slices.ContainsFunc(e.Attachments, func(at state.Attachment) bool { return n.news.on[at.Network] > 0 }))
}

// serviceOf is what tables have of a service, nil for one that is on no network and
// publishes no port.
func serviceOf(s *state.Service) *wire.Service {
	if s == nil {
		return nil
	}
	o := &wire.Service{ID: s.ID, Name: s.Spec.Name, VIPs: s.VIPs}
	o.Publishing, _ = state.PublishingOf(s.Spec.Labels) // they were checked when they came
	for _, port := range s.Ports {
		if port.PublishMode == swarm.PortConfigPublishModeIngress && port.PublishedPort != 0 {
			o.Ports = append(o.Ports, port)
		}
	}
	for _, at := range s.Spec.TaskTemplate.Networks {
		o.Aliases = append(o.Aliases, wire.Aliases{Network: state.NetworkID(at.Target), Names: at.Aliases})
	}
	if len(o.Ports)+len(o.Aliases)+len(o.VIPs) == 0 {
		return nil
	}
	return o
}

func (p *Dispatcher) setService(d *state.Draft, id state.ServiceID) {
	x := &p.table
	old, now := x.services[id], serviceOf(d.Service(id))
	if now == nil {
		delete(x.services, id)
	} else {
		x.services[id] = now
	}
	if old == nil && now == nil || old != nil && now != nil && sameService(old, now) {
		return
	}
	p.each(func(n *node) bool {
		if !n.interested(old) && !n.interested(now) {
			return false
		}
		n.news.services = append(n.news.services, id)
		return true
	})
}

func sameService(a, b *wire.Service) bool {
	return a.Name == b.Name && a.Publishing == b.Publishing && slices.Equal(a.VIPs, b.VIPs) && slices.Equal(a.Ports, b.Ports) &&
		slices.EqualFunc(a.Aliases, b.Aliases, func(x, y wire.Aliases) bool { return x.Network == y.Network && slices.Equal(x.Names, y.Names) })
}

// interested reports whether a node must know of a service.
func (n *node) interested(s *wire.Service) bool {
	return s != nil && (len(s.Ports) > 0 || slices.ContainsFunc(s.Aliases, func(a wire.Aliases) bool { return n.news.on[a.Network] > 0 }))
}

// tables writes what a node has not been told, nil for nothing; to one that is to be
// told everything all that concerns it.
func (p *Dispatcher) tables(d *state.Draft, n *node) *wire.Tables {
	x, m := &p.table, &wire.Tables{}
	if !x.active {
		return nil
	}
	if n.news.mesh || n.full && x.mesh != (wire.Mesh{}) {
		mesh := x.mesh
		m.Mesh = &mesh
	}
	come := map[state.NetworkID]bool{} // networks that are new to the node
	services, endpoints, peers := n.news.services, n.news.endpoints, n.news.peers
	if n.full {
		n.news.networks = slices.Sorted(maps.Keys(n.news.on))
		services, endpoints, peers = slices.Sorted(maps.Keys(x.services)), slices.Sorted(maps.Keys(x.endpoints)), x.order
	}
	slices.Sort(n.news.networks)
	for _, id := range slices.Compact(n.news.networks) {
		if o := d.Network(id); o != nil && n.news.on[id] > 0 {
			come[id] = true
			m.Networks = append(m.Networks, wire.Network{ID: id, Name: o.Spec.Name, VNI: o.VNI, Subnets: o.Subnets, Internal: o.Spec.Internal})
		} else {
			m.Networks = append(m.Networks, wire.Network{ID: id, Gone: true})
		}
	}
	if len(come) > 0 && !n.full {
		services, endpoints = p.onNetworks(come, services, endpoints)
	}
	for _, id := range unique(services) {
		if s := x.services[id]; n.interested(s) {
			m.Services = append(m.Services, *s)
		} else if !n.full {
			m.Services = append(m.Services, wire.Service{ID: id, Gone: true})
		}
	}
	for _, id := range unique(endpoints) {
		if e := x.endpoints[id]; n.concerned(e) {
			m.Endpoints = append(m.Endpoints, *e)
		} else if !n.full {
			m.Endpoints = append(m.Endpoints, wire.Endpoint{Task: id, Gone: true})
		}
	}
	for _, id := range unique(peers) {
		peer := wire.Peer{Node: id, Gone: true}
		if o := d.Node(id); o != nil {
			underlay, _ := netip.ParseAddr(cmp.Or(o.DataPath, o.Addr))
			peer = wire.Peer{Node: id, Underlay: underlay, Mesh: o.Mesh}
		}
		m.Peers = append(m.Peers, peer)
	}
	n.news = news{on: n.news.on, applied: n.news.applied}
	if m.Empty() {
		return nil
	}
	return m
}

// onNetworks adds the services and endpoints that are on networks.
func (p *Dispatcher) onNetworks(come map[state.NetworkID]bool, services []state.ServiceID, endpoints []state.TaskID) ([]state.ServiceID, []state.TaskID) {
	for _, id := range slices.Sorted(maps.Keys(p.table.services)) {
		if slices.ContainsFunc(p.table.services[id].Aliases, func(a wire.Aliases) bool { return come[a.Network] }) {
			services = append(services, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.table.endpoints)) {
		if slices.ContainsFunc(p.table.endpoints[id].Attachments, func(at state.Attachment) bool { return come[at.Network] }) {
			endpoints = append(endpoints, id)
		}
	}
	return services, endpoints
}

func unique[ID cmp.Ordered](ids []ID) []ID {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}
