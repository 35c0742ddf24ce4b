package sim

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// Every event and effect of the engine's has a name of its own in a trace, the same
// in every world.
func TestTraceNamesEverything(t *testing.T) {
	events := []engine.Event{
		engine.Started{},
		engine.Woken{},
		engine.ClockAdjusted{},
		engine.Called{},
		engine.ForwardReturned{},
		engine.AuthorityCreated{},
		engine.RootMade{},
		engine.Certified{},
		engine.Renewed{},
		engine.Refounded{},
		engine.Elected{},
		engine.Deposed{},
		engine.VoterChanged{},
		engine.Joined{},
		engine.Unlocked{},
		engine.RoleChanged{},
		engine.LeaderChanged{},
		engine.Committed{},
		engine.Restored{Store: state.NewStore()},
		engine.Verified{},
		engine.Left{},
		engine.Received{},
		engine.ContainersFound{},
		engine.ImagePulled{},
		engine.ContainerCreated{},
		engine.ContainerStarted{},
		engine.ContainerProbed{},
		engine.ContainerExited{},
		engine.ContainerRemoved{},
		engine.NetworkApplied{},
	}
	effects := []engine.Effect{
		engine.Reply{},
		engine.Forward{},
		engine.Publish{},
		engine.CreateAuthority{},
		engine.MakeRoot{},
		engine.Renew{},
		engine.Trust{},
		engine.Refound{},
		engine.Bootstrap{},
		engine.Join{},
		engine.ChangeRole{},
		engine.Lock{},
		engine.Unlock{},
		engine.ChangeVoter{},
		engine.Reach{},
		engine.Leave{},
		engine.Propose{},
		engine.Verify{},
		engine.Send{},
		engine.PullImage{},
		engine.CreateContainer{},
		engine.StartContainer{},
		engine.ProbeContainer{},
		engine.StopContainer{},
		engine.RemoveContainer{},
		engine.ApplyNetwork{},
	}
	var out bytes.Buffer
	trace := newTrace(&out)
	named := map[string]bool{}
	for _, e := range events {
		named[fmt.Sprintf("%T", e)] = true
		trace.event(0, "m1", e)
	}
	for _, f := range effects {
		named[fmt.Sprintf("%T", f)] = true
		trace.effect(0, "m1", f)
	}
	if err := trace.Err(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		if len(words) < 4 || names[words[2]+words[3]] {
			t.Errorf("%q has no name of its own", line)
			continue
		}
		names[words[2]+words[3]] = true
	}
	for _, kind := range append(having(t, "../engine/event.go", "isEvent"), having(t, "../engine/effect.go", "isEffect")...) {
		if !named["engine."+kind] {
			t.Errorf("%s is not tried here, and may have no name", kind)
		}
	}
}

// having are the types of a file that have a method.
func having(t *testing.T, file, method string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == method {
			if receiver, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
				names = append(names, receiver.Name)
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no type in %s has %s", file, method)
	}
	return names
}
