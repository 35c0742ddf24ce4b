package control

import (
	"cmp"
	"crypto/sha256"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// The numbers of networks in packets between nodes. They are Docker's: the ingress
// network has the first, the others the lowest that is free.
const (
	vniIngress uint32 = 4096
	vniFirst   uint32 = 4097
	vniLast    uint32 = 1<<24 - 1
)

// poolBase is where subnets come from when the swarm was not given pools.
const poolBase = "10.0.0.0/8"

// Subnets that a network may have.
const (
	subnetBitsMax  = 29 // of IPv4: smaller ones leave too few addresses
	subnetBitsMax6 = 125
	poolIPv6Bits   = 64
)

// allocate gives a network its number, and the subnets that its spec leaves open.
func (a *admission) allocate(n *state.Network) *Failed {
	number, free := freeVNI(a.d, n.Spec.Ingress)
	if !free {
		return unmet("no network number is free: remove a network first")
	}
	n.VNI = number
	var v4, v6 netip.Prefix
	for _, c := range n.Spec.IPAMOptions.Configs {
		at := gatewayOf(c.Subnet)
		if c.Gateway.IsValid() {
			at = netip.PrefixFrom(c.Gateway, c.Subnet.Bits())
		}
		if at.Addr().Is4() {
			v4 = at
		} else {
			v6 = at
		}
	}
	if !v4.IsValid() {
		subnet, free := freeSubnet(a.d)
		if !free {
			return unmet("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")
		}
		v4 = gatewayOf(subnet)
	}
	n.Subnets = []netip.Prefix{v4}
	if n.Spec.IPv6Enabled {
		if !v6.IsValid() {
			v6 = gatewayOf(localSubnet(a.d.Cluster().ID, n.VNI))
		}
		n.Subnets = append(n.Subnets, v6)
	}
	return nil
}

// freeVNI finds the lowest number that no network has, be it one that is going.
func freeVNI(d *state.Draft, ingress bool) (uint32, bool) {
	used := map[uint32]bool{}
	for n := range d.Networks() {
		used[n.VNI] = true
	}
	first := vniFirst
	if ingress && !used[vniIngress] {
		first = vniIngress
	}
	for number := first; number <= vniLast; number++ {
		if !used[number] {
			return number, true
		}
	}
	return 0, false
}

// freeSubnet finds the first subnet of the swarm's pools that none of a network
// overlaps.
func freeSubnet(d *state.Draft) (netip.Prefix, bool) {
	bits, pools := subnetSizeDefault, []string{poolBase}
	if c := d.Cluster(); c != nil {
		bits = int(cmp.Or(c.SubnetSize, subnetSizeDefault))
		if len(c.DefaultAddrPool) > 0 {
			pools = c.DefaultAddrPool
		}
	}
	var taken []netip.Prefix
	for n := range d.Networks() {
		if n.Removed && mutant.On(mutant.SubnetGivenTwice) {
			continue
		}
		for _, s := range n.Subnets {
			taken = append(taken, s.Masked())
		}
	}
	for _, text := range pools {
		pool, err := netip.ParsePrefix(text)
		if err != nil || pool.Bits() > bits {
			continue
		}
		at := netip.PrefixFrom(pool.Masked().Addr(), bits)
		for pool.Contains(at.Addr()) {
			i := slices.IndexFunc(taken, at.Overlaps)
			if i < 0 {
				return at, true
			}
			past := at // what lies behind the larger of the two is tried next
			if taken[i].Bits() < bits {
				past = taken[i]
			}
			next, more := following(past)
			if !more {
				break
			}
			at = netip.PrefixFrom(next, bits)
		}
	}
	return netip.Prefix{}, false
}

// following is the first address behind a subnet; there may be none.
func following(p netip.Prefix) (netip.Addr, bool) {
	b := p.Masked().Addr().AsSlice()
	host := len(b)*8 - p.Bits()
	for i := len(b) - 1 - host/8; i >= 0; i-- { // add one above the host's bits
		step := byte(1)
		if i == len(b)-1-host/8 {
			step = 1 << (host % 8)
		}
		if b[i] += step; b[i] >= step {
			next, _ := netip.AddrFromSlice(b)
			return next, true
		}
	}
	return netip.Addr{}, false
}

// gatewayOf is a subnet with the address of its gateway, the first.
func gatewayOf(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Masked().Addr().Next(), subnet.Bits())
}

// localSubnet is a network's own subnet of IPv6: a unique local one, whose global
// identifier follows from the swarm's and whose number is the network's.
func localSubnet(cluster state.ClusterID, number uint32) netip.Prefix {
	sum := sha256.Sum256([]byte("unique local addresses of " + cluster))
	b := [16]byte{0: 0xfd, 6: byte(number >> 8), 7: byte(number)}
	copy(b[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), poolIPv6Bits)
}

// validatePools checks the subnets of a network by themselves, in Docker's words.
func validatePools(spec *swarm.NetworkSpec) *Failed {
	if spec.IPAMOptions == nil {
		return nil
	}
	bad := func(format string, args ...any) *Failed {
		return plain(Invalid, "invalid network config:\n"+format, args...)
	}
	seen := map[bool]bool{}
	for _, c := range spec.IPAMOptions.Configs {
		s := c.Subnet
		if !s.IsValid() {
			if c.Range.IsValid() || c.Gateway.IsValid() {
				return bad("a subnet must be given with a gateway or an ip-range")
			}
			continue
		}
		most := subnetBitsMax
		if s.Addr().Is6() {
			most = subnetBitsMax6
		}
		switch {
		case s != s.Masked():
			return bad("invalid subnet %s: it should be %s", s, s.Masked())
		case s.Bits() == 0 || s.Bits() > most:
			return bad("invalid subnet %s: its prefix must have 1 to %d bits", s, most)
		case s.Addr().Is6() && !spec.IPv6Enabled:
			return bad("invalid subnet %s: IPv6 is not enabled on the network; create it with --ipv6", s)
		case seen[s.Addr().Is6()]:
			return unserved("networks of several subnets of one family", "give one subnet")
		case c.Range.IsValid() && c.Range != c.Range.Masked():
			return bad("invalid ip-range %s: it should be %s", c.Range, c.Range.Masked())
		case c.Range.IsValid() && (c.Range.Bits() < s.Bits() || !s.Contains(c.Range.Addr())):
			return bad("invalid ip-range %s: parent subnet %s doesn't contain ip-range", c.Range, s)
		case c.Gateway.IsValid() && (!s.Contains(c.Gateway) || c.Gateway == s.Addr()):
			return bad("invalid gateway %s: parent subnet %s doesn't contain this address", c.Gateway, s)
		}
		seen[s.Addr().Is6()] = true
	}
	return nil
}

// poolsFree refuses subnets that overlap with those of another network. Docker takes
// them, and the network then never works.
func (a *admission) poolsFree(spec *swarm.NetworkSpec) *Failed {
	if spec.IPAMOptions == nil {
		return nil
	}
	for _, c := range spec.IPAMOptions.Configs {
		for n := range a.d.Networks() {
			for _, s := range n.Subnets {
				if c.Subnet.IsValid() && s.Masked().Overlaps(c.Subnet) {
					return plain(Forbidden, "invalid pool request: Pool overlaps with other one on this address space: %s is part of network %s (%s)", s.Masked(), n.Spec.Name, n.ID)
				}
			}
		}
	}
	return nil
}
