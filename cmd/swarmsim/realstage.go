//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

const (
	lookPeriod = 200 * time.Millisecond // how often it is looked at what there is
	// realPatience is how many times longer than a scenario says is waited for
	// something: this machine has other things to do.
	realPatience = 3
	realSpanMost = 30 * time.Second
	answersMax   = 1024 // that wait to be taken in
)

// A realStage is a stage of hosts on this machine. Time passes by itself here; what
// the stage calls, it calls in Run and Until all the same.
type realStage struct {
	ctx     context.Context // of the run: the stage ends with it
	script  *script.Script
	cluster *lab.Cluster
	seed    uint64
	began   time.Time
	trace   io.Writer

	timeline []planned
	answers  chan func() // what was heard, to be taken in
	looks    []func()
	hosts    map[string]*realHost
	cuts     map[[2]string]bool // from, to

	seen       *seen
	dirty      bool // something was done since it was looked
	changed    bool // the looks are to be called
	changes    uint64
	lookedAt   time.Time
	violations []sim.Violation
	probes     map[string]uint64
	idles      bool // the scenario asks what is written to the log

	leader    string                     // that leads, "" if nobody can tell
	led       string                     // that led last
	preferred string                     // the manager that answered last
	elections uint64                     // changes of the leader
	writes    uint64                     // the last entry of the log that was heard of
	known     map[state.TaskID]knownTask // what every task that was ever seen is of
	started   map[state.TaskID]bool      // tasks that have been seen to run
	starts    map[state.ServiceID]uint64 // of those
	owners    map[string]state.TaskID    // of containers
}

// A realHost is a host, and what is being done with it.
type realHost struct {
	*lab.Host
	manager  bool
	starting chan struct{} // closed once the start that was ordered is over; nil if none is under way
}

// A planned is something to be done at a time.
type planned struct {
	at time.Duration
	do func()
}

// A knownTask is what does not change of a task.
type knownTask struct {
	service state.ServiceID
	image   string
}

var _ script.Stage = (*realStage)(nil)

func newRealStage(ctx context.Context, s *script.Script, cluster *lab.Cluster, seed uint64, trace io.Writer) *realStage {
	stage := &realStage{
		ctx: ctx, script: s, cluster: cluster, seed: seed, began: time.Now(), trace: trace,
		answers: make(chan func(), answersMax), hosts: map[string]*realHost{}, cuts: map[[2]string]bool{}, dirty: true,
		probes: map[string]uint64{}, known: map[state.TaskID]knownTask{}, started: map[state.TaskID]bool{},
		starts: map[state.ServiceID]uint64{}, owners: map[string]state.TaskID{}, seen: &seen{view: &script.View{}},
	}
	for _, h := range cluster.Hosts {
		stage.hosts[h.Name] = &realHost{Host: h, manager: h.Manager}
	}
	stage.idles = slices.ContainsFunc(s.Needs, func(n script.Need) bool { return n.What == "idle" })
	return stage
}

// Now is the time since the start.
func (s *realStage) Now() time.Duration { return time.Since(s.began) }

// Run lets time pass.
func (s *realStage) Run(until time.Duration) bool {
	s.pass(until, func() bool { return false })
	return s.goesOn()
}

// Until lets time pass until something holds.
func (s *realStage) Until(patience time.Duration, holds func() bool) bool {
	return s.pass(s.Now()+realPatience*patience, holds)
}

func (s *realStage) goesOn() bool { return len(s.violations) == 0 && s.ctx.Err() == nil }

// pass lets time pass, and looks every now and then.
func (s *realStage) pass(until time.Duration, holds func() bool) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.goesOn() {
		s.doPlanned()
		if time.Since(s.lookedAt) >= lookPeriod {
			s.look()
		}
		if s.changed {
			s.changed = false
			for _, look := range s.looks {
				look()
			}
		}
		if holds() {
			return true
		}
		now := s.Now()
		if now >= until {
			return false
		}
		next := min(until, now+lookPeriod)
		if len(s.timeline) > 0 {
			next = min(next, s.timeline[0].at)
		}
		timer.Reset(max(next-now, 0))
		select {
		case <-timer.C:
		case take := <-s.answers:
			take()
		case <-s.ctx.Done():
		}
	}
	return false
}

// doPlanned does what is due.
func (s *realStage) doPlanned() {
	for len(s.timeline) > 0 && s.timeline[0].at <= s.Now() && s.goesOn() {
		due := s.timeline[0]
		s.timeline = s.timeline[1:]
		due.do()
	}
}

// At has something done at a time.
func (s *realStage) At(at time.Duration, do func()) {
	i, _ := slices.BinarySearchFunc(s.timeline, at+1, func(p planned, at time.Duration) int { return cmp.Compare(p.at, at) })
	s.timeline = slices.Insert(s.timeline, i, planned{at, do})
}

// later has what was heard elsewhere taken in by the stage.
func (s *realStage) later(take func()) {
	select {
	case s.answers <- take:
	case <-s.ctx.Done():
	}
}

// Stream returns the stream of draws of a name.
func (s *realStage) Stream(name string) *sim.Stream { return sim.NewStream(s.seed, name) }

// SpanMost is such that a story does not take all day.
func (s *realStage) SpanMost() time.Duration { return realSpanMost }

// Hosts are all hosts, in the order of the scenario.
func (s *realStage) Hosts() []script.Host {
	hosts := make([]script.Host, 0, len(s.cluster.Hosts))
	for _, h := range s.cluster.Hosts {
		is := h.State()
		hosts = append(hosts, script.Host{
			Name: h.Name, Manager: s.hosts[h.Name].manager, Running: is == lab.Running || is == lab.Paused, Paused: is == lab.Paused,
		})
	}
	return hosts
}

// Leader is the host that leads, as a manager says that can tell.
func (s *realStage) Leader() string {
	s.refresh()
	return s.leader
}

// Quiet cannot be seen from outside.
func (s *realStage) Quiet() bool { return false }

// View is what a manager says, and what really runs.
func (s *realStage) View() *script.View {
	s.refresh()
	return s.seen.view
}

// Changes counts what has changed the view.
func (s *realStage) Changes() uint64 {
	s.refresh()
	return s.changes
}

// OnChange has a function called after each change.
func (s *realStage) OnChange(look func()) { s.looks = append(s.looks, look) }

// refresh looks if something was done since the last time: what was seen before is
// not what it has come to.
func (s *realStage) refresh() {
	if s.dirty {
		s.look()
	}
}

// look looks at what there is.
func (s *realStage) look() {
	s.dirty = false
	now := s.observe()
	s.lookedAt = time.Now()
	if reflect.DeepEqual(now, s.seen) {
		return
	}
	s.seen = now
	s.changes++
	s.changed = true
	s.write("#", now.summary()...)
}

// Note writes a line into the trace.
func (s *realStage) Note(words ...string) { s.write("!", words...) }

func (s *realStage) write(sign string, words ...string) {
	line := strconv.FormatInt(int64(s.Now()), 10) + " - " + sign + " " + strings.Join(words, " ") + "\n"
	if _, err := io.WriteString(s.trace, line); err != nil && len(s.violations) == 0 {
		s.violations = append(s.violations, sim.Violation{At: s.Now(), Sentence: "the trace is written", Text: err.Error()})
	}
}

// Violate says that a sentence was broken.
func (s *realStage) Violate(sentence, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	first, _, _ := strings.Cut(text, "\n")
	s.write("#", "violated:", sentence+":", first)
	s.violations = append(s.violations, sim.Violation{At: s.Now(), Sentence: sentence, Text: text})
}

// Violations are the sentences that were broken.
func (s *realStage) Violations() []sim.Violation { return s.violations }

// Probes are the rare things that happened.
func (s *realStage) Probes() map[string]uint64 { return s.probes }

// Probe notes that a rare thing happened.
func (s *realStage) Probe(name string) { s.probes[name]++ }
