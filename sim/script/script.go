package script

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/swarmd/swarmd/sim"
)

// Limits of a scenario.
const (
	TextBytesMax = 1 << 20
	LinesMax     = 10_000
)

// A Script is a scenario that was read.
type Script struct {
	File     string
	Name     string // the file's, without folder and ending
	Sentence string // what it shows
	Config   sim.Config
	Images   []string // that services are asked to run
	Needs    []Need   // of the world that it is played in, by line
	steps    []step
}

// A step is one command.
type step struct {
	line int
	text string
	do   action
}

// An action carries a command out. It may let time pass. An error says what did
// not hold.
type action func(*player) error

// errNoSwarm says that a scenario does not say what its swarm is made of: nothing
// that follows could be understood.
var errNoSwarm = errors.New("expected the swarm first, such as: swarm --managers 3 --workers 3")

// parsing is what reading a scenario knows so far.
type parsing struct {
	script *Script
	parser Parser
	names  map[string]bool // hosts, and what pick has named
	picked []string        // what pick has named
	begun  bool            // a command that is not about the shape has come

	networks    map[string]bool // names of networks that the story creates
	created     map[string]bool // names of services that the story creates
	creates     []string        // the same, in its order
	clientsMake bool            // and clients create more
	mentions    []mention       // services that it speaks of
	line        int             // that is being read
	verb        string          // of the command that is being read
}

// Read reads the scenario in a file.
func Read(fsys fs.FS, file string, parser Parser) (*Script, error) {
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("the scenario cannot be read: %w", err)
	}
	return Parse(file, string(data), parser)
}

// Parse reads a scenario. The error joins an [Error] for every line that cannot
// be understood, up to a limit.
func Parse(file, text string, parser Parser) (*Script, error) {
	base := filepath.Base(file)
	s := &Script{File: file, Name: strings.TrimSuffix(base, filepath.Ext(base))}
	s.Config.Images = map[string]sim.Image{}
	if len(text) > TextBytesMax {
		return nil, &Error{File: file, Found: fmt.Sprintf("a scenario of %d bytes", len(text)), Expected: fmt.Sprintf("at most %d", TextBytesMax)}
	}
	sentence, list := lines(text)
	s.Sentence = sentence
	if len(list) > LinesMax {
		return nil, &Error{File: file, Found: fmt.Sprintf("a scenario of %d commands", len(list)), Expected: fmt.Sprintf("at most %d", LinesMax)}
	}
	p := &parsing{script: s, parser: parser, names: map[string]bool{}, created: map[string]bool{}, networks: map[string]bool{}}
	var failed []error
	if sentence == "" {
		failed = append(failed, &Error{file, 1, "no comment", "the scenario to begin with one that says what it shows"})
	}
	for _, l := range list {
		p.line = l.number
		do, err := p.command(l.text)
		if err != nil {
			failed = append(failed, located(file, l.number, err))
			if len(failed) >= errorsMax || errors.Is(err, errNoSwarm) {
				break
			}
			continue
		}
		if do != nil {
			s.steps = append(s.steps, step{l.number, l.text, do})
		}
	}
	if len(failed) == 0 && len(s.Config.Hosts) == 0 {
		failed = append(failed, &Error{File: file, Found: "no host", Expected: "a line such as: swarm --managers 3 --workers 3"})
	}
	if len(failed) == 0 {
		failed = p.strangers(file)
	}
	if err := errors.Join(failed[:min(errorsMax, len(failed))]...); err != nil {
		return nil, err
	}
	sortHosts(&s.Config)
	return s, nil
}

func located(file string, number int, err error) error {
	if m, ok := errors.AsType[mismatch](err); ok {
		return &Error{file, number, m.found, m.expected}
	}
	return &Error{File: file, Line: number, Found: err.Error()}
}

// command reads one command; those about the shape have no action.
func (p *parsing) command(text string) (action, error) {
	words, err := split(text)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	r := &reader{words: words, p: p}
	if done, err := p.shape(r); done {
		return nil, err
	}
	if len(p.script.Config.Hosts) == 0 {
		return nil, fmt.Errorf("found %q, %w", words[0], errNoSwarm)
	}
	p.begun = true
	do, err := p.timed(r)
	if err != nil {
		return nil, err
	}
	return do, r.end()
}

// timed reads a command that may take time or look ahead.
func (p *parsing) timed(r *reader) (action, error) {
	verb := r.next()
	switch verb {
	case "advance":
		return p.advance(r)
	case "await":
		return p.await(r)
	case "idle":
		return p.idle(r)
	case "expect":
		return p.expect(r)
	case "check":
		return p.check(r)
	case "settle":
		return p.settle(r)
	case "always", "never", "sometimes":
		return p.standing(verb, r)
	case "at", "after", "every", "when", "whenever":
		return p.moment(verb, r)
	}
	r.at--
	do, err := p.instant(r)
	if err != nil {
		return nil, err
	}
	return do.wait, nil
}

// instant reads a command that happens at a moment: a fault, a storm, or one of
// the swarm's own.
func (p *parsing) instant(r *reader) (deed, error) {
	verb := r.next()
	p.begin(verb)
	switch verb {
	case "crash", "kill", "poweroff", "start", "restart", "pause", "resume", "suspend", "wakeup":
		return p.process(verb, r)
	case "cut", "clog", "unclog", "heal", "link":
		return p.paths(verb, r)
	case "isolate":
		return p.isolate(r)
	case "partition":
		return p.partition(r)
	case "bridge":
		return p.bridge(r)
	case "clock":
		return p.clock(r)
	case "disk":
		return p.disk(r)
	case "transfer":
		return p.transfer(r)
	case "install":
		return p.install(r)
	case "mishaps":
		return p.mishaps(r)
	case "lose-runtime":
		return p.loseRuntime(r)
	case "end":
		return p.endContainers(r)
	case "pick":
		return p.pick(r)
	case "note":
		return p.note(r)
	case "storm":
		return p.storm(r)
	case "clients":
		return p.clients(r)
	case "on":
		return p.onHost(r)
	case "try":
		return p.try(r)
	case "service", "network", "node", "swarm", "docker":
		r.at--
		return p.cli(r)
	}
	r.at--
	if strings.HasSuffix(verb, ":") {
		return nil, r.want("the moment before the colon, such as at 41s: crash leader")
	}
	known := strings.FieldsFunc(commands, func(r rune) bool { return strings.ContainsRune(" ,;", r) })
	if near := nearest(verb, known...); near != "" {
		return nil, r.want("a command: perhaps %s", near)
	}
	return nil, r.want("a command: %s", commands)
}

// begin notes which command is being read.
func (p *parsing) begin(verb string) {
	p.verb = verb
	p.need(verb, 0)
}

// commands are all there are, for those who mistype one.
const commands = "swarm, host, image; service, network, node, swarm update; advance, await, idle, expect, check, settle, always, never, sometimes; " +
	"at, after, every, when, whenever, on, try; crash, kill, poweroff, start, restart, pause, resume, suspend, wakeup; " +
	"cut, clog, unclog, heal, link, isolate, partition, bridge; clock, disk, transfer, install, mishaps, lose-runtime, end; pick, note, storm, clients"
