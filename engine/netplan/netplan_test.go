package netplan_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// TestScripts runs the stories in testdata. A plan is made from lines
//
//	TASK ADDRESS [serving] [sticky] [on=ADDRESS] [PUBLISHED:TARGET[/PROTOCOL] …]
//
// "plan" shows it, "change" shows what leads to it from the plan before.
func TestScripts(t *testing.T) {
	var before netplan.Plan
	datadriven.RunTest(t, "testdata/plan.txt", func(t *testing.T, d *datadriven.TestData) string {
		plan := netplan.Make(input(t, d.Input))
		change := netplan.Diff(before, plan)
		before = plan
		if d.Cmd == "plan" {
			return show("", plan.Endpoints) + show("", plan.Published)
		}
		if change.Empty() {
			return "nothing\n"
		}
		return show("lost ", change.Lost) + show("gained ", change.Gained) +
			show("closed ", change.Closed) + show("opened ", change.Opened)
	})
}

func input(t *testing.T, text string) netplan.Input {
	in := netplan.Input{Generation: 1, Gateway: netip.MustParsePrefix("172.31.0.1/16")}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		task := netplan.Task{Task: state.TaskID(words[0]), Address: netip.MustParseAddr(words[1])}
		for _, word := range words[2:] {
			if word == "serving" {
				task.Serving = true
				continue
			}
			if word == "sticky" {
				task.Publishing.Sticky = true
				continue
			}
			if address, ok := strings.CutPrefix(word, "on="); ok {
				task.Publishing.Address = netip.MustParseAddr(address)
				continue
			}
			ports, protocol, _ := strings.Cut(word, "/")
			p := swarm.PortConfig{Protocol: network.IPProtocol(protocol)}
			if _, err := fmt.Sscanf(ports, "%d:%d", &p.PublishedPort, &p.TargetPort); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			task.Ports = append(task.Ports, p)
		}
		in.Endpoints = append(in.Endpoints, task)
	}
	return in
}

func show[T any](what string, list []T) string {
	var b strings.Builder
	for _, x := range list {
		switch x := any(x).(type) {
		case netplan.Endpoint:
			fmt.Fprintf(&b, "%s%s %s\n", what, x.Task, x.Address)
		case netplan.Published:
			b.WriteString(what)
			if x.HostIP.IsValid() {
				fmt.Fprintf(&b, "%s:", x.HostIP)
			}
			fmt.Fprintf(&b, "%d/%s", x.Port, x.Protocol)
			if x.Sticky {
				b.WriteString(" sticky")
			}
			b.WriteString(" ->")
			for _, to := range x.Backends {
				fmt.Fprintf(&b, " %s:%d", to.Address, to.Port)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// TestMake checks that the order of its input does not matter to Make, and that
// Diff leads from any plan to any other.
func TestMake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawn(t, "from"), drawn(t, "to")
		shuffled := to
		shuffled.Endpoints = rapid.Permutation(to.Endpoints).Draw(t, "order")
		plan := netplan.Make(to)
		if diff := cmp.Diff(plan, netplan.Make(shuffled), comparable()...); diff != "" {
			t.Fatalf("the order of tasks changes the plan:\n%s", diff)
		}
		if c := netplan.Diff(plan, plan); !c.Empty() {
			t.Fatalf("a plan differs from itself: %+v", c)
		}
		before := netplan.Make(from)
		if got := apply(before, netplan.Diff(before, plan)); !cmp.Equal(got, kernel(plan), comparable()...) {
			t.Fatalf("the change leads to %v, want %v", got, kernel(plan))
		}
	})
}

func drawn(t *rapid.T, label string) netplan.Input {
	var in netplan.Input
	for i := range rapid.IntRange(0, 5).Draw(t, label) {
		task := netplan.Task{
			Task: state.TaskID(fmt.Sprint("t", i)), Serving: rapid.Bool().Draw(t, "serving"),
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(2, 9).Draw(t, "address"))}),
		}
		for range rapid.IntRange(0, 2).Draw(t, "ports") {
			task.Ports = append(task.Ports, swarm.PortConfig{PublishedPort: uint32(rapid.IntRange(79, 81).Draw(t, "port")), TargetPort: 8080})
		}
		in.Endpoints = append(in.Endpoints, task)
	}
	return in
}

func comparable() []cmp.Option {
	return []cmp.Option{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
}

// kernel is what a plan amounts to: tasks with their addresses, ports with where
// they lead.
func kernel(p netplan.Plan) map[string]string {
	k := make(map[string]string)
	for _, e := range p.Endpoints {
		k[string(e.Task)] = e.Address.String()
	}
	for _, port := range p.Published {
		k[fmt.Sprint(port.Port, port.Protocol)] = fmt.Sprint(port.Backends)
	}
	return k
}

func apply(from netplan.Plan, c netplan.Change) map[string]string {
	k := kernel(from)
	for _, e := range c.Lost {
		delete(k, string(e.Task))
	}
	for _, p := range c.Closed {
		delete(k, fmt.Sprint(p.Port, p.Protocol))
	}
	maps.Copy(k, kernel(netplan.Plan{Endpoints: c.Gained, Published: c.Opened}))
	return k
}
