package netplan_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// toldOf is what a node is told of a swarm of many services, whose tasks run on
// other nodes; all are on one network.
func toldOf(services, replicas int) *wire.Tables {
	m := &wire.Tables{
		Mesh:     &wire.Mesh{Subnet: netip.MustParsePrefix("10.0.0.0/16"), VNI: 4096},
		Networks: []wire.Network{{ID: "o", Name: "front", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
	}
	node := func(i int) state.NodeID { return state.NodeID(fmt.Sprintf("n%02d", i)) }
	for i := range 10 {
		m.Peers = append(m.Peers, wire.Peer{Node: node(i), Underlay: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Mesh: netip.AddrFrom4([4]byte{10, 0, 255, byte(i + 1)})})
	}
	for s := range services {
		id := state.ServiceID(fmt.Sprintf("s%05d", s))
		m.Services = append(m.Services, wire.Service{
			ID: id, Name: string(id), Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: uint32(10000 + s)}},
			Aliases: []wire.Aliases{{Network: "o"}}, VIPs: []state.VIP{{Network: "o", Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(100 + s>>8), byte(s)}), 16)}},
		})
		for r := range replicas {
			k := s*replicas + r
			m.Endpoints = append(m.Endpoints, wire.Endpoint{
				Task: state.TaskID(fmt.Sprintf("t%06d", k)), Service: id, Node: node(1 + k%9), Slot: uint64(r + 1), Phase: wire.EndpointServing,
				Mesh:        netip.AddrFrom4([4]byte{10, 0, byte(k >> 8), byte(k)}),
				Attachments: []state.Attachment{{Network: "o", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(k >> 8), byte(k)})}}},
			})
		}
	}
	return m
}

// inputOf is a node that has one task of its own, which may be on the network.
func inputOf(network bool) netplan.Input {
	task := netplan.Task{Task: "t", Address: netip.MustParseAddr("172.31.0.2"), Serving: true}
	if network {
		task.Attachments = []state.Attachment{{Network: "o", Addresses: []netip.Addr{netip.MustParseAddr("10.1.200.1")}}}
	}
	return netplan.Input{
		Gateway: netip.MustParsePrefix("172.31.0.1/16"), Self: "n00", Underlay: netip.MustParseAddr("192.0.2.1"), Mesh: true, Endpoints: []netplan.Task{task},
	}
}

// BenchmarkMake is what a plan from scratch costs.
func BenchmarkMake(b *testing.B) {
	each(b, func(b *testing.B, m *wire.Tables, in netplan.Input) {
		in.Tables = &netplan.Tables{}
		in.Tables.Update(m, true)
		for b.Loop() {
			if p := netplan.Make(in); len(p.Published) != len(m.Services) {
				b.Fatal(len(p.Published))
			}
		}
	})
}

// BenchmarkPlanPhase is what it costs that one endpoint is to be led to no more, or
// again.
func BenchmarkPlanPhase(b *testing.B) {
	change(b, func(e wire.Endpoint, again bool) []wire.Endpoint {
		if e.Phase = wire.EndpointLeaving; again {
			e.Phase = wire.EndpointServing
		}
		return []wire.Endpoint{e}
	})
}

// BenchmarkPlanMove is what it costs that one endpoint goes, and another comes in its
// place.
func BenchmarkPlanMove(b *testing.B) {
	change(b, func(e wire.Endpoint, again bool) []wire.Endpoint {
		other := e
		other.Task, other.Mesh = e.Task+"x", netip.AddrFrom4([4]byte{10, 0, 254, 1})
		other.Attachments = []state.Attachment{{Network: "o", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 254, 1})}}}
		if again {
			e, other = other, e
		}
		return []wire.Endpoint{{Task: e.Task, Gone: true}, other}
	})
}

func change(b *testing.B, news func(e wire.Endpoint, again bool) []wire.Endpoint) {
	each(b, func(b *testing.B, m *wire.Tables, in netplan.Input) {
		var p netplan.Planner
		p.Update(m, true)
		p.Plan(in)
		i := 0
		for b.Loop() {
			p.Update(&wire.Tables{Endpoints: news(m.Endpoints[i/2%len(m.Endpoints)], i%2 == 1)}, false)
			i++
			if _, changed := p.Plan(in); !changed {
				b.Fatal("nothing has changed")
			}
		}
	})
}

func each(b *testing.B, run func(b *testing.B, m *wire.Tables, in netplan.Input)) {
	for _, size := range []struct{ services, replicas int }{{10, 5}, {1000, 10}} {
		for _, network := range []bool{false, true} {
			b.Run(fmt.Sprintf("services=%d,replicas=%d,network=%t", size.services, size.replicas, network), func(b *testing.B) {
				run(b, toldOf(size.services, size.replicas), inputOf(network))
			})
		}
	}
}
