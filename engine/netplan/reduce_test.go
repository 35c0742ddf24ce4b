package netplan_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// What is kept is what was planned before, but for what leads to tasks that have
// ended, or are not to be led to; a network of the same subnet is another place.
func TestReduce(t *testing.T) {
	at := netip.MustParseAddr
	list := func(texts ...string) []netip.Addr {
		out := []netip.Addr{}
		for _, text := range texts {
			out = append(out, at(text))
		}
		return out
	}
	on := func(id string, a ...string) []netplan.Attachment {
		return []netplan.Attachment{{Network: id, Addresses: list(a...)}}
	}
	published := func(to ...string) []netplan.Published {
		p := netplan.Published{Protocol: "tcp", Port: 80, Backends: []netplan.Backend{}}
		for _, a := range list(to...) {
			p.Backends = append(p.Backends, netplan.Backend{Address: a, Port: 8080})
		}
		return []netplan.Published{p}
	}
	network := func(id string, vip []netip.Addr, name []netip.Addr) netplan.Network {
		return netplan.Network{ID: id, Balanced: []netplan.Balanced{{VIP: at("10.0.1.2"), Backends: vip}}, Names: []netplan.Name{{Name: "tasks.web", Addresses: name}}}
	}
	alive := netplan.Endpoint{Task: "alive", Address: at("172.31.0.2"), Mesh: at("10.0.0.2"), Attachments: on("red", "10.0.1.3")}
	dead := netplan.Endpoint{Task: "dead", Address: at("172.31.0.3"), Mesh: at("10.0.0.3"), Attachments: on("red", "10.0.1.4", "fd00::4")}
	idle := netplan.Endpoint{Task: "idle", Address: at("172.31.0.4"), Mesh: at("10.0.0.4"), Attachments: on("blue", "10.0.1.3")}
	fresh := netplan.Endpoint{Task: "fresh", Address: at("172.31.0.5")}
	last := netplan.Plan{
		Generation: 7, Gateway: netip.MustParsePrefix("172.31.0.1/16"), Mesh: netplan.Mesh{VNI: 4096, Address: at("10.0.0.200")},
		Endpoints: []netplan.Endpoint{alive, dead, idle},
		Networks: []netplan.Network{
			network("blue", list("10.0.1.3", "10.0.1.9"), list("10.0.1.3")),
			network("red", list("10.0.1.3", "10.0.1.4", "10.0.1.9"), list("10.0.1.4", "10.0.1.9", "fd00::4")),
		},
		Published: published("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.99"),
	}
	bare := func(e netplan.Endpoint) netplan.Endpoint { return netplan.Endpoint{Task: e.Task, Address: e.Address} }
	kept := netplan.Plan{
		Generation: 1, Kept: true, Gateway: last.Gateway,
		Endpoints: []netplan.Endpoint{bare(alive), fresh, bare(idle)}, Idle: []state.TaskID{"idle"}, Published: published("172.31.0.2"),
	}
	want := last
	want.Generation, want.Endpoints = 1, []netplan.Endpoint{alive, fresh, idle}
	want.Published = published("10.0.0.2", "10.0.0.99")
	want.Networks = []netplan.Network{
		network("blue", list("10.0.1.9"), list()),
		network("red", list("10.0.1.3", "10.0.1.9"), list("10.0.1.9")),
	}
	before := cmp.Diff(netplan.Plan{}, last, comparable()...)
	if diff := cmp.Diff(want, netplan.Reduce(last, kept), comparable()...); diff != "" {
		t.Errorf("what is kept:\n%s", diff)
	}
	if after := cmp.Diff(netplan.Plan{}, last, comparable()...); after != before {
		t.Error("the plan before was changed")
	}
	alone := kept
	alone.Kept, alone.Idle = false, nil
	if diff := cmp.Diff(alone, netplan.Reduce(netplan.Plan{}, kept), comparable()...); diff != "" {
		t.Errorf("with nothing before it:\n%s", diff)
	}
	if diff := cmp.Diff(alone, netplan.Reduce(last, alone), comparable()...); diff != "" {
		t.Errorf("a plan that is whole:\n%s", diff)
	}
}
