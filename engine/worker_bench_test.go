package engine_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// BenchmarkWorkerTold is what it costs a node to be told that one endpoint among many
// has changed: the step that takes it in and asks for the network, and the one that
// hears that it is made.
func BenchmarkWorkerTold(b *testing.B) {
	for _, size := range []struct{ services, replicas int }{{10, 10}, {1000, 10}} {
		b.Run(fmt.Sprintf("services=%d,replicas=%d", size.services, size.replicas), func(b *testing.B) {
			m := toldOf(size.services, size.replicas)
			tell := workerTold(m)
			i := 0
			for b.Loop() {
				e := m.Endpoints[i/2%len(m.Endpoints)]
				if e.Phase = wire.EndpointLeaving; i%2 == 1 {
					e.Phase = wire.EndpointServing
				}
				i++
				if p := tell(&wire.Tables{Endpoints: []wire.Endpoint{e}}); len(p.Published) != size.services {
					b.Fatalf("%d ports are published", len(p.Published))
				}
			}
		})
	}
}

// workerTold is a worker that has been told m. It is told more by what is returned, which
// returns the plan that this leads to.
func workerTold(m *wire.Tables) func(*wire.Tables) netplan.Plan {
	var n engine.Node
	now := time.Unix(1e9, 0)
	var session, sequence uint64
	for _, f := range n.Step(now, engine.Started{
		Identity: engine.Identity{Node: "n00", Cluster: "c", Addr: "192.0.2.1:2377"},
		Managers: []wire.Manager{{ID: "n01", Addr: "192.0.2.2:2377"}}, Mesh: true,
	}).Effects {
		if send, ok := f.(engine.Send); ok {
			session = send.Message.(wire.Hello).Session
		}
	}
	n.Step(now, engine.ContainersFound{})
	tell := func(m *wire.Tables) netplan.Plan {
		sequence++
		var plan netplan.Plan
		for _, f := range n.Step(now, engine.Received{From: "n01", Message: wire.Assign{
			Session: session, Sequence: sequence, Term: 1, Full: sequence == 1, Period: int64(5 * time.Second), Tables: m,
		}}).Effects {
			if apply, ok := f.(engine.ApplyNetwork); ok {
				plan = apply.Plan
			}
		}
		n.Step(now, engine.NetworkApplied{Generation: plan.Generation})
		return plan
	}
	tell(m)
	return tell
}

// toldOf is what a node is told of services whose tasks run on nine others.
func toldOf(services, replicas int) *wire.Tables {
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
	return m
}
