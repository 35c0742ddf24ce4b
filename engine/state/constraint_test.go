package state_test

import (
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A manager at 10.0.3.7, labelled at both ends, is held against one expression
// of every form.
func TestConstraintMatch(t *testing.T) {
	node := &state.Node{ID: "n1abc", Addr: "10.0.3.7", Manager: true}
	node.Spec.Labels = map[string]string{"disk": "SSD", "Zone.a": "x"}
	node.Description = swarm.NodeDescription{
		Hostname: "Alpha",
		Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"},
		Engine:   swarm.EngineDescription{Labels: map[string]string{"os.release": "12"}},
	}
	for _, c := range []struct {
		expression string
		want       bool
	}{
		{"node.id==N1ABC", true},
		{"NODE.ID == n1abc", true},
		{"node.id != n1abc", false},
		{"node.id==n1", false},
		{"node.hostname==alpha", true},
		{"node.hostname==al*", false}, // no globbing
		{"node.role==manager", true},
		{"node.role!=MANAGER", false},
		{"node.role==worker", false},
		{"node.ip==10.0.3.7", true},
		{"node.ip==10.0.0.0/16", true},
		{"node.ip!=10.0.0.0/16", false},
		{"node.ip!=10.1.0.0/16", true},
		{"node.ip==10.1.0.0/16", false},
		{"node.ip==2001::1", false},
		{"node.ip!=here", false}, // malformed: neither equal nor different
		{"node.platform.os==Linux", true},
		{"node.platform.arch!=aarch64", true},
		{"node.labels.disk==ssd", true},
		{"Node.Labels.disk==ssd", true},
		{"node.labels.Disk==ssd", false}, // names of labels keep their case
		{"node.labels.Zone.a==x", true},
		{"node.labels.none==x", false},
		{"node.labels.none!=x", true},
		{"engine.labels.os.release==12", true},
		{"engine.labels.os.release!=12", false},
		{"node.labels.==x", false},
		{"node.colour==red", false},
		{"node.colour!=red", false}, // an unknown key matches nothing
	} {
		parsed, err := state.ParseConstraints([]string{c.expression})
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		if got := parsed[0].Match(node); got != c.want {
			t.Errorf("%s matches: %v, want %v", c.expression, got, c.want)
		}
	}
}

func TestConstraintMatchUnknownAddress(t *testing.T) {
	for expression, want := range map[string]bool{
		"node.ip==10.0.0.1": false, "node.ip!=10.0.0.1": true,
		"node.ip==0.0.0.0/0": false, "node.ip!=0.0.0.0/0": true,
	} {
		parsed, err := state.ParseConstraints([]string{expression})
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed[0].Match(&state.Node{}); got != want {
			t.Errorf("%s matches a node without address: %v, want %v", expression, got, want)
		}
	}
}

func TestParseConstraintsRefuses(t *testing.T) {
	for expression, want := range map[string]string{
		"node.id=1":        "constraint expected one operator from ==, !=",
		"node.id":          "constraint expected one operator from ==, !=",
		"":                 "constraint expected one operator from ==, !=",
		"no de==x":         "key 'no de' is invalid",
		"==x":              "key '' is invalid",
		"1node==x":         "key '1node' is invalid",
		"node.id==":        "value '' is invalid",
		"node.id===1":      "value '=1' is invalid",
		"node.labels.x==ä": "value 'ä' is invalid",
	} {
		_, err := state.ParseConstraints([]string{"node.role==manager", expression})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", expression, err, want)
		}
	}
}

func FuzzParseConstraints(f *testing.F) {
	f.Add("node.labels.disk == ssd")
	f.Add("node.ip!=10.0.0.0/8")
	f.Add("a!=b==c")
	f.Fuzz(func(t *testing.T, expression string) {
		parsed, err := state.ParseConstraints([]string{expression})
		if err != nil {
			return
		}
		op := "=="
		if parsed[0].Not {
			op = "!="
		}
		again, err := state.ParseConstraints([]string{parsed[0].Key + op + parsed[0].Value})
		if err != nil || again[0] != parsed[0] {
			t.Fatalf("%q parses to %+v, which parses to %+v, %v", expression, parsed[0], again, err)
		}
		parsed[0].Match(&state.Node{})
	})
}
