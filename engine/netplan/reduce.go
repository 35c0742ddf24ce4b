package netplan

import (
	"net/netip"
	"slices"
)

// Reduce returns the network that a plan asks for where last was planned before it:
// the plan itself, unless it is Kept and there was one before. Neither is changed.
func Reduce(last, to Plan) Plan {
	if !to.Kept || !last.Gateway.IsValid() {
		to.Kept, to.Idle = false, nil
		return to
	}
	out := last
	out.Generation, out.Endpoints = to.Generation, nil
	dead := make(map[place]bool)
	merge(last.Endpoints, to.Endpoints, compareEndpoints,
		func(gone Endpoint) { gone.places(dead) },
		func(unknown Endpoint) { out.Endpoints = append(out.Endpoints, unknown) },
		func(old, now Endpoint) {
			out.Endpoints = append(out.Endpoints, old)
			if _, idle := slices.BinarySearch(to.Idle, now.Task); idle {
				old.places(dead)
			}
		})
	out.Published = slices.Clone(last.Published)
	for i, p := range out.Published {
		out.Published[i].Backends = slices.DeleteFunc(slices.Clone(p.Backends), func(b Backend) bool { return dead[place{"", b.Address}] })
	}
	out.Networks = slices.Clone(last.Networks)
	for i := range out.Networks {
		out.Networks[i].reduce(dead)
	}
	return out
}

// A place is an address on a network, or of the host if that is empty.
type place struct {
	network string
	address netip.Addr
}

// places adds where an endpoint is.
func (e Endpoint) places(to map[place]bool) {
	to[place{"", e.Address}], to[place{"", e.Mesh}] = true, true
	for _, at := range e.Attachments {
		for _, a := range at.Addresses {
			to[place{at.Network, a}] = true
		}
	}
}

// reduce takes places out of what leads there; a name stays, and is nobody's.
func (n *Network) reduce(dead map[place]bool) {
	without := func(list []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return dead[place{n.ID, a}] })
	}
	n.Balanced = slices.Clone(n.Balanced)
	for i, b := range n.Balanced {
		n.Balanced[i].Backends = without(b.Backends)
	}
	n.Names = slices.Clone(n.Names)
	for i, name := range n.Names {
		n.Names[i].Addresses = without(name.Addresses)
	}
}
