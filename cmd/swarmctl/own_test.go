package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

// swarmctl runs a command line against the world of testdata.
func swarmctl(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := newWorld(t)
	var o, e bytes.Buffer
	code = run(t.Context(), args, session{in: strings.NewReader(""), out: &o, errs: &e, env: server.env})
	return o.String(), e.String(), code
}

// The shell completes what the daemon knows.
func TestCompletion(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"service rm ", "full web job glob web10 web2"},
		{"service scale ", "full= web= job= glob= web10= web2="},
		{"node promote ", "self w10 w9 m1"},
		{"stop ", "web.1.task1"},
		{"rmi ", "nginx:alpine nginx:1"},
		{"network rm ", "net10 net9 bridge"},
		{"service create --network ", "net10 net9 bridge"},
		{"service create --mode ", "replicated global replicated-job global-job"},
		{"swarm join-token ", "worker manager"},
	} {
		out, _, code := swarmctl(t, append([]string{"__complete"}, strings.Split(test.line, " ")...)...)
		found, _, _ := strings.Cut(out, "\n:")
		if got := strings.Join(strings.Fields(found), " "); got != test.want || code != 0 {
			t.Errorf("%q completes to %q, not %q (exit %d)", test.line, got, test.want, code)
		}
	}
}

// What is this program's own: its name, and how it describes hosts.
func TestOwn(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"--version", "swarmctl version dev"},
		{"version", "  API version:     1.50 (minimum version 1.24)"},
		{"info", "  Node Address: 10.0.0.1\n  Manager Addresses:\n   10.0.0.1:2377\n"},
		{"info", "   Number of Old Snapshots to Retain: 0\n"},
		{"stats --no-stream nope", ""},
		{"service create --help", `--mode string                        Service mode`},
	} {
		if out, _, _ := swarmctl(t, strings.Fields(test.line)...); !strings.Contains(out, test.want) {
			t.Errorf("%s prints:\n%s\nand not:\n%s", test.line, out, test.want)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
	}{
		{``, []string{}},
		{`a  b`, []string{"a", "b"}},
		{`a 'b "c' "d 'e"`, []string{"a", `b "c`, `d 'e`}},
		{`a\ b "c\"d" "e\f" 'g\h'`, []string{"a b", `c"d`, `e\f`, `g\h`}},
		{`'' ""`, []string{"", ""}},
		{"a # b\nc#d", []string{"a", "c#d"}},
	} {
		if got, err := request.SplitWords(test.line); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s is split into %q, %v", test.line, got, err)
		}
	}
	for _, line := range []string{`a'`, `"b`, `c\`} {
		if got, err := request.SplitWords(line); err == nil {
			t.Errorf("%s is split into %q, though it does not end", line, got)
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	names := []string{"web10", "web", "web2", "a1b10", "a1b9", "web02", "b"}
	slices.SortFunc(names, compareNatural)
	if got := strings.Join(names, " "); got != "a1b9 a1b10 b web web02 web2 web10" {
		t.Error(got)
	}
}

// On a terminal each ID has a line of its own, which is written again and again.
func TestScreen(t *testing.T) {
	var out strings.Builder
	s := screen{out: &out, terminal: true, width: 80, lines: map[string]int{}}
	half := &jsonstream.Progress{Current: 1, Total: 2}
	s.show(jsonstream.Message{ID: "a", Status: "Downloading", Progress: half})
	s.show(jsonstream.Message{ID: "b", Status: "Waiting", Progress: &jsonstream.Progress{}})
	s.show(jsonstream.Message{ID: "a", Status: "Done", Progress: &jsonstream.Progress{}})
	want := "\n\x1b[1A\x1b[2K\ra: Downloading       1B/2B\r\x1b[1B" +
		"\n\x1b[1A\x1b[2K\rb: Waiting \r\x1b[1B" +
		"\x1b[2A\x1b[2K\ra: Done \r\x1b[2B"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for width, want := range map[int]string{80: "      1B/2B", 120: "[=========================>                         ]       1B/2B"} {
		if got := bar(*half, width); got != want {
			t.Errorf("at %d: %q", width, got)
		}
	}
}
