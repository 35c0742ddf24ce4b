package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/swarmd/swarmd/sim/script"
)

// A verdict is how a run ended.
type verdict string

// The verdicts.
const (
	passed   verdict = "passed"
	violated verdict = "violated"
)

// A report is what one run came to, as --json prints it.
type report struct {
	Name       string            `json:"name"`
	File       string            `json:"file"`
	World      string            `json:"world"`
	Seed       uint64            `json:"seed"`
	Verdict    verdict           `json:"verdict"`
	Virtual    float64           `json:"virtual_s"`
	Wall       float64           `json:"wall_s"`
	Events     uint64            `json:"events"`
	Trace      string            `json:"trace_sha256"`
	Violations []violation       `json:"violations"`
	Probes     map[string]uint64 `json:"probes"`
	Sometimes  []sometime        `json:"sometimes,omitempty"`
	Line       int               `json:"line"`    // of the scenario, where it ended
	Command    string            `json:"command"` // that was being carried out

	tail  []string          // the last lines of the trace
	hosts map[string]string // names, by identifier
}

type violation struct {
	At       float64 `json:"at_s"`
	Sentence string  `json:"sentence"`
	Text     string  `json:"text"`
}

type sometime struct {
	Line    int    `json:"line"`
	Text    string `json:"text"`
	Reached bool   `json:"reached"`
}

// play plays one scenario once, in the world where the log is modelled.
func play(s *script.Script, seed uint64, trace io.Writer) (*report, error) {
	return world{name: worldModel}.play(s, seed, trace)
}

// play plays one scenario once.
func (w world) play(s *script.Script, seed uint64, trace io.Writer) (*report, error) {
	began := time.Now()
	last := &tail{}
	config := s.Config
	config.Seed, config.Trace = seed, last
	w.shape(&config)
	if trace != nil {
		config.Trace = io.MultiWriter(last, trace)
	}
	stage, err := script.NewModel(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.File, err)
	}
	defer stage.World.Close()
	outcome := script.Play(s, stage)
	r := newReport(seeded{s, seed}, w.name, outcome, stage.Probes())
	r.Events, r.Trace = stage.World.Steps(), stage.World.Trace().Sum()
	if err := stage.World.Trace().Err(); err != nil {
		return nil, fmt.Errorf("the trace cannot be written: %w", err)
	}
	if r.Verdict == violated {
		r.tail, r.hosts = last.lines(), map[string]string{}
		for _, h := range stage.World.Hosts {
			r.hosts[string(h.ID)] = h.Name
		}
	}
	r.Wall = time.Since(began).Seconds()
	return r, nil
}

// newReport is what a run came to, in any world.
func newReport(s seeded, world string, outcome *script.Outcome, probes map[string]uint64) *report {
	r := &report{
		Name: s.script.Name, File: s.script.File, World: world, Seed: s.seed, Verdict: passed, Virtual: outcome.Virtual.Seconds(),
		Violations: []violation{}, Probes: probes, Line: outcome.Line, Command: outcome.Text,
	}
	for _, v := range outcome.Violations {
		r.Verdict = violated
		r.Violations = append(r.Violations, violation{v.At.Seconds(), v.Sentence, v.Text})
	}
	for _, o := range outcome.Sometimes {
		r.Sometimes = append(r.Sometimes, sometime{o.Line, o.Text, o.Reached})
	}
	return r
}

// tailBytes is how much of the end of a trace is kept for the report.
const tailBytes = 64 << 10

// A tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	if len(p) >= tailBytes {
		t.kept = append(t.kept[:0], p[len(p)-tailBytes:]...)
		return len(p), nil
	}
	if over := len(t.kept) + len(p) - 2*tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailBytes:]...)
	}
	t.kept = append(t.kept, p...)
	return len(p), nil
}

// lines are the whole lines that were kept.
func (t *tail) lines() []string {
	var list []string
	for i, l := range bytes.Split(bytes.TrimSuffix(t.kept, []byte("\n")), []byte("\n")) {
		if i > 0 || len(t.kept) < tailBytes {
			list = append(list, string(l))
		}
	}
	return list
}

// seeded is a scenario with what it is drawn from.
type seeded struct {
	script *script.Script
	seed   uint64
}
