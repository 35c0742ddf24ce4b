// Package check has the oracles of the simulator: what must never happen, and
// what must in the end. Each is in a file of its own and named by the sentence
// that it checks, with the number that the sentence has in the catalogue (S22,
// L4, …).
//
// A [Checker] watches a world. It keeps a store of its own, to which it applies
// the log once, so that every oracle sees each change with what was there before,
// whoever applied it first. Oracles look at the world's truth (what containers
// really run) as well as at the store.
//
// Not guaranteed: that a world which breaks no sentence is right; it has only not
// been caught.
package check

import (
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// An Oracle checks one sentence. It may implement any of [Committer], [Stepper],
// [Sampler] and [Rester]; one that implements none checks nothing.
type Oracle interface {
	// Sentence is the number and the sentence: "S19 task states only move forward".
	Sentence() string
}

// A Committer is told of every entry once, in log order, when the first host has
// applied it. The checker's store has it applied.
type Committer interface {
	Committed(c *Checker, index uint64, entry state.Entry, delta *state.Delta)
}

// A Stepper is told of every step of every engine.
type Stepper interface {
	Stepped(c *Checker, h *sim.Host, event engine.Event, step engine.Step)
}

// A Sampler looks at the world now and then: after every change of a container or
// of a host, and at least once in each second in which something happens.
type Sampler interface {
	Sampled(c *Checker)
}

// A Rester looks at a world that has come to rest: the user asks for nothing, what
// was to be healed is healed, and there was time to converge.
type Rester interface {
	AtRest(c *Checker)
}

// samplePeriod is how often, at least, samplers look.
const samplePeriod = time.Second

// A Checker watches a world with oracles. Make one with [Watch].
type Checker struct {
	World *sim.World
	// Store is the replicated state after the last entry that any host applied.
	Store *state.Store

	oracles  []Oracle
	commits  []Committer
	steps    []Stepper
	samples  []Sampler
	hashes   map[uint64][16]byte // of the store after each entry
	sampled  time.Duration
	speaking Oracle
}

// Watch has oracles watch a world that has not run yet.
func Watch(w *sim.World, oracles ...Oracle) *Checker {
	c := &Checker{World: w, Store: state.NewStore(), oracles: oracles, hashes: map[uint64][16]byte{}}
	for _, o := range oracles {
		if x, ok := o.(Committer); ok {
			c.commits = append(c.commits, x)
		}
		if x, ok := o.(Stepper); ok {
			c.steps = append(c.steps, x)
		}
		if x, ok := o.(Sampler); ok {
			c.samples = append(c.samples, x)
		}
	}
	w.Observe(c)
	return c
}

// Violate says that an oracle's sentence was broken.
func (c *Checker) Violate(o Oracle, format string, args ...any) {
	c.World.Violate(o.Sentence(), format, args...)
}

// Stepped implements [sim.Observer].
func (c *Checker) Stepped(h *sim.Host, event engine.Event, step engine.Step) {
	look := false
	switch e := event.(type) {
	case engine.Committed:
		c.committed(h, e)
	case engine.Restored:
		c.compare(h, e.Store.Index())
	case engine.ContainerStarted, engine.ContainerExited, engine.ContainerRemoved, engine.ContainersFound, engine.Started, engine.Elected, engine.Deposed:
		look = true
	}
	for _, o := range c.steps {
		o.Stepped(c, h, event, step)
	}
	if now := c.World.Now(); look || now-c.sampled >= samplePeriod {
		c.sampled = now
		for _, o := range c.samples {
			o.Sampled(c)
		}
	}
}

// committed applies an entry to the checker's store, if it is news, and compares
// the host's store with it.
func (c *Checker) committed(h *sim.Host, e engine.Committed) {
	if e.Index > c.Store.Index() {
		entry := e.Entry
		if entry.Base != c.Store.Index() {
			entry.Changes = nil // decided on another state than it met
		}
		delta := c.Store.Apply(e.Index, entry.Changes)
		c.hashes[e.Index] = c.Store.Hash()
		for _, o := range c.commits {
			o.Committed(c, e.Index, entry, &delta)
		}
	}
	c.compare(h, e.Index)
}

// compare holds a host's store, which has just come to an index, against what
// every other had there.
func (c *Checker) compare(h *sim.Host, index uint64) {
	want, ok := c.hashes[index]
	if have := h.Store(); ok && have != nil && have.Hash() != want {
		c.World.Violate("S4 every manager has the same state at the same index",
			"%s has another state than the first manager that applied entry %d", h.Name, index)
	}
}

// AtRest has every oracle look that looks at rest. The caller has seen to it that
// the world is at rest.
func (c *Checker) AtRest() {
	for _, o := range c.samples {
		o.Sampled(c)
	}
	for _, o := range c.oracles {
		if x, ok := o.(Rester); ok {
			x.AtRest(c)
		}
	}
}
