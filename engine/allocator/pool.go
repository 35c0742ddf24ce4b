package allocator

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine/state"
)

// A pool is the addresses of one subnet. What is used says who has it: a task, a
// service or a node.
type pool struct {
	network *state.Network
	subnet  netip.Prefix
	gateway netip.Addr
	within  netip.Prefix // those that are given out: the subnet, or a part of it
	used    map[netip.Addr]string
	last    netip.Addr // that was given out
	full    bool       // none was free when one was last wanted, and none has been given up
	// stuck are the tasks that found it full, in the order in which they came.
	stuck []state.TaskID
}

func newPool(n *state.Network, at netip.Prefix) *pool {
	p := &pool{network: n, subnet: at.Masked(), gateway: at.Addr(), within: at.Masked(), used: map[netip.Addr]string{}}
	if o := n.Spec.IPAMOptions; o != nil {
		for _, c := range o.Configs {
			if c.Range.IsValid() && c.Subnet == p.subnet {
				p.within = c.Range.Masked()
			}
		}
	}
	p.last = p.within.Addr().Prev()
	return p
}

// give finds a free address: the next one behind that which was given last, so that
// none is used again soon.
func (p *pool) give(owner string) (netip.Addr, bool) {
	if p.full {
		return netip.Addr{}, false
	}
	at := p.last
	for wrapped := 0; wrapped < 2; {
		at = at.Next()
		if !p.within.Contains(at) {
			at = p.within.Addr().Prev()
			if wrapped++; !at.IsValid() {
				at = p.within.Addr()
			}
			continue
		}
		if _, used := p.used[at]; !used && p.usable(at) {
			p.used[at], p.last = owner, at
			return at, true
		}
	}
	p.full = true
	return netip.Addr{}, false
}

// usable reports whether an address is anybody's to have: the first of a subnet is
// none, nor is of IPv4 the last.
func (p *pool) usable(a netip.Addr) bool {
	switch {
	case a == p.gateway, a == p.subnet.Addr():
		return false
	default:
		return a.Is6() || p.subnet.Contains(a.Next())
	}
}

// take notes that an address is used; it stays with who has it. What is given next
// is behind all that are used: what was given up last under another leader is not
// known.
func (p *pool) take(a netip.Addr, owner string) {
	if _, used := p.used[a]; used {
		return
	}
	p.used[a] = owner
	if p.last.Less(a) && p.within.Contains(a) {
		p.last = a
	}
}

// free gives an address up, if it is the owner's.
func (p *pool) free(a netip.Addr, owner string) bool {
	if p.used[a] != owner {
		return false
	}
	delete(p.used, a)
	p.full = false
	return true
}
