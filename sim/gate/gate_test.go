package gate_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/sim/gate"
)

var errAny = errors.New("it failed")

func identity() engine.Identity {
	return engine.Identity{Node: "n1", Cluster: "c", Addr: "10.0.0.1:2377", Manager: true}
}

func managers() []wire.Manager { return []wire.Manager{{ID: "n1", Addr: "10.0.0.1:2377"}} }

func entry() state.Entry {
	return state.Entry{
		Proposal: state.ProposalID{Term: 3, Seq: 7}, Base: 11,
		Changes: []state.Change{{Key: state.Key{Kind: state.KindService, ID: "s"}, Data: []byte{1, 2}}, {Key: state.Key{Kind: state.KindTask, ID: "t"}}},
	}
}

// events are one of each that passes, with something in every part.
func events() []engine.Event {
	return []engine.Event{
		engine.Started{},
		engine.Woken{},
		engine.Deposed{},
		engine.Left{},
		engine.ClockAdjusted{Offset: time.Hour},
		engine.Called{Request: 5, Call: control.ServiceRemove{Ref: "website"}, Forwarded: true},
		engine.ForwardReturned{Request: 5, Answer: control.Failed{Kind: control.NotFound, Message: "gone"}},
		engine.RootMade{Request: 5, Root: control.Root{Cert: []byte("c"), Key: []byte("k")}},
		engine.Certified{Certificate: membership.Certificate{Version: 2, From: 3, Until: 4}},
		engine.Renewed{Err: errAny},
		engine.Refounded{Identity: identity(), Err: errAny},
		engine.Elected{Term: 4, Voters: []membership.Member{{Node: "n1", Standing: membership.Voter}}},
		engine.VoterChanged{Member: membership.Member{Node: "n2", Standing: membership.Nonvoter}, Err: errAny},
		engine.Joined{Identity: identity(), Managers: managers(), Err: errAny},
		engine.Unlocked{Managers: managers(), Err: errAny},
		engine.RoleChanged{Identity: identity(), Err: errAny},
		engine.LeaderChanged{Leader: "n1"},
		engine.Committed{Index: 9, Entry: entry()},
		engine.Restored{Store: state.NewStore()},
		engine.Verified{ID: 8, Err: errAny},
		engine.Received{From: "n2", Message: wire.Heartbeat{Session: 1, Sequence: 2}},
		engine.ContainersFound{Containers: []agent.Found{{}}},
		engine.ImagePulled{Task: "t", Err: errAny},
		engine.ContainerCreated{Task: "t", Err: errAny},
		engine.ContainerStarted{Task: "t", PID: 77, Err: errAny},
		engine.ContainerProbed{Task: "t", Healthy: true, Output: "ok"},
		engine.ContainerExited{Task: "t", Code: 137, OOM: true, Err: errAny},
		engine.ContainerRemoved{Task: "t", Err: errAny},
		engine.NetworkApplied{Generation: 6, Failed: map[state.TaskID]string{"t": "no room"}, Err: errAny},
	}
}

// effects are one of each that passes.
func effects() []engine.Effect {
	return []engine.Effect{
		engine.Reply{Request: 5, Answer: control.Failed{Kind: control.NotFound, Message: "gone"}},
		engine.Forward{Request: 5, To: "n2", Call: control.ServiceRemove{Ref: "website"}},
		engine.Publish{Events: []control.Event{{}}},
		engine.MakeRoot{Request: 5, Root: control.NewRoot{Key: []byte("k")}},
		engine.Renew{},
		engine.Trust{Change: membership.RosterChange{Gone: []state.NodeID{"n3"}}},
		engine.Refound{Addr: "10.0.0.1:2377"},
		engine.Join{Remotes: []string{"10.0.0.2:2377"}, Token: "SWMTKN", Addr: "10.0.0.1:2377", Availability: swarm.NodeAvailabilityDrain},
		engine.ChangeRole{Manager: true},
		engine.Lock{Key: []byte("k"), Version: 3},
		engine.Unlock{Key: []byte("k")},
		engine.ChangeVoter{Change: membership.Change{Member: membership.Member{Node: "n2", Standing: membership.Voter}, Addr: "10.0.0.2:2377"}},
		engine.Reach{Managers: managers()},
		engine.Leave{},
		engine.Propose{Entry: entry()},
		engine.Verify{ID: 8},
		engine.Send{To: "n2", Message: wire.Heartbeat{Session: 1, Sequence: 2}},
		engine.PullImage{Pull: agent.Pull{Task: "t", Image: "nginx"}},
		engine.CreateContainer{Create: agent.Create{Container: agent.Container{Task: "t"}}},
		engine.StartContainer{Start: agent.Start{Task: "t"}},
		engine.ProbeContainer{Probe: agent.Probe{Task: "t"}},
		engine.StopContainer{Stop: agent.Stop{Task: "t", Grace: time.Second}},
		engine.RemoveContainer{Remove: agent.Remove{Task: "t"}},
		engine.ApplyNetwork{Plan: netplan.Plan{Generation: 4}},
	}
}

// What passes between world and guest arrives as it was sent: every event and every
// effect of the engine's, but those of a swarm's founding, which is done outside.
func TestEverythingPasses(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range events() {
		seen[name(e)] = true
		b, err := gate.AppendEvent(nil, e)
		if err != nil {
			t.Errorf("%T: %v", e, err)
			continue
		}
		got, err := gate.DecodeEvent(b)
		compare(t, e, got, err)
	}
	missing(t, "isEvent", seen, "AuthorityCreated")
	seen = map[string]bool{}
	for _, f := range effects() {
		seen[name(f)] = true
		b, err := gate.AppendEffect(nil, f)
		if err != nil {
			t.Errorf("%T: %v", f, err)
			continue
		}
		got, err := gate.DecodeEffect(b)
		compare(t, f, got, err)
	}
	missing(t, "isEffect", seen, "CreateAuthority", "Bootstrap")
}

// What the world tells of a step arrives too, however the event is named in it.
func TestStepsPass(t *testing.T) {
	for _, s := range []gate.Step{
		{Wake: 12, Event: engine.Elected{Term: 4}, Effects: effects()},
		{Posted: true, Effects: effects()[:1]},
		{Called: 300},
	} {
		b, err := gate.AppendStep(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := gate.DecodeStep(b[1:])
		compare(t, s, got, err)
		for n := range len(b) - 1 { // cut short it is no step, or one with less in it
			if got, err := gate.DecodeStep(b[1 : 1+n]); err == nil && len(got.Effects) >= len(s.Effects) && len(s.Effects) > 0 {
				t.Errorf("the first %d of %d bytes are taken for all of it", n, len(b)-1)
			}
		}
	}
}

// What is no event or effect is an error.
func TestRubbish(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, {255}, {255, 1, 2}} {
		if e, err := gate.DecodeEvent(b); err == nil {
			t.Errorf("%v is taken for %T", b, e)
		}
		if f, err := gate.DecodeEffect(b); err == nil {
			t.Errorf("%v is taken for %T", b, f)
		}
	}
	if b, err := gate.AppendEvent(nil, engine.AuthorityCreated{}); err == nil {
		t.Errorf("AuthorityCreated is written as %v", b)
	}
}

func name(v any) string {
	_, after, _ := strings.Cut(reflect.TypeOf(v).String(), ".")
	return after
}

func compare(t *testing.T, want, got any, err error) {
	t.Helper()
	text := cmp.Transformer("text", func(err error) string { return fmt.Sprint(err) })
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), text, cmp.Comparer(sameStore), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); diff != "" || err != nil {
		t.Errorf("%T is not what it was: %v\n%s", want, err, diff)
	}
}

func sameStore(a, b *state.Store) bool { return a.Hash() == b.Hash() }

// missing complains of types of the engine's with that method that were not seen.
func missing(t *testing.T, method string, seen map[string]bool, others ...string) {
	t.Helper()
	found := map[string]bool{}
	for _, file := range []string{"../../engine/event.go", "../../engine/effect.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == method {
				if receiver, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
					found[receiver.Name] = true
				}
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no type has %s", method)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !seen[name] && !slices.Contains(others, name) {
			t.Errorf("%s is not tried here, and may not pass", name)
		}
	}
}
