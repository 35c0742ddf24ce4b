package check

import (
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/sim"
)

// Bounds of elections once a quorum is well.
const (
	electionMost = 10 * time.Second
	// leadersMost is how many leaders there may be from then on, the first included.
	leadersMost = 2
)

// leaderElected counts the elections of the second phase.
type leaderElected struct {
	settling bool
	since    time.Duration
	leaders  int
}

// Sentence implements [Oracle].
func (*leaderElected) Sentence() string {
	return "L1 a quorum that is connected has a leader before long, and keeps it"
}

// Healed implements [Healer].
func (o *leaderElected) Healed(c *Checker) {
	o.settling, o.since = true, c.World.Now()
	o.leaders = 0
	if c.World.Leader() != nil {
		o.leaders = 1
	}
	c.World.Until(electionMost, func() bool { return c.leading() != nil })
	if len(c.World.Violations()) == 0 && c.leading() == nil {
		c.Violate(o, "nobody leads %v after a quorum was healed", electionMost)
	}
}

// Stepped implements [Stepper].
func (o *leaderElected) Stepped(_ *Checker, _ *sim.Host, event engine.Event, _ engine.Step) {
	if _, ok := event.(engine.Elected); ok && o.settling {
		o.leaders++
	}
}

// AtRest implements [Rester].
func (o *leaderElected) AtRest(c *Checker) {
	if o.leaders > leadersMost {
		c.Violate(o, "there were %d leaders since a quorum was healed", o.leaders)
	}
	if c.leading() == nil {
		c.Violate(o, "nobody leads at rest")
	}
	o.settling = false
}

// leading is the host of the core that leads, nil if there is none.
func (c *Checker) leading() *sim.Host {
	if h := c.World.Leader(); h != nil && c.core(h) {
		return h
	}
	return nil
}
