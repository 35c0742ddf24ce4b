package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/plan"
	"github.com/swarmd/swarmd/sim/script"
)

// hashes runs all scenarios and returns the hash of the trace of each.
func hashes(t *testing.T, args ...string) map[string]string {
	t.Helper()
	args = append(append([]string{"run", "--json"}, args...), "../../scenarios", "../../scenarios/regress")
	out, errs, _ := swarmsim(t, args...)
	all := map[string]string{}
	for line := range strings.Lines(out) {
		var r report
		if json.Unmarshal([]byte(line), &r) == nil && r.Trace != "" {
			all[r.File] = r.Trace
		}
	}
	if len(all) == 0 {
		t.Fatalf("swarmsim %v tells of no run:\n%s", args, errs)
	}
	return all
}

// What is said about a run, and what runs beside it, does not change it.
func TestOutputChangesNothing(t *testing.T) {
	quiet, loud := hashes(t, "--jobs", "1"), hashes(t, "--verbose", "--jobs", "4")
	for file, hash := range quiet {
		if loud[file] != hash {
			t.Errorf("%s has the hash %s; with --verbose and others beside it %q", file, hash, loud[file])
		}
	}
}

// The hash of a run is that of the trace that is written, so that traces can be
// compared with what was reported of them.
func TestHashIsOfTrace(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	out, errs, _ := swarmsim(t, "run", "--json", "--trace", trace, "../../scenarios/leader-loss.txt")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s%s", err, out, errs)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != r.Trace {
		t.Errorf("the trace has the hash %x, and %s is reported", sum, r.Trace)
	}
}

// Plans that were drawn repeat as well: there everything goes wrong at once.
func TestPlansRepeat(t *testing.T) {
	const plans = 6
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(plans) {
		text := plan.Draw(sim.NewStream(seed, "plan"), seed, nil).Scenario()
		if again := plan.Draw(sim.NewStream(seed, "plan"), seed, nil).Scenario(); again != text {
			t.Fatalf("seed %d draws two plans:\n%s\n%s", seed, text, again)
		}
		s, err := script.Parse("plan.txt", text, parser{})
		if err != nil {
			t.Fatal(err)
		}
		runtime.GOMAXPROCS(1)
		first, err := play(s, s.Config.Seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GOMAXPROCS(2)
		var trace bytes.Buffer
		again, err := play(s, s.Config.Seed, &trace)
		if err != nil {
			t.Fatal(err)
		}
		if again.Trace != first.Trace || again.Events != first.Events {
			t.Errorf("seed %d: %d events have the hash %s; once more, %d have %s", seed, first.Events, first.Trace, again.Events, again.Trace)
		}
	}
}
