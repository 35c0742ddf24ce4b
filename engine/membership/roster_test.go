package membership_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
)

// TestRoster judges bearers of certificates as a store changes.
//
//	commit NODE role=… [key=…] [trust=N] [log]   a commit writes a node
//	commit NODE gone                             a commit removes it
//	judge NODE [manager] version=N [key=…]       what a certificate is worth
func TestRoster(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{store: state.NewStore()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return w.command(t, d) })
	})
}

type world struct {
	store  *state.Store
	roster membership.Roster
}

func (w *world) command(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	node := state.NodeID(d.CmdArgs[0].Key)
	arg := func(name string) string {
		value := ""
		if d.HasArg(name) {
			d.ScanArgs(t, name, &value)
		}
		return value
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(arg(name), 10, 64)
		return n
	}
	switch d.Cmd {
	case "commit":
		draft := w.store.Draft()
		if draft.Cluster() == nil {
			draft.PutCluster(&state.Cluster{ID: "c"})
		}
		if d.HasArg("gone") {
			draft.DeleteNode(node)
		} else {
			draft.PutNode(&state.Node{
				ID: node, Spec: swarm.NodeSpec{Role: swarm.NodeRole(arg("role"))}, Key: []byte(arg("key")), Trust: number("trust"), Manager: d.HasArg("log"),
			})
		}
		delta := w.store.Apply(draft.Version(), draft.Changes())
		w.roster.Apply(membership.RosterDelta(&delta, w.store.Index()))
		return fmt.Sprintf("index %d", w.store.Index())
	case "restore":
		w.roster.Apply(membership.RosterOf(w.store.Draft()))
		return "as before"
	case "judge":
		v := w.roster.Judge(membership.Bearer{Node: node, Manager: d.HasArg("manager"), Key: []byte(arg("key")), Version: number("version")})
		var may []string
		for what, has := range map[string]bool{"1 member": v.Member, "2 manager": v.Manager, "3 log": v.Log} {
			if has {
				may = append(may, what)
			}
		}
		if len(may) == 0 {
			may = []string{"0 nothing"}
		}
		return strings.TrimSpace(sorted(may) + ": " + v.Why)
	default:
		t.Fatalf("%s: no command is called %s", d.Pos, d.Cmd)
		return ""
	}
}

func sorted(words []string) string {
	out := make([]string, 4)
	for _, w := range words {
		out[w[0]-'0'] = w[2:]
	}
	return strings.Join(strings.Fields(strings.Join(out, " ")), " ")
}

// Whatever its life and whenever it is looked at, a certificate is renewed once,
// between half and four fifths of its life, if it is not older already.
func TestRenewal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(time.Hour), int64(10_000*time.Hour)).Draw(t, "life"))
		age := time.Duration(rapid.Int64Range(0, int64(2*life)).Draw(t, "age"))
		draw := rapid.Uint64Range(0, 300).Draw(t, "draw")
		now, wall := time.Unix(1000, 0), state.Wall(1e18)
		var r membership.Renewal
		r.Certified(membership.Certificate{Version: 1, From: wall.Add(-age), Until: wall.Add(life - age)}, now, wall, func(uint64) uint64 { return draw })
		at := r.Wake().Sub(now) + age
		switch {
		case age >= life*8/10 && at != age:
			t.Fatalf("one of age %v of %v is renewed at age %v", age, life, at)
		case age < life/2 && (at < life/2-time.Second || at > life*8/10+time.Second):
			t.Fatalf("one that lives for %v is renewed at age %v", life, at)
		}
		if r.Begin(r.Wake().Add(-time.Nanosecond)) || !r.Begin(r.Wake()) || r.Begin(now.Add(10*life)) || !r.Wake().IsZero() {
			t.Fatal("it is not renewed once, when it is due")
		}
		r.End(true, now)
		if r.Begin(now) || !r.Begin(now.Add(5*time.Second)) {
			t.Fatal("one that failed is not tried again after 5 s")
		}
	})
}
