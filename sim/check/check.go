package check

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// An Oracle checks one sentence. It may implement any of the interfaces below;
// one that implements none checks nothing.
type Oracle interface {
	// Sentence is the number and the sentence: "S19 task states only move forward".
	Sentence() string
}

// A Committer is told of every entry once, in log order, when the first host has
// applied it. The checker's store has it applied. The changes of an entry that was
// decided on another state than it met are not there.
type Committer interface {
	Committed(c *Checker, index uint64, entry state.Entry, delta *state.Delta)
}

// A Stepper is told of every step of every engine, but for those in which time
// passes or a message comes, and messages are all that follows: there are many.
type Stepper interface {
	Stepped(c *Checker, h *sim.Host, event engine.Event, step engine.Step)
}

// A Caller is told of the API calls that engines take in, and of their replies.
type Caller interface {
	Called(c *Checker, h *sim.Host, call engine.Called)
	Replied(c *Checker, h *sim.Host, event engine.Event, reply engine.Reply)
}

// A Restorer is told when a manager has taken a snapshot in place of its state.
type Restorer interface {
	Restored(c *Checker, h *sim.Host, store *state.Store)
}

// A Runner is told of the processes of containers.
type Runner interface {
	Ran(c *Checker, x *sim.Container)
	Ended(c *Checker, x *sim.Container)
}

// A Voter is told of the elections of the log.
type Voter interface {
	Voted(c *Checker, v sim.Vote)
	Won(c *Checker, e sim.Election)
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
	// Core are the hosts that are well when the world is at rest; the others are
	// broken for good. nil is all. See [Settle].
	Core []*sim.Host

	view     *state.Draft // of Store; nil when it has changed
	oracles  []Oracle
	commits  []Committer
	steps    []Stepper
	calls    []Caller
	restores []Restorer
	runs     []Runner
	votes    []Voter
	samples  []Sampler

	hashes  map[uint64][16]byte // of the store after each entry
	leaders map[uint64]*sim.Host
	decided map[state.ProposalID]time.Duration
	since   time.Duration // when the entry that is being told of was decided on
	skewed  bool          // some clock was set or has not run true
	sampled time.Duration
}

// Watch has oracles watch a world that has not run yet.
func Watch(w *sim.World, oracles ...Oracle) *Checker {
	c := &Checker{
		World: w, Store: state.NewStore(), oracles: oracles,
		hashes: map[uint64][16]byte{}, leaders: map[uint64]*sim.Host{}, decided: map[state.ProposalID]time.Duration{},
	}
	for _, o := range oracles {
		c.commits = enlist(c.commits, o)
		c.steps = enlist(c.steps, o)
		c.calls = enlist(c.calls, o)
		c.restores = enlist(c.restores, o)
		c.runs = enlist(c.runs, o)
		c.votes = enlist(c.votes, o)
		c.samples = enlist(c.samples, o)
	}
	w.Observe(c)
	return c
}

// enlist adds the oracle to a list if it is one of its kind.
func enlist[T any](list []T, o Oracle) []T {
	if x, ok := o.(T); ok {
		return append(list, x)
	}
	return list
}

// Violate says that an oracle's sentence was broken.
func (c *Checker) Violate(o Oracle, format string, args ...any) {
	c.World.Violate(o.Sentence(), format, args...)
}

// View is the replicated state, to be asked; it holds until the next entry.
func (c *Checker) View() *state.Draft {
	if c.view == nil {
		c.view = c.Store.Draft()
	}
	return c.view
}

// Leader returns the host that was elected for a term, nil if none is known.
func (c *Checker) Leader(term uint64) *sim.Host { return c.leaders[term] }

// Decided is when the leader decided on the entry that [Committer]s are being told
// of: what follows from it at a later time is reckoned from then.
func (c *Checker) Decided() time.Duration { return c.since }

// Skewed reports whether any clock has been set or run untrue so far: times that
// one leader wrote down for the next mean less then.
func (c *Checker) Skewed() bool { return c.skewed }

// Skew says that a clock is about to be set, or not to run true.
func (c *Checker) Skew() { c.skewed = true }

// Stepped implements [sim.Observer].
func (c *Checker) Stepped(h *sim.Host, event engine.Event, step engine.Step) {
	look, plain := false, false
	switch e := event.(type) {
	case engine.Received, engine.Woken:
		plain = true
	case engine.Committed:
		c.committed(h, e)
	case engine.Restored:
		c.restored(h, e)
	case engine.Called:
		for _, o := range c.calls {
			o.Called(c, h, e)
		}
	case engine.ClockAdjusted:
		c.skewed = true
	case engine.Elected:
		c.leaders[e.Term] = h
		look = true
	case engine.ContainerStarted, engine.ContainerExited, engine.ContainerRemoved, engine.ContainersFound, engine.Started, engine.Deposed:
		look = true
	default:
	}
	for _, f := range step.Effects {
		switch f := f.(type) {
		case engine.Send:
			continue
		case engine.Reply:
			for _, o := range c.calls {
				o.Replied(c, h, event, f)
			}
		case engine.Propose:
			c.decided[f.Entry.Proposal] = c.World.Now()
		default:
		}
		plain = false
	}
	if !plain {
		for _, o := range c.steps {
			o.Stepped(c, h, event, step)
		}
	}
	if now := c.World.Now(); look || now-c.sampled >= samplePeriod {
		c.sampled = now
		for _, o := range c.samples {
			o.Sampled(c)
		}
	}
}

// Ran implements [sim.ContainerObserver].
func (c *Checker) Ran(x *sim.Container) {
	for _, o := range c.runs {
		o.Ran(c, x)
	}
}

// Ended implements [sim.ContainerObserver].
func (c *Checker) Ended(x *sim.Container) {
	for _, o := range c.runs {
		o.Ended(c, x)
	}
}

// Voted implements [sim.LogObserver].
func (c *Checker) Voted(v sim.Vote) {
	for _, o := range c.votes {
		o.Voted(c, v)
	}
}

// Won implements [sim.LogObserver].
func (c *Checker) Won(e sim.Election) {
	for _, o := range c.votes {
		o.Won(c, e)
	}
}

// committed applies an entry to the checker's store, if it is news, and compares
// the host's store with it.
func (c *Checker) committed(h *sim.Host, e engine.Committed) {
	if e.Index > c.Store.Index() {
		c.apply(e.Index, e.Entry)
	}
	const sentence = "S4 every manager has the same state at the same index"
	if want, ok := c.hashes[e.Index]; ok && differs(h.Store(), want) {
		c.World.Violate(sentence, "%s has another state than the first manager that applied entry %d", h.Name, e.Index)
	}
}

// apply applies an entry, and tells who wants to know.
func (c *Checker) apply(index uint64, entry state.Entry) {
	if entry.Base != c.Store.Index() {
		entry.Changes = nil
	}
	delta := c.Store.Apply(index, entry.Changes)
	delta.Services, delta.Nodes = readable(delta.Services), readable(delta.Nodes)
	delta.Templates, delta.Tasks = readable(delta.Templates), readable(delta.Tasks)
	delta.Networks = readable(delta.Networks)
	c.view = nil
	c.hashes[index] = c.Store.Hash()
	c.since = c.World.Now()
	if at, ok := c.decided[entry.Proposal]; ok {
		c.since = at
		delete(c.decided, entry.Proposal)
	}
	for _, o := range c.commits {
		o.Committed(c, index, entry, &delta)
	}
}

// readable leaves out what was not there before, and cannot be read: S16 looks at
// that.
func readable[T any](list []state.Diff[T]) []state.Diff[T] {
	return slices.DeleteFunc(list, func(d state.Diff[T]) bool { return d.Before == nil && d.After == nil })
}

func (c *Checker) restored(h *sim.Host, e engine.Restored) {
	const sentence = "S10 a snapshot is what the entries before it come to"
	if want, ok := c.hashes[e.Store.Index()]; ok && differs(e.Store, want) {
		c.World.Violate(sentence, "%s restored another state than managers had after entry %d", h.Name, e.Store.Index())
	}
	for _, o := range c.restores {
		o.Restored(c, h, e.Store)
	}
}

func differs(s *state.Store, want [16]byte) bool { return s != nil && s.Hash() != want }

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

// core reports whether a host is one of those that are well at rest.
func (c *Checker) core(h *sim.Host) bool {
	if c.Core == nil {
		return true
	}
	return slices.Contains(c.Core, h)
}
