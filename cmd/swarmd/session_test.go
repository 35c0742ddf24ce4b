package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// A session is what a person types on a host, line by line. Comments and blank
// lines stay where they are; everything else between commands is output.
type session struct{ items []item }

// An item is a command, or a line that is only there to be read.
type item struct {
	text    string
	command bool
}

// mark begins the line that ends a command's output.
const mark = "\x01end "

// prelude is what a session's shell knows beyond the host's programs.
const prelude = `
# await TEXT COMMAND: run the command until its output contains the text.
await() { local text=$1 out n; shift; local end=$((SECONDS+25)); while [ $SECONDS -lt $end ]; do out=$("$@" 2>&1); case "$out" in *"$text"*) return 0;; esac; sleep 0.1; done; echo "gave up waiting for: $text"; echo "$out"; return 1; }
# api METHOD PATH [BODY]: a request as curl makes it, the status first.
api() { curl -sS --unix-socket "${DOCKER_HOST#unix://}" -X "$1" ${3+-H 'Content-Type: application/json' -d "$3"} -w '\n%{http_code}\n' "http://localhost$2"; }
# quiet COMMAND: only whether it succeeds.
quiet() { "$@" >/dev/null 2>&1; }
container() { docker ps -q --filter "name=$1"; }
`

func newSession(text string) session {
	var s session
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case ok:
			s.items = append(s.items, item{text: command, command: true})
		case strings.HasPrefix(line, "# "):
			s.items = append(s.items, item{text: line})
		}
	}
	return s
}

// run types the commands into one shell on the host. What it returns has a mark
// with the exit status after the output of each command.
func (s session) run(h *lab.Host, path, home string) (string, error) {
	var script strings.Builder
	script.WriteString(prelude)
	for _, i := range s.items {
		if i.command {
			fmt.Fprintf(&script, "%s\nprintf '\\n\\001end %%d\\n' $?\n", i.text)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), sessionPeriod)
	defer cancel()
	c := h.Command(ctx, "bash", "-c", "exec 2>&1\n"+script.String())
	c.Dir = home
	c.WaitDelay = time.Second // what a session has left in the background
	c.Env = append(c.Env, "PATH="+path, "HOME="+home, "TZ=UTC")
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("the session took more than %v", sessionPeriod)
	}
	return string(out), err
}

// normalise is the session with the output after each command, without what
// differs from run to run.
func (s session) normalise(out, version string) string {
	var b strings.Builder
	for n, i := range s.items {
		if !i.command {
			b.WriteString(i.text + "\n")
			continue
		}
		var said string
		said, out, _ = strings.Cut(out, mark)
		var status string
		status, out, _ = strings.Cut(out, "\n")
		b.WriteString("$ " + i.text + "\n" + normalise(said, version))
		if status != "0" {
			fmt.Fprintf(&b, "[exit %s]\n", status)
		}
		if n < len(s.items)-1 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// A pattern is what differs from run to run, and what stands for it.
type pattern struct{ find, put string }

func patterns(version string) []pattern {
	p := []pattern{
		{`SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}`, "<token>"},
		{`SWMKEY-1-[0-9A-Za-z+/]+`, "<key>"},
		{`sha256:[0-9a-f]{64}`, "<digest>"},
		{`\b[0-9a-f]{64}\b`, "<id>"},
		{`\b[0-9a-z]{25}\b`, "<id>"},
		{`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.0-9]*(Z|[+-]\d\d:\d\d)?`, "<time>"},
		{`(?i)(\babout an? (minute|hour)|\bless than a second|\b\d+ (second|minute|hour|day|week|month|year)s?)( ago)?\b`, "<age>"},
		{`(?m)^\d+/\d+: .*\n`, ""},                  // bars
		{`(?m)^verify: Waiting .*\n`, ""},           // a countdown
		{`(?m)^job (complete|progress):? .*\n`, ""}, // bars of jobs
		{`(?m)^active tasks: .*\n`, ""},
		{`: Invalid filter '`, ": invalid filter '"}, // Docker changed its mind; swarmd says what the newer one says
		{`"Invalid filter '`, `"invalid filter '`},
		{`"invalid JSON: `, `"`},
		{`Enter unlock key: ?\n?`, ""}, // before what is not typed at a terminal docker 20.10 asks nothing
		{`swarmctl swarm (join|unlock)`, "docker swarm $1"},
		{`(?m)[ \t]+$`, ""},
	}
	if version != "" {
		p = slices.Insert(p, 0, pattern{`\b` + regexp.QuoteMeta(version) + `\b`, "<version>"}) // one identifier in two thousand has a "dev" in it
	}
	return p
}

// shortID is how the CLI prints identifiers; words have no digits. One in fifty
// identifiers has none either: those are told by where they are, first in a row.
const (
	shortID     = `\b(?:[0-9a-z]*[0-9][0-9a-z]*)\b`
	letteredRow = `(?m)^[a-z]{12}( {2,}| \*|$)`
)

func normalise(text, version string) string {
	for _, p := range patterns(version) {
		text = regexp.MustCompile(p.find).ReplaceAllString(text, p.put)
	}
	text = regexp.MustCompile(shortID).ReplaceAllStringFunc(text, func(word string) string {
		if len(word) == len("0123456789ab") {
			return "<id>"
		}
		return word
	})
	text = regexp.MustCompile(letteredRow).ReplaceAllString(text, "<id>$1")
	text = regexp.MustCompile(`(\S) {2,}`).ReplaceAllString(text, "$1   ") // columns
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line != "" && (!progress(line) || len(kept) == 0 || kept[len(kept)-1] != line) {
			kept = append(kept, line)
		}
	}
	kept = slices.DeleteFunc(kept, func(line string) bool { // how far it was at a moment
		var done, all int
		line = strings.Replace(line, "rolling back update: ", "", 1)
		n, _ := fmt.Sscanf(line, "overall progress: %d out of %d", &done, &all)
		return n == 2 && done != all
	})
	if len(kept) == 0 {
		return ""
	}
	return strings.Join(kept, "\n") + "\n"
}

func progress(line string) bool { return strings.HasPrefix(line, "overall progress") }

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }

// TestNormalise shows what a transcript keeps and what it does not.
func TestNormalise(t *testing.T) {
	got := normalise(`o0tmaq68fs1g6s74r5c4gdtai
overall progress: 0 out of 2 tasks
1/2:  
2/2: running   
overall progress: 1 out of 2 tasks
overall progress: 2 out of 2 tasks
overall progress: 2 out of 2 tasks
verify: Waiting 5 seconds to verify that tasks are stable...
verify: Service o0tmaq68fs1g6s74r5c4gdtai converged

ID             NAME        IMAGE          NODE      DESIRED STATE   CURRENT STATE                ERROR     PORTS
1b1idosc7s4y   web.1       nginx:alpine   w2        Running         Running about a minute ago             
egnpeydvrlmv   web.2       nginx:alpine   w2        Running         Running about a minute ago             
qwertyuiopas
d5esuvmw0yde3dev9y7222z88
3devnpeydvrl   w2          Ready         dev
availability is a word
`, "dev")
	want := `<id>
overall progress: 2 out of 2 tasks
verify: Service <id> converged
ID   NAME   IMAGE   NODE   DESIRED STATE   CURRENT STATE   ERROR   PORTS
<id>   web.1   nginx:alpine   w2   Running   Running <age>
<id>   web.2   nginx:alpine   w2   Running   Running <age>
<id>
<id>
<id>   w2   Ready   <version>
availability is a word
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
