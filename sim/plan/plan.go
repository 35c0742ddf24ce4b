// Package plan makes up runs of a swarm: its shape, what its users ask of it and
// what goes wrong, each with its virtual time, and then the healing of a core that
// must do all that was asked of it.
//
// [Draw] draws a plan before anything runs, [Run] runs it, [Shrink] makes one that
// fails small. A plan is a scenario: [Plan.Scenario] writes it and [Parse] reads it,
// so that a failure becomes a file that anybody can play, read and change.
//
// Draws are those of swarm testing: each run leaves out some kinds of faults, of
// operations and of what services want, each with even odds, so that what is left
// comes together more often; half of the faults are aimed at the leader; and they
// overlap.
//
// Not guaranteed: that a plan still fails in the same way after the engine has
// changed. Its text says what happens, and the swarm's own timing does the rest.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Plan is what is to happen in one run.
type Plan struct {
	Seed     uint64   // of the world: timing, and what commands draw
	Sentence []string // what the scenario says of itself, a line each
	Managers int
	Workers  int
	// Knobs are flags of the swarm line: its heartbeat, how often snapshots are taken.
	Knobs string
	// Hosts are the lines about single hosts, Images those about images.
	Hosts, Images []string
	// Rules are conditions of the plan's own: always and never lines.
	Rules  []string
	Events []Event // by time
	// Calm is when users and faults rest, the hosts in Broken are left broken for
	// good, and the others are healed.
	Calm   time.Duration
	Broken []string
}

// An Event is one operation of a user or one fault.
type Event struct {
	At    time.Duration
	Fault string // the kind of fault; "" is an operation
	// Target is whom Do and Undo are done to: they name it as %. "" is nobody.
	Target string
	Do     string
	Undo   string // "" if nothing has to be undone
	Lasts  time.Duration
}

// Counts are how many operations and how many faults the plan has.
func (p *Plan) Counts() (operations, faults int) {
	for _, e := range p.Events {
		if e.Fault == "" {
			operations++
		} else {
			faults++
		}
	}
	return operations, faults
}

// Clone is a plan of its own with the same content.
func (p *Plan) Clone() *Plan {
	c := *p
	c.Sentence, c.Hosts, c.Images = slices.Clone(p.Sentence), slices.Clone(p.Hosts), slices.Clone(p.Images)
	c.Rules = slices.Clone(p.Rules)
	c.Events, c.Broken = slices.Clone(p.Events), slices.Clone(p.Broken)
	return &c
}

// hosts are the names of all hosts, managers first.
func (p *Plan) hosts() []string {
	var names []string
	for i := range p.Managers {
		names = append(names, fmt.Sprintf("m%d", i+1))
	}
	for i := range p.Workers {
		names = append(names, fmt.Sprintf("w%d", i+1))
	}
	return names
}

// names reports whether anything in the plan speaks of a word.
func (p *Plan) names(word string) bool {
	for _, e := range p.Events {
		for _, line := range []string{e.Target, e.Do, e.Undo} {
			if slices.Contains(strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' }), word) {
				return true
			}
		}
	}
	return slices.Contains(p.Broken, word)
}
