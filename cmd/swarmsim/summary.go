package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/swarmd/swarmd/sim/check"
)

// What a summary shows.
const (
	tailLines         = 20 // of the trace, before the violation
	failuresShown     = 3  // of one scenario, with all that is known; later ones get their seed told
	seedsShown        = 40
	sometimesRuns     = 10 // so many runs must have reached what must happen sometimes
	progressEach      = 500 * time.Millisecond
	violationLinesMax = 12 // of one violation's text
)

// A summary gathers reports and prints them.
type summary struct {
	c         console
	f         *runFlags
	w         world
	scenarios int

	runs, failed  int
	virtual       float64
	events        uint64
	began, shown  time.Time
	probes        map[string]uint64
	sometimes     map[string]*reach // by file and line
	order         []string          // of sometimes
	others        []uint64          // seeds of its runs that failed and were not shown
	name          string            // of the scenario that is being played
	ofName, badOf int               // its runs, and those that failed
	wallOf        float64
	virtualOf     float64
}

// A reach is how many runs had the chance to reach something, and how many did.
type reach struct{ runs, reached int }

func newSummary(c console, f *runFlags, w world, scenarios int) *summary {
	now := time.Now()
	return &summary{c: c, f: f, w: w, scenarios: scenarios, began: now, probes: map[string]uint64{}, sometimes: map[string]*reach{}}
}

func (s *summary) print(format string, args ...any) { _, _ = fmt.Fprintf(s.c.out, format, args...) }

// add takes in a run.
func (s *summary) add(r *report) {
	if s.name != r.File {
		s.flushName()
		s.name = r.File
	}
	s.runs++
	s.ofName++
	s.virtual += r.Virtual
	s.virtualOf += r.Virtual
	s.wallOf += r.Wall
	s.events += r.Events
	for name, n := range r.Probes {
		s.probes[name] += n
	}
	for _, o := range r.Sometimes {
		key := fmt.Sprintf("%s:%d: %s", r.File, o.Line, o.Text)
		if s.sometimes[key] == nil {
			s.sometimes[key] = &reach{}
			s.order = append(s.order, key)
		}
		s.sometimes[key].runs++
		if o.Reached {
			s.sometimes[key].reached++
		}
	}
	if r.Verdict == violated {
		s.failed++
		s.badOf++
	}
	switch {
	case s.f.json:
		printJSON(s.c, r)
	case r.Verdict == violated && s.badOf <= failuresShown:
		s.clear()
		s.failure(r)
	case r.Verdict == violated:
		s.others = append(s.others, r.Seed)
	case s.f.verbose && r.World == worldReal:
		s.clear()
		s.print("passed  %s seed %d  %s, %d changes seen\n", r.Name, r.Seed, seconds(r.Virtual), r.Events)
	case s.f.verbose:
		s.clear()
		s.print("passed  %s seed %d  %s simulated in %s, %d events, %s\n", r.Name, r.Seed, seconds(r.Virtual), seconds(r.Wall), r.Events, r.Trace[:16])
	}
	s.progress(r)
}

// failure tells all that is known of a run that failed.
func (s *summary) failure(r *report) {
	s.print("FAILED  %s seed %d, after %s\n", r.Name, r.Seed, seconds(r.Virtual))
	s.print("  %s:%d: %s\n", r.File, r.Line, r.Command)
	for _, v := range r.Violations {
		s.print("  %s, broken at %s:\n", v.Sentence, seconds(v.At))
		for i, line := range strings.Split(strings.TrimSpace(v.Text), "\n") {
			if i == violationLinesMax {
				s.print("    ...\n")
				break
			}
			s.print("    %s\n", line)
		}
	}
	s.print("  the last of the trace:\n")
	naming := &naming{hosts: r.hosts}
	var shown []string
	for _, line := range r.tail {
		if e, ok := parseEntry(line); ok && !e.routine() {
			shown = append(shown, naming.show(e))
		}
	}
	for _, line := range shown[max(0, len(shown)-tailLines):] {
		s.print("    %.200s\n", line)
	}
	if r.World == worldReal {
		s.print("  once more:  swarmsim run --world real --keep --seed %d %s\n\n", r.Seed, r.File)
		return
	}
	s.print("  once more:  swarmsim run %s--seed %d --trace trace.txt %s && swarmsim show trace.txt\n\n", s.w.flags(), r.Seed, r.File)
}

// flushName ends what is told of one scenario.
func (s *summary) flushName() {
	if s.name != "" && !s.f.json {
		s.clear()
		if len(s.others) > 0 {
			s.print("  seeds that failed too: %s\n", strings.Trim(fmt.Sprint(s.others[:min(seedsShown, len(s.others))]), "[]"))
		}
		word, played := "passed", runs(s.ofName)
		if s.badOf > 0 {
			word = "FAILED"
			played += fmt.Sprintf(", %d failed", s.badOf)
		}
		if s.w.name == worldReal {
			s.print("%s  %-40s %s, %s, and %s with the hosts made and removed\n", word, s.name, played, seconds(s.virtualOf), seconds(s.wallOf))
		} else {
			s.print("%s  %-40s %s, %s simulated, %.0f times real time\n", word, s.name, played, seconds(s.virtualOf), s.virtualOf/max(s.wallOf, 1e-9))
		}
	}
	s.name, s.ofName, s.badOf, s.wallOf, s.virtualOf, s.others = "", 0, 0, 0, 0, nil
}

// progress shows how far a long command is, on a terminal.
func (s *summary) progress(r *report) {
	now := time.Now()
	if !s.c.terminal || s.f.json || now.Sub(s.shown) < progressEach {
		return
	}
	s.shown = now
	total := uint64(s.scenarios) * (s.f.seeds.last - s.f.seeds.first + 1)
	_, _ = fmt.Fprintf(s.c.errs, "\r\033[K%d of %d runs, %d failed, %s simulated; %s seed %d", s.runs, total, s.failed, seconds(s.virtual), r.Name, r.Seed)
}

func (s *summary) clear() {
	if s.c.terminal && !s.shown.IsZero() {
		_, _ = fmt.Fprint(s.c.errs, "\r\033[K")
	}
}

// end tells what all runs came to.
func (s *summary) end() error {
	s.flushName()
	missed := false
	for _, key := range s.order {
		o := s.sometimes[key]
		if o.reached > 0 {
			continue
		}
		missed = missed || o.runs >= sometimesRuns
		if !s.f.json {
			s.print("never in %s: %s\n", runs(o.runs), key)
		}
	}
	if !s.f.json && s.w.name == worldReal {
		s.print("%s, %d failed; %s in the real world\n", runs(s.runs), s.failed, seconds(s.virtual))
	} else if !s.f.json {
		unreached := check.Unreached(s.probes)
		wall := time.Since(s.began).Seconds()
		s.print("%s, %d failed; %s simulated in %s, %d events; %d of %d known probes reached\n",
			runs(s.runs), s.failed, seconds(s.virtual), seconds(wall), s.events, len(check.Probes())-len(unreached), len(check.Probes()))
		if s.f.verbose {
			for _, name := range slices.Sorted(maps.Keys(check.Probes())) {
				if n := s.probes[name]; n > 0 {
					s.print("  reached %d times: %s: %s\n", n, name, check.Probes()[name])
				}
			}
			for _, probe := range unreached {
				s.print("  never reached: %s\n", probe)
			}
		}
	}
	if s.failed > 0 || missed {
		return errViolated
	}
	return nil
}

// runs is a number of runs as people read it.
func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}

// seconds is a time as people read it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Hour:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}
