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

// containerNameDigits is how much of a container's ID is a name of its own.
const containerNameDigits = 12

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
	v.all = v.Tables.order
	for _, e := range v.all {
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

func compareRoutes(a, b Route) int { return a.Address.Compare(b.Address) }

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

// on are the addresses of an endpoint on a network.
func on(e *wire.Endpoint, id state.NetworkID) []netip.Addr {
	for _, at := range e.Attachments {
		if at.Network == id {
			return at.Addresses
		}
	}
	return nil
}

// vip is a service's own address on a network, the zero Addr if it has none.
func vip(s *wire.Service, id state.NetworkID) netip.Addr {
	for _, v := range s.VIPs {
		if v.Network == id {
			return v.Address.Addr()
		}
	}
	return netip.Addr{}
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
