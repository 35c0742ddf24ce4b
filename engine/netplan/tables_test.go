package netplan_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestTables runs the stories in testdata/tables.txt: what node n1, at 192.0.2.1, is
// told of the swarm's networks and runs itself, and what this changes in the tables of
// its kernel and its resolvers. "show" shows all that is in them.
//
//	tell [full]              what comes, a line each; with gone before it, what goes
//	  mesh VNI SUBNET
//	  peer n2 192.0.2.2 [mesh=10.0.0.3]
//	  network front VNI SUBNET… [internal]
//	  service web [port=80:8080[/udp]]… [vip=front:10.0.1.2/24]… [alias=front:www]…
//	  endpoint t1 web n2 joining|serving|leaving [slot=1] [mesh=10.0.0.9] [front=10.0.1.5[,fd00::5]]…
//	run                      the node's own tasks, all of them
//	  t1 172.31.0.2 [serving] [port=80:8080]… [mesh=…] [front=…]…
//
// Whatever is told bit by bit comes to the same as all that there is, told at once.
func TestTables(t *testing.T) {
	var tables netplan.Tables
	var planner netplan.Planner
	all, before := told{}, ""
	in := netplan.Input{
		Generation: 1, Gateway: netip.MustParsePrefix("172.31.0.1/16"), Self: "n1", Underlay: netip.MustParseAddr("192.0.2.1"), Mesh: true,
	}
	datadriven.RunTest(t, "testdata/tables.txt", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "tell":
			m := &wire.Tables{}
			for line := range strings.Lines(d.Input) {
				line = strings.TrimSpace(line)
				all.note(line)
				tell(t, m, line)
			}
			tables.Update(m, d.HasArg("full"))
			planner.Update(m, d.HasArg("full"))
		case "show":
			return before
		case "run":
			in.Endpoints = nil
			for line := range strings.Lines(d.Input) {
				in.Endpoints = append(in.Endpoints, running(t, strings.Fields(line)))
			}
		default:
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		}
		in.Tables = &tables
		plan := netplan.Make(in)
		if planned, _ := planner.Plan(in); !reflect.DeepEqual(planned, plan) {
			t.Errorf("%s: the planner has another plan:\n%s", d.Pos, cmp.Diff(plan, planned, comparable()...))
		}
		whole := &wire.Tables{}
		for _, line := range all {
			tell(t, whole, line)
		}
		var fresh netplan.Tables
		fresh.Update(whole, true)
		in.Tables = &fresh
		if diff := cmp.Diff(netplan.Make(in), plan, comparable()...); diff != "" {
			t.Errorf("%s: told at once and bit by bit it is another plan:\n%s", d.Pos, diff)
		}
		now := kernelTables(plan)
		defer func() { before = now }()
		return changes(before, now)
	})
}

// changes are the lines that are new, and those that are no more.
func changes(before, now string) string {
	var b strings.Builder
	for line := range strings.Lines(before) {
		if !strings.Contains("\n"+now, "\n"+line) {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(now) {
		if !strings.Contains("\n"+before, "\n"+line) {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}

// told are the lines that hold, in the order in which they came.
type told []string

// note takes a line in: a newer one of the same thing is in the place of the older. With
// a network comes all that is on it, and what was known for its sake before is forgotten.
func (l *told) note(line string) {
	kind := func(line string) string {
		words := strings.Fields(line)
		if words[0] == "mesh" {
			return "mesh"
		}
		return strings.Join(words[:2], " ")
	}
	newest, gone := strings.CutPrefix(line, "gone ")
	known, _, _ := strings.Cut(strings.TrimPrefix(newest, "network "), " ")
	var kept told
	for _, old := range *l {
		forgotten := strings.HasPrefix(newest, "network ") && strings.HasPrefix(old, "endpoint ") &&
			strings.Contains(old, " "+known+"=") && !strings.Contains(old, " mesh=")
		if kind(old) != kind(newest) && !forgotten {
			kept = append(kept, old)
		}
	}
	if !gone {
		kept = append(kept, line)
	}
	*l = kept
}

// tell adds what a line says to a message.
func tell(t *testing.T, m *wire.Tables, line string) {
	t.Helper()
	line, gone := strings.CutPrefix(line, "gone ")
	gone = line != "" && gone
	words := strings.Fields(line)
	switch words[0] {
	case "mesh":
		m.Mesh = &wire.Mesh{}
		if !gone {
			*m.Mesh = wire.Mesh{VNI: number(t, words[1]), Subnet: netip.MustParsePrefix(words[2])}
		}
	case "peer":
		p := wire.Peer{Node: state.NodeID(words[1]), Gone: gone}
		if !gone {
			p.Underlay, p.Mesh = netip.MustParseAddr(words[2]), only(options(words[3:])["mesh"])
		}
		m.Peers = append(m.Peers, p)
	case "network":
		n := wire.Network{ID: state.NetworkID(words[1]), Name: words[1], Gone: gone}
		if !gone {
			n.VNI = number(t, words[2])
			for _, word := range words[3:] {
				if n.Internal = word == "internal"; !n.Internal {
					n.Subnets = append(n.Subnets, netip.MustParsePrefix(word))
				}
			}
		}
		m.Networks = append(m.Networks, n)
	case "service":
		m.Services = append(m.Services, service(t, words[1:], gone))
	case "endpoint":
		m.Endpoints = append(m.Endpoints, endpoint(t, words[1:], gone))
	default:
		t.Fatalf("%q is nothing that a node is told", line)
	}
}

func service(t *testing.T, words []string, gone bool) wire.Service {
	s := wire.Service{ID: state.ServiceID(words[0]), Name: words[0], Gone: gone}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		on, what, _ := strings.Cut(value, ":")
		switch key {
		case "port":
			s.Ports = append(s.Ports, port(t, value))
		case "vip":
			s.VIPs = append(s.VIPs, state.VIP{Network: state.NetworkID(on), Address: netip.MustParsePrefix(what)})
		case "alias":
			s.Aliases = append(s.Aliases, wire.Aliases{Network: state.NetworkID(on), Names: strings.FieldsFunc(what, func(r rune) bool { return r == ',' })})
		}
	}
	return s
}

func endpoint(t *testing.T, words []string, gone bool) wire.Endpoint {
	e := wire.Endpoint{Task: state.TaskID(words[0]), Gone: gone}
	if gone {
		return e
	}
	e.Service, e.Node = state.ServiceID(words[1]), state.NodeID(words[2])
	e.Phase = map[string]wire.Phase{"joining": wire.EndpointJoining, "serving": wire.EndpointServing, "leaving": wire.EndpointLeaving}[words[3]]
	o := options(words[4:])
	e.Mesh, e.Attachments = only(o["mesh"]), attachments(words[4:])
	if slot := o["slot"]; slot != "" {
		e.Slot = uint64(number(t, slot))
	}
	return e
}

// running is a task of the node itself.
func running(t *testing.T, words []string) netplan.Task {
	task := netplan.Task{Task: state.TaskID(words[0]), Address: netip.MustParseAddr(words[1])}
	task.Mesh, task.Attachments = only(options(words[2:])["mesh"]), attachments(words[2:])
	for _, word := range words[2:] {
		if task.Serving = task.Serving || word == "serving"; word == "serving" {
			continue
		}
		if value, ok := strings.CutPrefix(word, "port="); ok {
			task.Ports = append(task.Ports, port(t, value))
		}
	}
	return task
}

func port(t *testing.T, text string) swarm.PortConfig {
	ports, protocol, _ := strings.Cut(text, "/")
	published, target, _ := strings.Cut(ports, ":")
	return swarm.PortConfig{
		Protocol: network.IPProtocol(protocol), PublishedPort: number(t, published), TargetPort: number(t, target), PublishMode: swarm.PortConfigPublishModeIngress,
	}
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func options(words []string) map[string]string {
	o := map[string]string{}
	for _, word := range words {
		if key, value, ok := strings.Cut(word, "="); ok {
			o[key] = value
		}
	}
	return o
}

func only(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a
}

// attachments are the words that are none of the known options: NETWORK=ADDRESSES.
func attachments(words []string) []state.Attachment {
	var list []state.Attachment
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "mesh" || key == "slot" || key == "port" {
			continue
		}
		at := state.Attachment{Network: state.NetworkID(key)}
		for a := range strings.SplitSeq(value, ",") {
			at.Addresses = append(at.Addresses, netip.MustParseAddr(a))
		}
		list = append(list, at)
	}
	return list
}

// kernelTables is all that a plan puts into a kernel and its resolvers.
func kernelTables(p netplan.Plan) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if m := p.Mesh; m.VNI != 0 {
		say("mesh %d %v: this node is %v at %v", m.VNI, m.Subnet, m.Address, m.Underlay)
	}
	for _, peer := range p.Mesh.Peers {
		if peer.Address.IsValid() {
			say("peer %v in the mesh %v", peer.Underlay, peer.Address)
		} else {
			say("peer %v", peer.Underlay)
		}
	}
	for _, r := range p.Mesh.Routes {
		say("route %v via %v", r.Address, r.Underlay)
	}
	for _, n := range p.Networks {
		kind := ""
		if n.Internal {
			kind = ", internal"
		}
		say("network %s: %d %v%s", n.Name, n.VNI, n.Subnets, kind)
		for _, r := range n.Remote {
			if r.First.IsValid() {
				say("%s: neighbour %v via %v, the hardware address is that of %v", n.Name, r.Address, r.Underlay, r.First)
			} else {
				say("%s: neighbour %v via %v", n.Name, r.Address, r.Underlay)
			}
		}
		for _, v := range n.Balanced {
			say("%s: %v -> %v", n.Name, v.VIP, v.Backends)
		}
		for _, name := range n.Names {
			say("%s: %s is %v", n.Name, name.Name, name.Addresses)
		}
	}
	for _, e := range p.Endpoints {
		fmt.Fprintf(&b, "endpoint %s %v", e.Task, e.Address)
		if e.Mesh.IsValid() {
			fmt.Fprintf(&b, " mesh %v", e.Mesh)
		}
		for _, a := range e.Attachments {
			fmt.Fprintf(&b, " %s %v", a.Network, a.Addresses)
		}
		b.WriteByte('\n')
	}
	for _, port := range p.Published {
		fmt.Fprintf(&b, "port %d/%s ->", port.Port, port.Protocol)
		for _, to := range port.Backends {
			fmt.Fprintf(&b, " %s:%d", to.Address, to.Port)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
