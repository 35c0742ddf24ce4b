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

// swarmOf is what a node is told of a swarm of many services, whose tasks run on
// other nodes.
func swarmOf(services, replicas int) netplan.Input {
	tables := &netplan.Tables{}
	m := &wire.Tables{Mesh: &wire.Mesh{Subnet: netip.MustParsePrefix("10.0.0.0/16"), VNI: 4096}}
	node := func(i int) state.NodeID { return state.NodeID(fmt.Sprintf("n%02d", i)) }
	for i := range 10 {
		m.Peers = append(m.Peers, wire.Peer{Node: node(i), Underlay: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Mesh: netip.AddrFrom4([4]byte{10, 0, 255, byte(i + 1)})})
	}
	for s := range services {
		id := state.ServiceID(fmt.Sprintf("s%05d", s))
		m.Services = append(m.Services, wire.Service{ID: id, Name: string(id), Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: uint32(10000 + s)}}})
		for r := range replicas {
			k := s*replicas + r
			m.Endpoints = append(m.Endpoints, wire.Endpoint{
				Task: state.TaskID(fmt.Sprintf("t%06d", k)), Service: id, Node: node(1 + k%9), Slot: uint64(r + 1), Phase: wire.EndpointServing,
				Mesh: netip.AddrFrom4([4]byte{10, 0, byte(k >> 8), byte(k)}),
			})
		}
	}
	tables.Update(m, true)
	return netplan.Input{Gateway: netip.MustParsePrefix("172.31.0.1/16"), Self: node(0), Underlay: netip.MustParseAddr("192.0.2.1"), Mesh: true, Tables: tables}
}

// BenchmarkMake is what one change costs before the kernel hears of it.
func BenchmarkMake(b *testing.B) {
	for _, size := range []struct{ services, replicas int }{{10, 5}, {1000, 10}} {
		in := swarmOf(size.services, size.replicas)
		b.Run(fmt.Sprintf("services=%d,replicas=%d", size.services, size.replicas), func(b *testing.B) {
			for b.Loop() {
				if p := netplan.Make(in); len(p.Published) != size.services {
					b.Fatal(len(p.Published))
				}
			}
		})
	}
}
