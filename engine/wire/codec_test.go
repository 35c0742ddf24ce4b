package wire_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// messages are one of each kind, with everything in it that it can have.
func messages() []wire.Message {
	task := &state.Task{
		ID: "t1", Meta: state.Meta{Version: 7, Created: 100, Updated: 200}, Service: "s1", Slot: 3, Template: 5, Node: "n1",
		Desired: state.TaskRunning, Status: state.TaskStatus{State: state.TaskAssigned, At: 150, Message: "scheduler assigned task to node"},
	}
	sibling := *task
	sibling.ID, sibling.Slot = "t2", 4
	template := &state.Template{
		Service: "s1", Version: 5, ServiceName: "web",
		Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx:alpine", Env: []string{"A=1"}}},
	}
	return []wire.Message{
		wire.Hello{Session: 9, Addr: "10.0.0.1", ManagerAddr: "10.0.0.1:2377", Description: swarm.NodeDescription{Hostname: "a", Platform: swarm.Platform{OS: "linux"}}},
		wire.Hello{Session: 9, Addr: "10.0.0.1", DataPath: "192.0.2.1"},
		wire.Heartbeat{Session: 9, Sequence: 1 << 40, Reports: 3, Index: 8, Applied: 7},
		wire.Report{Session: 9, Number: 2, Statuses: []wire.Status{
			{Task: "t1", Status: state.TaskStatus{State: state.TaskFailed, At: 300, Message: "failed", Err: "task: non-zero exit (1)", ExitCode: 1, PID: 12, Container: "c"}},
			{Task: "t2", Status: state.TaskStatus{State: state.TaskRunning, At: 1}},
		}},
		wire.Assign{
			Session: 9, Sequence: 2, Term: 3, Full: true, Period: int64(1e9), Manager: true,
			Managers: []wire.Manager{{ID: "n1", Addr: "10.0.0.1:2377"}},
			Tasks:    []wire.Assignment{{Task: task, Template: template}, {Task: &sibling, Template: template}},
			Keep:     []state.TaskID{"t3"}, Gone: []state.TaskID{"t4", "t5"},
			Tables: &wire.Tables{
				Mesh:     &wire.Mesh{VNI: 4096, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Port: 4789},
				Peers:    []wire.Peer{{Node: "n1", Underlay: netip.MustParseAddr("192.0.2.1"), Mesh: netip.MustParseAddr("10.0.0.2")}, {Node: "n2", Gone: true}},
				Networks: []wire.Network{{ID: "o1", Name: "front", VNI: 4097, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24")}, Internal: true}},
				Services: []wire.Service{{
					ID: "s1", Name: "web", VIPs: []state.VIP{{Network: "o1", Address: netip.MustParsePrefix("10.0.1.2/24")}},
					Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}}, Aliases: []wire.Aliases{{Network: "o1", Names: []string{"www"}}},
				}},
				Endpoints: []wire.Endpoint{
					{
						Task: "t1", Service: "s1", Node: "n1", Slot: 3, Phase: wire.EndpointServing, Mesh: netip.MustParseAddr("10.0.0.4"),
						Attachments: []state.Attachment{{Network: "o1", Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.3"), netip.MustParseAddr("fd00::3")}}},
					},
					{Task: "t2", Service: "s1", Node: "n1"},
					{Task: "t3", Gone: true},
				},
			},
		},
		wire.Applied{Session: 9, Sequence: 4},
		wire.Quit{Session: 9},
		wire.Bye{Session: 9, Leader: "n1", Term: 4, Removed: true},
	}
}

// What is decoded is what was encoded.
func TestRoundTrip(t *testing.T) {
	for _, m := range messages() {
		got, err := wire.Decode(wire.Append(nil, m))
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		if diff := cmp.Diff(m, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%T (-sent +received):\n%s", m, diff)
		}
	}
}

// A message that was cut off anywhere, or has something behind it, is refused: but
// where a field ends that came later, there it is the message without it.
func TestTruncated(t *testing.T) {
	for _, m := range messages() {
		b, before := wire.Append(nil, m), 0
		if hello, ok := m.(wire.Hello); ok && hello.DataPath != "" {
			hello.DataPath = ""
			before = len(wire.Append(nil, hello))
		}
		for n := range b {
			if got, err := wire.Decode(b[:n]); err == nil && n != before {
				t.Errorf("%T: %d of %d bytes decode to %v", m, n, len(b), got)
			}
		}
		if _, err := wire.Decode(append(b, 0)); err == nil {
			t.Errorf("%T: a byte behind it is not noticed", m)
		}
	}
}

// Builds that do not know a field which came later understand who does not need it,
// and are understood.
func TestBefore(t *testing.T) {
	for _, test := range []struct {
		encoded string
		is      wire.Message
	}{
		{"\x01\x09\x0810.0.0.1\x00\x077{\"Platform\":{},\"Resources\":{},\"Engine\":{},\"TLSInfo\":{}}", wire.Hello{Session: 9, Addr: "10.0.0.1", Certificate: 7}},
	} {
		if got := string(wire.Append(nil, test.is)); got != test.encoded {
			t.Errorf("%+v is encoded as %q, before it was %q", test.is, got, test.encoded)
		}
		got, err := wire.Decode([]byte(test.encoded))
		if diff := cmp.Diff(test.is, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", test.encoded, err, diff)
		}
	}
}

// Whatever arrives, decoding it does not panic, and what it decodes to can be
// sent on.
func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(wire.Append(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.Decode(b)
		if err != nil {
			return
		}
		if _, err := wire.Decode(wire.Append(nil, m)); err != nil {
			t.Fatalf("what was decoded cannot be sent on: %v", err)
		}
	})
}
