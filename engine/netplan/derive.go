package netplan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A derivation is what a planner has derived from its tables and the node's tasks:
// the lists of the plan, with what must be known to change them.
type derivation struct {
	self    state.NodeID
	joining bool // there are other nodes, and the mesh to them
	anew    bool // nobody has compared it with the plan before yet

	stations set[station]
	peers    []Peer // as the stations are
	routes   set[Route]

	tasks     []Task // of this node, sorted
	local     map[state.TaskID]Task
	attached  map[state.NetworkID]int // how many of them are on a network
	endpoints []Endpoint              // the places of the tasks
	moved     bool                    // they may be others

	doors      parts[socket, Backend, Published]
	publishers map[socket]*set[publisher]

	overlays map[state.NetworkID]*overlay // that tasks of this node are on
	here     []state.NetworkID            // the same, sorted
}

// A station is a node that can be reached. Two may be at one address, if one of
// them has been there before the other.
type station struct {
	Peer
	node state.NodeID
}

// A publisher is a service, or a task of this node, that publishes a port. How is
// for the first of them to say.
type publisher struct {
	task bool
	id   string
	how  state.Publishing
}

// A socket is what can be published once.
type socket struct {
	protocol string
	port     uint16
}

func socketOf(p swarm.PortConfig) (socket, bool) {
	number := func(port uint32) bool { return port > 0 && port <= 65535 }
	return socket{cmp.Or(string(p.Protocol), "tcp"), uint16(p.PublishedPort)}, number(p.PublishedPort) && number(p.TargetPort)
}

// derive begins anew.
func (p *Planner) derive(in Input, tasks []Task) {
	t := &p.tables
	p.d = &derivation{
		self: in.Self, anew: true, moved: true, local: map[state.TaskID]Task{}, attached: map[state.NetworkID]int{},
		publishers: map[socket]*set[publisher]{}, overlays: map[state.NetworkID]*overlay{},
	}
	for _, id := range slices.Sorted(maps.Keys(t.peers)) {
		p.peer(id, +1)
	}
	p.d.meet()
	p.d.joining = p.joins(in)
	for _, id := range slices.Sorted(maps.Keys(t.services)) {
		p.service(id, +1)
	}
	p.d.routes.pending = make([]put[Route], 0, len(t.endpoints))
	for _, service := range slices.Sorted(maps.Keys(t.ofService)) {
		for _, id := range t.ofService[service] {
			p.endpoint(id, +1)
		}
	}
	p.run(tasks)
}

// run takes in which tasks the node has now, sorted.
func (p *Planner) run(tasks []Task) {
	d := p.d
	var changed each[state.TaskID]
	var networks each[state.NetworkID]
	now := map[state.TaskID]Task{}
	gone := func(t Task) {
		changed.add(t.Task)
		networks.add(t.networks()...)
	}
	comes := func(t Task) {
		gone(t)
		now[t.Task] = t
	}
	merge(d.tasks, tasks, compareTasks, gone, comes, func(a, b Task) {
		if !a.equal(b) {
			gone(a)
			comes(b)
		}
	})
	if len(changed.list) == 0 {
		return
	}
	for _, id := range changed.list {
		p.own(id, -1)
	}
	for _, id := range changed.list {
		d.attach(d.local[id], -1)
		task, runs := now[id]
		note(d.local, id, task, !runs)
		d.attach(task, +1)
	}
	for _, id := range changed.list {
		p.own(id, +1)
	}
	d.tasks, d.moved = slices.Clone(tasks), true
	for _, id := range networks.list {
		p.look(id)
	}
}

// own puts what a task of this node is to others.
func (p *Planner) own(id state.TaskID, by int) {
	if e := p.tables.endpoints[id]; e != nil && e.Node == p.d.self {
		p.endpoint(id, by)
	}
	p.publish(id, by)
}

func (d *derivation) attach(t Task, by int) {
	for _, at := range t.Attachments {
		n := d.attached[at.Network] + by
		note(d.attached, at.Network, n, n == 0)
	}
}

func (t Task) networks() []state.NetworkID {
	list := make([]state.NetworkID, 0, len(t.Attachments))
	for _, at := range t.Attachments {
		list = append(list, at.Network)
	}
	return list
}

func (t Task) equal(u Task) bool {
	return t.Task == u.Task && t.Address == u.Address && t.Serving == u.Serving && t.Publishing == u.Publishing && t.Mesh == u.Mesh &&
		slices.Equal(t.Ports, u.Ports) && slices.Equal(t.DNS, u.DNS) &&
		slices.EqualFunc(t.Attachments, u.Attachments, func(a, b state.Attachment) bool {
			return a.Network == b.Network && slices.Equal(a.Addresses, b.Addresses)
		})
}

// peer puts a node that can be reached.
func (p *Planner) peer(id state.NodeID, by int) {
	if o := p.tables.peers[id]; id != p.d.self && o.Underlay.IsValid() {
		p.d.stations.put(station{Peer{Underlay: o.Underlay, Address: o.Mesh}, id}, by)
	}
}

// serves reports whether names, VIPs and ports may lead to an endpoint. Of a task of
// its own a node knows best when it has ended.
func (p *Planner) serves(e *wire.Endpoint) bool {
	if e.Node == p.d.self {
		return p.d.local[e.Task].Serving && e.Phase != wire.EndpointLeaving
	}
	return e.Phase == wire.EndpointServing || e.Phase == wire.EndpointLeaving && mutant.On(mutant.LeavingServes)
}

// service puts what a service is by itself: the ports that all nodes publish for it,
// and what it is on networks.
func (p *Planner) service(id state.ServiceID, by int) {
	s, known := p.tables.services[id]
	if !known {
		return
	}
	if p.d.joining {
		for _, port := range s.Ports {
			p.d.open(port, publisher{id: string(id), how: s.Publishing}, by)
		}
	}
	for _, network := range p.d.here {
		p.d.overlays[network].service(&s, by)
	}
}

// endpoint puts what leads to a task, wherever it runs.
func (p *Planner) endpoint(id state.TaskID, by int) {
	e := p.tables.endpoints[id]
	if e == nil {
		return
	}
	at := p.tables.behind(e.Node)
	if p.d.joining && e.Node != p.d.self && e.Mesh.IsValid() && at.IsValid() {
		p.d.routes.put(Route{Address: e.Mesh, Underlay: at}, by)
		if p.serves(e) {
			for _, port := range p.tables.services[e.Service].Ports {
				p.d.lead(port, e.Mesh, by)
			}
		}
	}
	for i, a := range e.Attachments {
		again := slices.ContainsFunc(e.Attachments[:i], func(b state.Attachment) bool { return b.Network == a.Network })
		if o := p.d.overlays[a.Network]; o != nil && !again {
			p.on(o, e, by)
		}
	}
}

// publish puts the ports of a task of this node.
func (p *Planner) publish(id state.TaskID, by int) {
	t, runs := p.d.local[id]
	if !runs {
		return
	}
	to := t.Address
	if a := p.meshed(t); a.IsValid() {
		to = a // where the task answers from
	}
	told := p.tables.endpoints[id]
	leaving := told != nil && told.Phase == wire.EndpointLeaving
	for _, port := range t.Ports {
		p.d.open(port, publisher{task: true, id: string(id), how: t.Publishing}, by)
		if t.Serving && (!leaving || port.PublishMode == swarm.PortConfigPublishModeHost) {
			p.d.lead(port, to, by)
		}
	}
}

// meshed is the address in the mesh of a task of this node.
func (p *Planner) meshed(t Task) netip.Addr {
	if p.d.joining && p.tables.mesh.Subnet.Contains(t.Mesh) {
		return t.Mesh
	}
	return netip.Addr{}
}

// open puts a port that somebody publishes.
func (d *derivation) open(port swarm.PortConfig, who publisher, by int) {
	at, numbered := socketOf(port)
	if !numbered {
		return
	}
	d.doors.at(at).said += by
	if d.publishers[at] == nil {
		d.publishers[at] = &set[publisher]{}
	}
	d.publishers[at].put(who, by)
}

// lead puts where a port leads.
func (d *derivation) lead(port swarm.PortConfig, to netip.Addr, by int) {
	if at, numbered := socketOf(port); numbered {
		d.doors.at(at).to.put(Backend{to, uint16(port.TargetPort)}, by)
	}
}

// meet brings the list of peers up to date: one at each address.
func (d *derivation) meet() {
	if !d.stations.settle(func(a, b station) int {
		return cmp.Or(a.Underlay.Compare(b.Underlay), cmp.Compare(a.node, b.node), a.Address.Compare(b.Address))
	}) {
		return
	}
	var peers []Peer
	for _, s := range d.stations.list {
		if len(peers) == 0 || peers[len(peers)-1].Underlay != s.Underlay {
			peers = append(peers, s.Peer)
		}
	}
	if !slices.Equal(peers, d.peers) {
		d.peers = peers
	}
}

// settle brings all lists up to date. Those that are as in the last plan are its.
func (p *Planner) settle() {
	d, last := p.d, &p.last
	d.routes.settle(compareRoutes)
	for _, at := range d.doors.touched {
		d.doors.all[at].differs = d.announce(at)
	}
	d.doors.settle(order[socket, Backend, Published]{
		keys: func(a, b socket) int {
			return cmp.Or(strings.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
		},
		places: func(a, b Backend) int { return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port)) },
		values: func(a, b Published) int {
			return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
		},
		made: d.published,
	})
	for _, id := range d.here {
		i := slices.IndexFunc(last.Networks, func(n Network) bool { return n.ID == string(id) })
		d.overlays[id].settle()
		if i >= 0 {
			d.overlays[id].reuse(&last.Networks[i])
		}
	}
	if d.moved {
		d.moved = false
		p.place()
	}
	if d.anew {
		d.anew = false
		reuse(&d.peers, last.Mesh.Peers, func(a, b Peer) bool { return a == b })
		reuse(&d.routes.list, last.Mesh.Routes, func(a, b Route) bool { return a == b })
		reuse(&d.doors.list, last.Published, func(a, b Published) bool {
			return a.Protocol == b.Protocol && a.HostIP == b.HostIP && a.Port == b.Port && a.Sticky == b.Sticky && slices.Equal(a.Backends, b.Backends)
		})
	}
}

// announce settles who publishes a port, and reports whether how it is published
// differs from before.
func (d *derivation) announce(at socket) bool {
	who := d.publishers[at]
	before := who.list
	who.settle(comparePublishers)
	if len(who.list) == 0 {
		delete(d.publishers, at)
		return false
	}
	return len(before) > 0 && before[0].how != who.list[0].how
}

// published is a port with where it leads; the first who publishes it says how.
func (d *derivation) published(at socket, to []Backend) Published {
	p := Published{Protocol: at.protocol, Port: at.port, Backends: to}
	if who := d.publishers[at]; who != nil {
		p.HostIP, p.Sticky = who.list[0].how.Address, who.list[0].how.Sticky
	}
	return p
}

// comparePublishers has services before tasks.
func comparePublishers(a, b publisher) int {
	number := func(is bool) int {
		if is {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(number(a.task), number(b.task)), strings.Compare(a.id, b.id),
		cmp.Compare(number(a.how.Sticky), number(b.how.Sticky)), a.how.Address.Compare(b.how.Address))
}

// place makes the list of this node's endpoints anew.
func (p *Planner) place() {
	var list []Endpoint
	for _, t := range p.d.tasks {
		e := Endpoint{Task: t.Task, Address: t.Address, Mesh: p.meshed(t)}
		for _, at := range t.Attachments {
			if p.d.overlays[at.Network] != nil {
				e.Attachments = append(e.Attachments, Attachment{Network: string(at.Network), Addresses: at.Addresses})
			}
		}
		slices.SortFunc(e.Attachments, func(a, b Attachment) int { return strings.Compare(a.Network, b.Network) })
		if len(e.Attachments) > 0 {
			e.Resolver.Upstream = t.DNS
		}
		list = append(list, e)
	}
	reuse(&list, p.last.Endpoints, Endpoint.equal)
	p.d.endpoints = list
}

// reuse takes the list that was before, if it is equal.
func reuse[T any](list *[]T, last []T, equal func(a, b T) bool) {
	if slices.EqualFunc(*list, last, equal) {
		*list = last
	}
}

func compareTasks(a, b Task) int { return strings.Compare(string(a.Task), string(b.Task)) }

func compareEndpoints(a, b Endpoint) int { return strings.Compare(string(a.Task), string(b.Task)) }

func comparePublished(a, b Published) int {
	return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.HostIP.Compare(b.HostIP))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(a.Address.Compare(b.Address), a.Underlay.Compare(b.Underlay), a.First.Compare(b.First))
}
