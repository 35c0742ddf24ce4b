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
		if r.Begin(now) || !r.Begin(now.Add(time.Second)) {
			t.Fatal("one that failed is not tried again after a second")
		}
	})
}

// One that fails again and again is tried ever more seldom, and soon after it has
// succeeded once.
func TestRenewalRetries(t *testing.T) {
	now := time.Unix(1000, 0)
	var r membership.Renewal
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		r.End(true, now)
		if got := r.Wake().Sub(now); got != want {
			t.Errorf("it is tried again after %v, want %v", got, want)
		}
	}
	r.End(false, now)
	r.End(true, now)
	if got := r.Wake().Sub(now); got != time.Second {
		t.Errorf("after one that succeeded it is tried again after %v", got)
	}
}

// What the time of day is worth: a certificate that a renewal has brought is new,
// whatever the clock says; of another the clock says how old it is, unless it is
// wrong for certain; and one that has expired since the clock was set is no use.
func TestRenewalClocks(t *testing.T) {
	const life = 100 * time.Hour
	issued, now := state.Wall(1e18), time.Unix(1000, 0)
	cert := membership.Certificate{Version: 1, From: issued, Until: issued.Add(life)}
	half := func(uint64) uint64 { return 0 }
	for _, c := range []struct {
		name    string
		renewed bool
		clock   time.Duration // how far it is from when the certificate was issued
		want    time.Duration
	}{
		{"just issued", false, 0, 50 * time.Hour},
		{"a clock that is a little behind", false, -time.Minute, 50 * time.Hour},
		{"half of its time", false, 25 * time.Hour, 25 * time.Hour},
		{"expired", false, 200 * time.Hour, 0},
		{"a clock without a battery", false, -400_000 * time.Hour, 0},
		{"renewed, and the clock is ahead", true, 90 * time.Hour, 50 * time.Hour},
		{"renewed, and the clock is behind", true, -90 * time.Hour, 50 * time.Hour},
	} {
		var r membership.Renewal
		if c.renewed {
			r.Want(1, now, half)
			r.Certified(membership.Certificate{}, now, issued, half)
			if !r.Begin(now) {
				t.Fatal("a certificate that is too old is not renewed")
			}
		}
		r.Certified(cert, now, issued.Add(c.clock), half)
		r.End(false, now)
		if got := r.Wake().Sub(now); got != c.want {
			t.Errorf("%s: renewed after %v, want %v", c.name, got, c.want)
		}
	}
	var r membership.Renewal
	r.Certified(cert, now, issued, half)
	for _, c := range []struct{ clock, want time.Duration }{{99 * time.Hour, 50 * time.Hour}, {-99 * time.Hour, 50 * time.Hour}, {100 * time.Hour, 0}} {
		r.Adjusted(now, issued.Add(c.clock), half)
		if got := r.Wake().Sub(now); got != c.want {
			t.Errorf("the clock is set to %v: renewed after %v, want %v", c.clock, got, c.want)
		}
	}
}
