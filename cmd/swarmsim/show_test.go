package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// broken is a scenario that does not hold: a worker is lost, and what it ran.
const broken = `# A worker is lost, and with it what must always be there.
swarm --managers 3 --workers 2
service create --name website --replicas 5 nginx:1
await 30s website 5/5
always containers website >= 5
crash leader
after 4s: poweroff workers
advance 20s
`

// brokenTrace plays it.
func brokenTrace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	scenario, trace := filepath.Join(dir, "broken.txt"), filepath.Join(dir, "broken.trace")
	if err := os.WriteFile(scenario, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := command(t, "run", "--trace", trace, scenario); code != exitViolated {
		t.Fatalf("the scenario ended with %d, want %d:\n%s", code, exitViolated, out)
	}
	return trace
}

// command runs a command line, and returns what it wrote.
func command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, console{out: &out, errs: &out})
	return out.String(), code
}

// A page is one file that needs no other, with a lane for every host and the
// sentence that was broken.
func TestPage(t *testing.T) {
	trace := brokenTrace(t)
	if out, code := command(t, "show", "--html", trace); code != exitPassed {
		t.Fatalf("show ended with %d: %s", code, out)
	}
	data, err := os.ReadFile(strings.TrimSuffix(trace, ".trace") + ".html")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	if found := regexp.MustCompile(`https?://|<link|<img|<iframe| src=|@import|url\(`).FindString(page); found != "" {
		t.Errorf("the page refers to something else: %s", found)
	}
	for _, want := range []string{
		`class="lane" data-host="m1"`, `class="lane" data-host="m3"`, `class="lane" data-host="w2"`,
		"the scenario holds: line 5: always containers website &gt;= 5: there are",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %s", want)
		}
	}
	lines, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if got := unpack(t, page, "trace"); got != strings.TrimSuffix(string(lines), "\n") {
		t.Errorf("the page holds %d bytes of the trace, want all %d", len(got), len(lines)-1)
	}
	var shape struct{ Drawing drawing }
	if err := json.Unmarshal([]byte(unpack(t, page, "drawing")), &shape); err != nil {
		t.Fatal(err)
	}
	bars := 0
	for _, h := range shape.Drawing.Hosts {
		for _, b := range h.Bars {
			if !strings.HasPrefix(b.Label, "website.") {
				t.Errorf("a container of %s is called %q", h.Name, b.Label)
			}
			bars++
		}
	}
	if bars != 5 || len(shape.Drawing.Messages) == 0 || len(shape.Drawing.Violations) != 1 {
		t.Errorf("the page shows %d containers, %d messages, %d sentences; want 5, some, 1", bars, len(shape.Drawing.Messages), len(shape.Drawing.Violations))
	}
}

// unpack returns what a page holds under an identifier.
func unpack(t *testing.T, page, id string) string {
	t.Helper()
	found := regexp.MustCompile(`<div id="` + id + `" hidden>([^<]*)</div>`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the page holds no %s", id)
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(found[1])))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A drawing has a span for all that lasts: leaders, daemons, paths, containers,
// and messages from where they were sent to where they were received.
func TestDraw(t *testing.T) {
	const text = `0 - ! host w1 worker 9r3kw1vfqaomdlfpbuu1w1w1w
0 - ! host m1 manager 9r3kw1vfqaomdlfpbuu1m1m1m
1 - ! raft: m1 leads term 2
2 m1 > send 9r3kw1vfqaomdlfpbuu1w1w1w assign 7 1 9r3kw1vfqaomdlfpbuutask01 512 0 0
3 m1 > send 9r3kw1vfqaomdlfpbuu1w1w1w assign 7 2 0 0
4 w1 < received 9r3kw1vfqaomdlfpbuu1m1m1m assign 7 1 9r3kw1vfqaomdlfpbuutask01 512 0 0
5 w1 > create-container 9r3kw1vfqaomdlfpbuutask01 agent.9r3kw1vfqaomdlfpbuu1w1w1w
6 w1 # runs 9r3kw1vfqaomdlfpbuutask01
7 - ! cut w1 -> m1
7 w1 # path m1 cut
7 - ! crash m1
7 m1 # killed
8 w1 < received 9r3kw1vfqaomdlfpbuu1m1m1m assign 7 1 9r3kw1vfqaomdlfpbuutask01 512 0 0
9 w1 # paused
10 w1 # resumed
11 w1 # path m1 sound
12 m1 < started
13 w1 # ended 9r3kw1vfqaomdlfpbuutask01 137
14 - # violated: S1 one leader a term: m1`
	lines := strings.Split(text, "\n")
	naming := newNaming()
	for _, line := range lines {
		naming.learn(line)
	}
	got := draw(lines, naming)
	const m1, w1, assign = 0, 1, 0
	want := &drawing{
		Hosts: []*drawnHost{
			{Name: "m1", Manager: true, Leads: []drawnSpan{{"2", 2, 11}}, Daemon: []drawnSpan{{"down", 11, 16}}},
			{
				Name: "w1", Daemon: []drawnSpan{{"paused", 13, 14}}, Paths: []drawnSpan{{"cut to m1", 9, 15}},
				Bars: []*drawnBar{{"9r3kw1vfqaomdlfpbuutask01", "agent.w1", 7, 17, 137}},
			},
		},
		Messages: []drawnMessage{
			{assign, m1, 3, w1, 5},
			{assign, m1, 4, w1, never},
			{assign, m1, 3, w1, 12}, // once more, late
		},
		Kinds:      []string{"assign"},
		Marks:      []drawnMark{{8, "fault", "cut w1 -> m1", []int{w1, m1}}, {10, "fault", "crash m1", []int{m1}}},
		Violations: []int{18},
		Names:      naming.all(),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(drawing{}, drawnHost{})); diff != "" {
		t.Error(diff)
	}
}

// On a terminal a trace is read in columns: seconds, host, sign, what happened.
func TestShow(t *testing.T) {
	trace := brokenTrace(t)
	out, code := command(t, "show", "--host", "w1", "--from", "1s", "--to", "3s", trace)
	if code != exitPassed {
		t.Fatalf("show ended with %d: %s", code, out)
	}
	column := regexp.MustCompile(`^ *(\d+\.\d{6})  (-|w1)  ?[!<>#] \S`)
	for line := range strings.Lines(out) {
		found := column.FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("found %q", line)
		}
		if at, err := strconv.ParseFloat(found[1], 64); err != nil || at < time.Second.Seconds() || at > (3*time.Second).Seconds() {
			t.Errorf("found %q, which is not from 1 s to 3 s", line)
		}
	}
	for _, want := range []string{"raft: m1 leads term 2", "# runs website.", "assign", " running "} {
		if !strings.Contains(out, want) {
			t.Errorf("the timeline does not say %q:\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b") || regexp.MustCompile(`\b[0-9a-z]{25}\b`).MatchString(out) {
		t.Errorf("the timeline has colours, or identifiers in full:\n%s", out)
	}
}

// What cannot be shown is refused, and why.
func TestShowRefuses(t *testing.T) {
	trace := brokenTrace(t)
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, []byte("once upon a time\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"--host m9 " + trace, `there is no host "m9" in the trace; there are m1, m2, m3, w1, w2`},
		{"--from 9s --to 3s " + trace, "--to 3s is before --from 9s"},
		{text, ":1: found \"once upon a time\", expected a time, a host, a sign"},
		{text + "s", "the trace cannot be read"},
	} {
		out, code := command(t, append([]string{"show"}, strings.Fields(c.args)...)...)
		if code != exitInput || !strings.Contains(out, c.want) {
			t.Errorf("show %s ended with %d and said %q, want %q", c.args, code, out, c.want)
		}
	}
}
