package netplan_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Whatever a planner is told, and whatever runs, its plan is what the same comes to
// from scratch; it knows whether that is another plan; and no plan changes once it
// has been returned.
func TestPlanner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var planner netplan.Planner
		var tables netplan.Tables
		var plain netplan.PlainTables
		var last netplan.Plan
		var returned []netplan.Plan
		var was []string
		in := netplan.Input{Self: "n0", Gateway: netip.MustParsePrefix("172.31.0.1/16"), Underlay: netip.MustParseAddr("192.0.2.1"), Mesh: true}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "told") > 0 {
				m, full := drawNews(t), rapid.IntRange(0, 9).Draw(t, "full") == 0
				planner.Update(m, full)
				tables.Update(m, full)
				plain.Update(m, full)
			}
			drawInput(t, &in)
			if rapid.IntRange(0, 3).Draw(t, "more first") == 0 {
				continue
			}
			in.Generation++
			got, changed := planner.Plan(in)
			from := in
			from.Tables = plain.Tables()
			want := netplan.Plainly(from)
			from.Tables = &tables
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("(-from scratch +planner):\n%s", cmp.Diff(want, got, comparable()...))
			}
			if made := netplan.Make(from); !reflect.DeepEqual(made, want) {
				t.Fatalf("(-plainly +made):\n%s", cmp.Diff(want, made, comparable()...))
			}
			returned, was = append(returned, got), append(was, fmt.Sprintf("%+v", got))
			got.Generation = 0
			if is := !reflect.DeepEqual(got, last); is != changed {
				t.Fatalf("that it has changed is %t, and said to be %t:\n%s", is, changed, cmp.Diff(last, got, comparable()...))
			}
			last = got
		}
		for i, plan := range returned {
			if is := fmt.Sprintf("%+v", plan); is != was[i] {
				t.Fatalf("a plan was changed after it had been returned:\n%s\n%s", was[i], is)
			}
		}
	})
}

// What has not changed is shared by plans: whoever compares them sees quickly that it
// is the same.
func TestPlannerShares(t *testing.T) {
	same := func(what string, shared, want bool) {
		t.Helper()
		if shared != want {
			t.Errorf("%s: shared is %t, want %t", what, shared, want)
		}
	}
	var p netplan.Planner
	m, in := toldOf(3, 2), inputOf(true)
	p.Update(m, true)
	a, _ := p.Plan(in)
	e := m.Endpoints[2] // of the second service
	e.Phase = wire.EndpointLeaving
	p.Update(&wire.Tables{Endpoints: []wire.Endpoint{e}}, false)
	b, changed := p.Plan(in)
	same("an endpoint that is led to no more", !changed, false)
	same("ports", &a.Published[0] == &b.Published[0], false)
	for i, of := range []string{"a service", "the endpoint's service", "another service"} {
		same("where the port leads of "+of, &a.Published[i].Backends[0] == &b.Published[i].Backends[0], i != 1)
		same("where the address leads of "+of, &a.Networks[0].Balanced[i].Backends[0] == &b.Networks[0].Balanced[i].Backends[0], i != 1)
	}
	same("routes", &a.Mesh.Routes[0] == &b.Mesh.Routes[0], true)
	same("peers", &a.Mesh.Peers[0] == &b.Mesh.Peers[0], true)
	same("endpoints", &a.Endpoints[0] == &b.Endpoints[0], true)
	same("neighbours", &a.Networks[0].Remote[0] == &b.Networks[0].Remote[0], true)
	same("names", &a.Networks[0].Names[0] == &b.Networks[0].Names[0], false)

	m.Endpoints[2] = e
	p.Update(m, true)
	c, changed := p.Plan(in)
	same("what is told all over again", !changed, true)
	same("ports", &b.Published[0] == &c.Published[0], true)
	same("routes", &b.Mesh.Routes[0] == &c.Mesh.Routes[0], true)
	same("networks", &b.Networks[0] == &c.Networks[0], true)
}

// drawInput changes what a plan is made from beside what the node is told.
func drawInput(t *rapid.T, in *netplan.Input) {
	switch rapid.IntRange(0, 12).Draw(t, "input") {
	case 0:
		in.Kept = !in.Kept
	case 1:
		in.Mesh = !in.Mesh
	case 2:
		in.Underlay = in.Underlay.Next()
	case 3:
		in.Self = drawNode(t)
	case 4, 5, 6, 7:
		in.Endpoints = nil
		for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, 7), rapid.ID).Draw(t, "run") {
			in.Endpoints = append(in.Endpoints, drawTask(t, i))
		}
	case 8, 9:
		if len(in.Endpoints) > 0 {
			in.Endpoints = slices.Clone(in.Endpoints)
			task := &in.Endpoints[rapid.IntRange(0, len(in.Endpoints)-1).Draw(t, "task")]
			task.Serving = !task.Serving
		}
	}
}

func drawNode(t *rapid.T) state.NodeID {
	return state.NodeID(fmt.Sprint("n", rapid.IntRange(0, 4).Draw(t, "node")))
}

func drawTask(t *rapid.T, i int) netplan.Task {
	task := netplan.Task{
		Task: state.TaskID(fmt.Sprint("t", i)), Address: netip.AddrFrom4([4]byte{172, 31, 0, byte(2 + i)}), Serving: rapid.Bool().Draw(t, "serving"),
		Ports: drawPorts(t), Publishing: drawPublishing(t), Attachments: drawAttachments(t, i), Mesh: drawMesh(t, i),
	}
	if rapid.Bool().Draw(t, "dns") {
		task.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	}
	return task
}

func drawPorts(t *rapid.T) []swarm.PortConfig {
	var ports []swarm.PortConfig
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		ports = append(ports, swarm.PortConfig{
			Protocol:      rapid.SampledFrom([]network.IPProtocol{"", "tcp", "udp"}).Draw(t, "protocol"),
			PublishedPort: uint32(rapid.SampledFrom([]int{0, 80, 81, 1 << 16}).Draw(t, "published")), TargetPort: uint32(rapid.IntRange(8080, 8081).Draw(t, "target")),
			PublishMode: rapid.SampledFrom([]swarm.PortConfigPublishMode{swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost}).Draw(t, "mode"),
		})
	}
	return ports
}

func drawPublishing(t *rapid.T) state.Publishing {
	how := state.Publishing{Sticky: rapid.Bool().Draw(t, "sticky")}
	if rapid.Bool().Draw(t, "host IP") {
		how.Address = netip.MustParseAddr("192.0.2.77")
	}
	return how
}

// drawMesh is one of the addresses that nobody but a task has; one is of another subnet.
func drawMesh(t *rapid.T, i int) netip.Addr {
	variant := rapid.IntRange(0, 3).Draw(t, "mesh")
	if variant == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(variant), byte(i)})
}

// drawAttachments are with addresses that nobody but a task has.
func drawAttachments(t *rapid.T, i int) []state.Attachment {
	var list []state.Attachment
	for _, o := range rapid.SliceOfNDistinct(rapid.IntRange(0, 2), 0, 2, rapid.ID).Draw(t, "on") {
		at := state.Attachment{Network: state.NetworkID(fmt.Sprint("o", o))}
		variant := rapid.IntRange(0, 4).Draw(t, "place")
		if variant > 0 {
			at.Addresses = append(at.Addresses, netip.AddrFrom4([4]byte{10, byte(1 + o), byte(variant), byte(i)}))
		}
		if variant > 2 {
			at.Addresses = append(at.Addresses, netip.AddrFrom16([16]byte{0xfd, byte(o), 14: byte(variant), 15: byte(i)}))
		}
		list = append(list, at)
	}
	return list
}

func drawNews(t *rapid.T) *wire.Tables {
	m := &wire.Tables{}
	gone := func() bool { return rapid.IntRange(0, 3).Draw(t, "gone") == 0 }
	few := func(label string, least int) int { return max(0, rapid.IntRange(least, 4).Draw(t, label)) }
	if rapid.IntRange(0, 5).Draw(t, "mesh") == 0 {
		m.Mesh = &wire.Mesh{
			VNI: uint32(rapid.SampledFrom([]int{0, 4096, 4096, 4096}).Draw(t, "VNI")), Port: uint16(rapid.IntRange(0, 1).Draw(t, "port")),
			Subnet: netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), rapid.SampledFrom([]int{16, 22, 23}).Draw(t, "bits")),
		}
	}
	for range few("peers", -2) {
		p := wire.Peer{Node: drawNode(t), Gone: gone()}
		if at := rapid.IntRange(0, 6).Draw(t, "at"); at > 0 { // two may say the same
			p.Underlay = netip.AddrFrom4([4]byte{192, 0, 2, byte(at)})
		}
		if rapid.Bool().Draw(t, "in the mesh") {
			p.Mesh = netip.AddrFrom4([4]byte{10, 0, 3, p.Node[1]})
		}
		m.Peers = append(m.Peers, p)
	}
	for range few("networks", -3) {
		id := fmt.Sprint("o", rapid.IntRange(0, 2).Draw(t, "network"))
		m.Networks = append(m.Networks, wire.Network{
			ID: state.NetworkID(id), Name: "net" + id, VNI: 5000, Gone: gone(), Internal: rapid.Bool().Draw(t, "internal"),
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		})
	}
	for range few("services", -1) {
		m.Services = append(m.Services, drawService(t, gone()))
	}
	for range few("endpoints", 0) {
		i := rapid.IntRange(0, 11).Draw(t, "task")
		e := wire.Endpoint{Task: state.TaskID(fmt.Sprint("t", i)), Gone: gone()}
		if !e.Gone {
			e.Service, e.Node = state.ServiceID(fmt.Sprint("s", rapid.IntRange(0, 3).Draw(t, "of"))), drawNode(t)
			e.Slot, e.Phase = uint64(rapid.IntRange(0, 2).Draw(t, "slot")), wire.Phase(rapid.IntRange(0, 2).Draw(t, "phase"))
			e.Attachments, e.Mesh = drawAttachments(t, i), drawMesh(t, i)
		}
		m.Endpoints = append(m.Endpoints, e)
	}
	return m
}

// drawService has services of which some have the same name or the same ports, and
// none an address of another.
func drawService(t *rapid.T, gone bool) wire.Service {
	i := rapid.IntRange(0, 3).Draw(t, "service")
	s := wire.Service{ID: state.ServiceID(fmt.Sprint("s", i)), Gone: gone}
	if gone {
		return s
	}
	s.Name, s.Ports, s.Publishing = rapid.SampledFrom([]string{"web", "Web", "db."}).Draw(t, "name"), drawPorts(t), drawPublishing(t)
	for o := range 3 {
		on := state.NetworkID(fmt.Sprint("o", o))
		what := rapid.IntRange(0, 5).Draw(t, "on")
		if what&1 != 0 {
			s.VIPs = append(s.VIPs, state.VIP{Network: on, Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + o), 100, byte(i)}), 24)})
		}
		if what > 1 {
			s.Aliases = append(s.Aliases, wire.Aliases{Network: on, Names: rapid.SampledFrom([][]string{nil, {"www"}, {"db", "tasks.web"}}).Draw(t, "aliases")})
		}
	}
	return s
}
