package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// plan reads a plan from lines as the scripts have them:
//
//	gateway PREFIX
//	kept [IDLE...]
//	mesh UNDERLAY [VNI SUBNET ADDRESS]
//	peer UNDERLAY [ADDRESS]
//	route ADDRESS UNDERLAY
//	network ID VNI SUBNET[,SUBNET] [internal]
//	remote ID ADDRESS UNDERLAY [FIRST]
//	vip ID ADDRESS BACKEND...
//	name ID NAME ADDRESS...
//	endpoint TASK ADDRESS|- [mesh=ADDRESS] [dns=ADDRESS] [ID=ADDRESS[,ADDRESS]]...
//	publish [ADDRESS:]PORT/PROTOCOL [sticky] BACKEND...
func (l *lab) plan(text string) netplan.Plan {
	l.t.Helper()
	l.generation++
	p := netplan.Plan{Generation: l.generation}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !readLine(l.t, &p, words[0], words[1:]) {
			l.t.Fatalf("a line of a plan does not begin with %q", words[0])
		}
	}
	return p
}

func readLine(t testing.TB, p *netplan.Plan, verb string, words []string) bool {
	t.Helper()
	address := netip.MustParseAddr
	switch verb {
	case "gateway":
		p.Gateway = netip.MustParsePrefix(words[0])
	case "kept":
		p.Kept = true
		for _, w := range words {
			p.Idle = append(p.Idle, state.TaskID(w))
		}
	case "mesh":
		p.Mesh.Underlay = address(words[0])
		if len(words) > 1 {
			fmt.Sscan(words[1], &p.Mesh.VNI)
			p.Mesh.Subnet, p.Mesh.Address = netip.MustParsePrefix(words[2]), address(words[3])
		}
	case "peer":
		peer := netplan.Peer{Underlay: address(words[0])}
		if len(words) > 1 {
			peer.Address = address(words[1])
		}
		p.Mesh.Peers = append(p.Mesh.Peers, peer)
	case "route":
		p.Mesh.Routes = append(p.Mesh.Routes, netplan.Route{Address: address(words[0]), Underlay: address(words[1])})
	case "endpoint":
		p.Endpoints = append(p.Endpoints, readEndpoint(words))
	case "publish":
		p.Published = append(p.Published, published(words[0], words[1:]))
	case "network":
		n := netplan.Network{ID: words[0], Name: words[0] + "-net", Internal: slices.Contains(words, "internal")}
		fmt.Sscan(words[1], &n.VNI)
		for s := range strings.SplitSeq(words[2], ",") {
			n.Subnets = append(n.Subnets, netip.MustParsePrefix(s))
		}
		p.Networks = append(p.Networks, n)
	default:
		return readMember(t, p, verb, words)
	}
	return true
}

// readMember reads a line that adds to a network.
func readMember(t testing.TB, p *netplan.Plan, verb string, words []string) bool {
	t.Helper()
	i := slices.IndexFunc(p.Networks, func(n netplan.Network) bool { return n.ID == words[0] })
	if i < 0 {
		return false
	}
	n := &p.Networks[i]
	switch verb {
	case "remote":
		r := netplan.Route{Address: netip.MustParseAddr(words[1]), Underlay: netip.MustParseAddr(words[2])}
		if len(words) > 3 {
			r.First = netip.MustParseAddr(words[3])
		}
		n.Remote = append(n.Remote, r)
	case "vip":
		n.Balanced = append(n.Balanced, netplan.Balanced{VIP: netip.MustParseAddr(words[1]), Backends: readAddresses(words[2:])})
	case "name":
		n.Names = append(n.Names, netplan.Name{Name: words[1], Addresses: readAddresses(words[2:])})
	default:
		return false
	}
	return true
}

func readAddresses(words []string) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		out = append(out, netip.MustParseAddr(w))
	}
	return out
}

func readEndpoint(words []string) netplan.Endpoint {
	e := netplan.Endpoint{Task: state.TaskID(words[0])}
	if words[1] != "-" {
		e.Address = netip.MustParseAddr(words[1])
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		addresses := readAddresses(strings.Split(value, ","))
		switch key {
		case "mesh":
			e.Mesh = addresses[0]
		case "dns":
			e.Resolver.Upstream = addresses
		default:
			e.Attachments = append(e.Attachments, netplan.Attachment{Network: key, Addresses: addresses})
		}
	}
	return e
}

// published reads [address:]port/protocol, sticky and the backends.
func published(where string, backends []string) netplan.Published {
	var p netplan.Published
	if len(backends) > 0 && backends[0] == "sticky" {
		p.Sticky, backends = true, backends[1:]
	}
	number, protocol, _ := strings.Cut(where, "/")
	if at, err := netip.ParseAddrPort(number); err == nil {
		p.HostIP, p.Port = at.Addr(), at.Port()
	} else {
		fmt.Sscan(number, &p.Port)
	}
	p.Protocol = protocol
	for _, b := range backends {
		to := netip.MustParseAddrPort(b)
		p.Backends = append(p.Backends, netplan.Backend{Address: to.Addr(), Port: to.Port()})
	}
	return p
}
