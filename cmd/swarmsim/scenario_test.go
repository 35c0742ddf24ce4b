package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/swarmd/swarmd/sim/script"
)

// stories are all scenarios of the repository.
func stories(t *testing.T) []*script.Script {
	t.Helper()
	var list []*script.Script
	for _, pattern := range []string{"../../scenarios/*.txt", "../../scenarios/regress/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no scenario is %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := script.Parse(file, string(text), parser{})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, s)
		}
	}
	return list
}

// Every scenario passes. The same seed gives the same run to the byte: whether or
// not anybody wants the trace, and however many processors there are.
func TestScenarios(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.Name, func(t *testing.T) {
			first, err := play(s, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if first.Verdict != passed {
				t.Fatalf("%s:%d: %s: %v", s.File, first.Line, first.Command, first.Violations)
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			for _, processors := range []int{1, 2} {
				runtime.GOMAXPROCS(processors)
				var trace bytes.Buffer
				again, err := play(s, 1, &trace)
				if err != nil {
					t.Fatal(err)
				}
				if again.Trace != first.Trace || again.Events != first.Events {
					t.Errorf("with a trace and GOMAXPROCS=%d, %d events have the hash %s; without one, %d have %s",
						processors, again.Events, again.Trace, first.Events, first.Trace)
				}
				if trace.Len() == 0 {
					t.Error("the trace is empty")
				}
			}
		})
	}
}

// Another seed gives another run.
func TestSeeds(t *testing.T) {
	s := stories(t)[0]
	one, err1 := play(s, 1, nil)
	two, err2 := play(s, 2, nil)
	if err1 != nil || err2 != nil || one.Trace == two.Trace {
		t.Errorf("seeds 1 and 2 have the hashes %s (%v) and %s (%v)", one.Trace, err1, two.Trace, err2)
	}
}

// swarmsim runs a command line.
func swarmsim(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, console{out: &o, errs: &e})
	return o.String(), e.String(), code
}

func scenario(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "story.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The exit code says whether all passed, something was broken, or the input is bad.
func TestRun(t *testing.T) {
	good := scenario(t, "# It is there.\nswarm --managers 1\nawait 5s leader\n")
	broken := scenario(t, "# It is not there.\nswarm --managers 1\nawait 5s leader\nexpect no leader\n")
	bad := scenario(t, "# It is mistyped.\nswarm --managers 1\nawait leader\n")
	for _, test := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"run", good}, exitPassed, []string{"passed", "1 run", "0 failed"}},
		{[]string{"run", "--seeds", "1..5", good}, exitPassed, []string{"5 runs"}},
		{[]string{"run", "-v", good}, exitPassed, []string{"seed 1", "never reached"}},
		{[]string{"run", "--json", good}, exitPassed, []string{`"verdict":"passed"`, `"trace_sha256":"`, `"seed":1`}},
		{[]string{"run", broken}, exitViolated, []string{"FAILED", "story.txt:4: expect no leader", "the scenario holds", "run --seed 1 --trace", "leads term"}},
		{[]string{"run", "--json", broken}, exitViolated, []string{`"verdict":"violated"`, `"sentence":"the scenario holds"`, `"line":4`}},
		{[]string{"run", bad}, exitInput, []string{`story.txt:3: found "leader", expected a duration`}},
		{[]string{"run", good + "x"}, exitInput, []string{"cannot be read"}},
		{[]string{"run", "--world", "flat", good}, exitInput, []string{"there is no world"}},
		{[]string{"run", "--seeds", "5..1", good}, exitInput, []string{"ends before it begins"}},
		{[]string{"run", "--seeds", "1..2", "--trace", filepath.Join(t.TempDir(), "trace"), good}, exitInput, []string{"--trace is for one"}},
		{[]string{"run", t.TempDir()}, exitInput, []string{"no scenario (*.txt)"}},
		{[]string{"walk"}, exitInput, []string{"unknown command"}},
	} {
		out, errs, code := swarmsim(t, test.args...)
		if code != test.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", test.args, code, test.code, out, errs)
		}
		for _, words := range test.says {
			if !strings.Contains(out+errs, words) {
				t.Errorf("%v does not say %q:\n%s%s", test.args, words, out, errs)
			}
		}
	}
}

// What must happen sometimes is missed once there were runs enough.
func TestSometimes(t *testing.T) {
	file := scenario(t, "# It never fails.\nswarm --managers 1\nsometimes probe \"pull failed\"\nadvance 5s\n")
	if out, _, code := swarmsim(t, "run", file); code != exitPassed || !strings.Contains(out, "never in 1 run") {
		t.Errorf("after one run: exit code %d\n%s", code, out)
	}
	if out, _, code := swarmsim(t, "run", "--seeds", "1..20", file); code != exitViolated || !strings.Contains(out, "never in 20 runs") {
		t.Errorf("after 20 runs: exit code %d\n%s", code, out)
	}
}
