package netplan

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// containerNameDigits is how much of a container's ID is a name of its own.
const containerNameDigits = 12

// An overlay is what a planner has derived of a network that tasks of this node are
// on.
type overlay struct {
	id       state.NetworkID
	anew     bool // nobody has compared it with the plan before yet
	remote   set[Route]
	balanced parts[netip.Addr, netip.Addr, Balanced]
	names    parts[string, netip.Addr, Name]
}

// look opens a network that is known and that tasks of this node are on, and closes
// another.
func (p *Planner) look(id state.NetworkID) {
	d, t := p.d, &p.tables
	if d.attached[id] == 0 || !t.knows(id) {
		d.close(id)
		return
	}
	if d.overlays[id] != nil {
		return
	}
	o := &overlay{id: id, anew: true}
	i, _ := slices.BinarySearch(d.here, id)
	d.overlays[id], d.here, d.moved = o, slices.Insert(d.here, i, id), true
	for _, service := range t.servicesOn[id] {
		s := t.services[service]
		o.service(&s, +1)
	}
	for _, task := range t.onNetwork[id] {
		p.on(o, t.endpoints[task], +1)
	}
}

func (d *derivation) close(id state.NetworkID) {
	if i, open := slices.BinarySearch(d.here, id); open {
		d.here, d.moved = slices.Delete(d.here, i, i+1), true
		delete(d.overlays, id)
	}
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

// called are the names of a service on a network, if it is on it.
func called(s *wire.Service, id state.NetworkID) []string {
	for _, a := range s.Aliases {
		if a.Network == id {
			return append([]string{s.Name}, a.Names...)
		}
	}
	return nil
}

// service puts what a service is by itself: its own address, and names that stand for
// it.
func (o *overlay) service(s *wire.Service, by int) {
	var own []netip.Addr
	if at := vip(s, o.id); at.IsValid() {
		o.balanced.at(at).said += by
		own = append(own, at)
	}
	for _, name := range called(s, o.id) {
		o.say(name, own, by)
	}
}

// on puts what an endpoint is on a network: a neighbour, a backend of its service,
// and what it is called. A service's names are those of the tasks where it has no
// address of its own; tasks.NAME always.
func (p *Planner) on(o *overlay, e *wire.Endpoint, by int) {
	addresses := on(e, o.id)
	if at := p.tables.behind(e.Node); e.Node != p.d.self && at.IsValid() {
		for i, a := range addresses {
			r := Route{Address: a, Underlay: at}
			if i > 0 {
				r.First = addresses[0]
			}
			o.remote.put(r, by)
		}
	}
	s, known := p.tables.services[e.Service]
	if len(addresses) == 0 || !known {
		return
	}
	slot := string(e.Node)
	if e.Slot > 0 {
		slot = strconv.FormatUint(e.Slot, 10)
	}
	o.say(s.Name+"."+slot+"."+string(e.Task), addresses, by)
	o.say(state.ContainerID(e.Task)[:containerNameDigits], addresses, by)
	if !p.serves(e) {
		return
	}
	o.say("tasks."+s.Name, addresses, by)
	o.say(s.Name+"."+slot, addresses, by)
	if at := vip(&s, o.id); at.IsValid() {
		o.balanced.at(at).to.put(addresses[0], by)
		return
	}
	for _, name := range called(&s, o.id) {
		o.say(name, addresses, by)
	}
}

// say puts a name.
func (o *overlay) say(name string, addresses []netip.Addr, by int) {
	x := o.names.at(strings.TrimSuffix(strings.ToLower(name), "."))
	x.said += by
	for _, a := range addresses {
		x.to.put(a, by)
	}
}

// settle brings its lists up to date.
func (o *overlay) settle() {
	o.remote.settle(compareRoutes)
	o.balanced.settle(order[netip.Addr, netip.Addr, Balanced]{
		keys: netip.Addr.Compare, places: netip.Addr.Compare,
		values: func(a, b Balanced) int { return a.VIP.Compare(b.VIP) },
		made:   func(at netip.Addr, to []netip.Addr) Balanced { return Balanced{VIP: at, Backends: to} },
	})
	o.names.settle(order[string, netip.Addr, Name]{
		keys: strings.Compare, places: netip.Addr.Compare, // IPv4 comes first
		values: func(a, b Name) int { return strings.Compare(a.Name, b.Name) },
		made:   func(name string, to []netip.Addr) Name { return Name{Name: name, Addresses: to} },
	})
}

// reuse takes the lists of the same network in the plan before, where they are equal.
func (o *overlay) reuse(last *Network) {
	if !o.anew {
		return
	}
	o.anew = false
	reuse(&o.remote.list, last.Remote, func(a, b Route) bool { return a == b })
	reuse(&o.balanced.list, last.Balanced, func(a, b Balanced) bool { return a.VIP == b.VIP && slices.Equal(a.Backends, b.Backends) })
	reuse(&o.names.list, last.Names, func(a, b Name) bool { return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses) })
}
