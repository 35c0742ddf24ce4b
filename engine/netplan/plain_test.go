package netplan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// PlainTables are [Tables] as plain as can be.
type PlainTables struct {
	mesh      wire.Mesh
	peers     map[state.NodeID]wire.Peer
	networks  map[state.NetworkID]wire.Network
	services  map[state.ServiceID]wire.Service
	endpoints map[state.TaskID]*wire.Endpoint
}

// Update is as that of [Tables].
func (t *PlainTables) Update(m *wire.Tables, full bool) {
	if full || t.peers == nil {
		*t = PlainTables{
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
		note(t.peers, p.Node, p, p.Gone)
	}
	for _, n := range m.Networks {
		delete(t.networks, n.ID)
	}
	if len(m.Networks) > 0 {
		t.leave()
	}
	for _, n := range m.Networks {
		note(t.networks, n.ID, n, n.Gone)
	}
	for _, s := range m.Services {
		note(t.services, s.ID, s, s.Gone)
	}
	for _, e := range m.Endpoints {
		note(t.endpoints, e.Task, &e, e.Gone)
	}
}

// leave forgets what was known for the sake of a network alone: of that the node is
// told nothing more. So it is with a network that comes though it is known: its last
// task had gone, and who else went then was not told.
func (t *PlainTables) leave() {
	maps.DeleteFunc(t.endpoints, func(_ state.TaskID, e *wire.Endpoint) bool {
		on := func(at state.Attachment) bool { _, known := t.networks[at.Network]; return known }
		return !e.Mesh.IsValid() && !slices.ContainsFunc(e.Attachments, on)
	})
	for _, service := range slices.Sorted(maps.Keys(t.services)) {
		s := t.services[service]
		on := func(a wire.Aliases) bool { _, known := t.networks[a.Network]; return known }
		if len(s.Ports) == 0 && !slices.ContainsFunc(s.Aliases, on) {
			delete(t.services, service)
		}
	}
}

// Tables are the same, for [Plainly] alone: nothing is found in them but by name.
func (t *PlainTables) Tables() *Tables {
	return &Tables{mesh: t.mesh, peers: t.peers, networks: t.networks, services: t.services, endpoints: t.endpoints}
}

// Plainly is [Make] as plain as can be: it goes through everything and remembers
// nothing. An address must be one endpoint's, or one service's.
func Plainly(in Input) Plan {
	v := newView(in)
	plan := Plan{Generation: in.Generation, Gateway: in.Gateway, Kept: in.Kept, Mesh: v.mesh(), Networks: v.networks()}
	published := make(map[socket]int)
	publish := func(p swarm.PortConfig, how state.Publishing, backends ...netip.Addr) {
		if !validPort(p.PublishedPort) || !validPort(p.TargetPort) {
			return
		}
		at := socket{cmp.Or(string(p.Protocol), "tcp"), uint16(p.PublishedPort)}
		i, ok := published[at]
		if !ok {
			i = len(plan.Published)
			published[at] = i
			plan.Published = append(plan.Published, Published{Protocol: at.protocol, HostIP: how.Address, Port: at.port, Sticky: how.Sticky})
		}
		plan.Published[i].Backends = slices.Grow(plan.Published[i].Backends, len(backends))
		for _, to := range backends {
			plan.Published[i].Backends = append(plan.Published[i].Backends, Backend{to, uint16(p.TargetPort)})
		}
	}
	v.elsewhere(func(p swarm.PortConfig, how state.Publishing, backends []netip.Addr) { publish(p, how, backends...) })
	for _, t := range slices.SortedFunc(slices.Values(in.Endpoints), compareTasks) {
		e := v.endpoint(t)
		plan.Endpoints = append(plan.Endpoints, e)
		if in.Kept && !t.Serving {
			plan.Idle = append(plan.Idle, t.Task)
		}
		to := e.Address
		if e.Mesh.IsValid() {
			to = e.Mesh // where the task answers from
		}
		told := v.Tables.endpoints[t.Task]
		leaving := told != nil && told.Phase == wire.EndpointLeaving
		for _, p := range t.Ports {
			if t.Serving && (!leaving || p.PublishMode == swarm.PortConfigPublishModeHost) {
				publish(p, t.Publishing, to)
			} else {
				publish(p, t.Publishing)
			}
		}
	}
	slices.SortFunc(plan.Endpoints, compareEndpoints)
	slices.Sort(plan.Idle)
	slices.SortFunc(plan.Published, comparePublished)
	for i := range plan.Published {
		p := &plan.Published[i]
		slices.SortFunc(p.Backends, func(a, b Backend) int {
			return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
		})
		p.Backends = slices.Compact(p.Backends)
	}
	return plan
}

// A view is the tables as one plan looks at them.
type view struct {
	Input
	all     []*wire.Endpoint                     // by task
	of      map[state.ServiceID][]*wire.Endpoint // the same by service
	local   map[state.TaskID]bool                // tasks of this node, and whether they serve
	here    map[state.NetworkID]bool
	joining bool // there are other nodes, and the mesh to them
}

func newView(in Input) view {
	v := view{Input: in, local: map[state.TaskID]bool{}, here: map[state.NetworkID]bool{}, of: map[state.ServiceID][]*wire.Endpoint{}}
	if in.Tables == nil {
		v.Tables = &Tables{}
	}
	for _, id := range slices.Sorted(maps.Keys(v.Tables.endpoints)) {
		e := v.Tables.endpoints[id]
		v.all = append(v.all, e)
		v.of[e.Service] = append(v.of[e.Service], e)
	}
	for _, t := range in.Endpoints {
		v.local[t.Task] = t.Serving
		for _, at := range t.Attachments {
			if _, known := v.Tables.networks[at.Network]; known {
				v.here[at.Network] = true
			}
		}
	}
	v.joining = in.Mesh && v.Tables.mesh.VNI != 0 && len(v.Tables.others(in.Self)) > 0
	return v
}

// serves reports whether names, VIPs and ports may lead to an endpoint. Of a task of
// its own a node knows best when it has ended.
func (v *view) serves(e *wire.Endpoint) bool {
	if e.Node == v.Self {
		return v.local[e.Task] && e.Phase != wire.EndpointLeaving
	}
	return e.Phase == wire.EndpointServing || e.Phase == wire.EndpointLeaving && mutant.On(mutant.LeavingServes)
}

// mesh is what carries traffic between nodes. A node that nothing leads from or to
// has none.
func (v *view) mesh() Mesh {
	var m Mesh
	if !v.joining && len(v.here) == 0 {
		return m
	}
	m.Underlay, m.Port, m.Peers = v.Underlay, v.Tables.mesh.Port, v.Tables.others(v.Self)
	if !v.joining {
		return m
	}
	m.VNI, m.Subnet, m.Address = v.Tables.mesh.VNI, v.Tables.mesh.Subnet, v.Tables.peers[v.Self].Mesh
	m.Routes = make([]Route, 0, len(v.all))
	for _, e := range v.all {
		if at := v.Tables.behind(e.Node); e.Node != v.Self && e.Mesh.IsValid() && at.IsValid() {
			m.Routes = append(m.Routes, Route{Address: e.Mesh, Underlay: at})
		}
	}
	if len(m.Routes) == 0 {
		m.Routes = nil
	}
	slices.SortFunc(m.Routes, compareRoutes)
	return m
}

// networks are the overlays that tasks of this node are on.
func (v *view) networks() []Network {
	var list []Network
	for _, id := range slices.Sorted(maps.Keys(v.here)) {
		o := v.Tables.networks[id]
		n := Network{ID: string(id), Name: o.Name, VNI: o.VNI, Subnets: o.Subnets, Internal: o.Internal}
		for _, e := range v.all {
			at := v.Tables.behind(e.Node)
			if e.Node == v.Self || !at.IsValid() {
				continue
			}
			for i, a := range on(e, id) {
				r := Route{Address: a, Underlay: at}
				if i > 0 {
					r.First = on(e, id)[0]
				}
				n.Remote = append(n.Remote, r)
			}
		}
		slices.SortFunc(n.Remote, compareRoutes)
		v.balance(&n, id)
		v.name(&n, id)
		list = append(list, n)
	}
	return list
}

// balance puts the services with an address of their own into a network.
func (v *view) balance(n *Network, id state.NetworkID) {
	for _, service := range slices.Sorted(maps.Keys(v.Tables.services)) {
		s := v.Tables.services[service]
		at := vip(&s, id)
		if !at.IsValid() {
			continue
		}
		b := Balanced{VIP: at}
		for _, e := range v.of[service] {
			if a := on(e, id); len(a) > 0 && v.serves(e) {
				b.Backends = append(b.Backends, a[0])
			}
		}
		slices.SortFunc(b.Backends, netip.Addr.Compare)
		n.Balanced = append(n.Balanced, b)
	}
	slices.SortFunc(n.Balanced, func(a, b Balanced) int { return a.VIP.Compare(b.VIP) })
}

// name puts names into a network: of services and their aliases the VIP, or where
// there is none the tasks; tasks.NAME the tasks; and every container's own.
func (v *view) name(n *Network, id state.NetworkID) {
	names := map[string][]netip.Addr{}
	add := func(name string, addresses ...netip.Addr) {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		names[name] = append(names[name], addresses...)
	}
	for _, service := range slices.Sorted(maps.Keys(v.Tables.services)) {
		s := v.Tables.services[service]
		i := slices.IndexFunc(s.Aliases, func(a wire.Aliases) bool { return a.Network == id })
		if i < 0 {
			continue
		}
		for _, name := range append([]string{s.Name}, s.Aliases[i].Names...) {
			if at := vip(&s, id); at.IsValid() {
				add(name, at)
			} else {
				add(name)
			}
		}
	}
	for _, e := range v.all {
		addresses := on(e, id)
		s, known := v.Tables.services[e.Service]
		if len(addresses) == 0 || !known {
			continue
		}
		slot := string(e.Node)
		if e.Slot > 0 {
			slot = strconv.FormatUint(e.Slot, 10)
		}
		add(s.Name+"."+slot+"."+string(e.Task), addresses...)
		add(state.ContainerID(e.Task)[:containerNameDigits], addresses...)
		if !v.serves(e) {
			continue
		}
		add("tasks."+s.Name, addresses...)
		add(s.Name+"."+slot, addresses...)
		i := slices.IndexFunc(s.Aliases, func(a wire.Aliases) bool { return a.Network == id })
		if i < 0 || vip(&s, id).IsValid() {
			continue
		}
		for _, name := range append([]string{s.Name}, s.Aliases[i].Names...) {
			add(name, addresses...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		addresses := names[name]
		slices.SortFunc(addresses, func(a, b netip.Addr) int { return a.Compare(b) }) // IPv4 comes first
		n.Names = append(n.Names, Name{Name: name, Addresses: slices.Compact(addresses)})
	}
}

// endpoint is the place of a task of this node.
func (v *view) endpoint(t Task) Endpoint {
	e := Endpoint{Task: t.Task, Address: t.Address}
	if v.joining && v.Tables.mesh.Subnet.Contains(t.Mesh) {
		e.Mesh = t.Mesh
	}
	for _, at := range t.Attachments {
		if v.here[at.Network] {
			e.Attachments = append(e.Attachments, Attachment{Network: string(at.Network), Addresses: at.Addresses})
		}
	}
	slices.SortFunc(e.Attachments, func(a, b Attachment) int { return cmp.Compare(a.Network, b.Network) })
	if len(e.Attachments) > 0 {
		e.Resolver.Upstream = t.DNS
	}
	return e
}

// elsewhere calls publish for every port of a service that all nodes publish, with
// the tasks of other nodes that it leads to.
func (v *view) elsewhere(publish func(port swarm.PortConfig, how state.Publishing, backends []netip.Addr)) {
	if !v.joining {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(v.Tables.services)) {
		s := v.Tables.services[id]
		if len(s.Ports) == 0 {
			continue
		}
		remote := make([]netip.Addr, 0, len(v.of[id]))
		for _, e := range v.of[id] {
			if e.Node != v.Self && e.Mesh.IsValid() && v.Tables.behind(e.Node).IsValid() && v.serves(e) {
				remote = append(remote, e.Mesh)
			}
		}
		for _, port := range s.Ports {
			publish(port, s.Publishing, remote)
		}
	}
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

func validPort(port uint32) bool { return port > 0 && port <= 65535 }
