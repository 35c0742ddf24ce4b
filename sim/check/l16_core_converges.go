package check

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/sim"
)

// quietLeast is for how long nothing must have been written before a swarm is taken
// to be at rest: longer than the longest wait that is not a fault of its own, which
// is the back-off of restarts.
const quietLeast = 6 * time.Minute

// restlessPatience is how long a swarm with services that never come to rest is
// given.
const restlessPatience = 15 * time.Minute

// coreConverges says whether the world came to rest at all.
type coreConverges struct{}

// Sentence implements [Oracle].
func (*coreConverges) Sentence() string {
	return "L16 the core comes to rest though the others are broken for good"
}

// A Healer is told when the core of a world has been healed. It may let time pass.
type Healer interface {
	Healed(c *Checker)
}

// A Watcher watches a world that is at rest for a while: it looks, calls pass once,
// and looks again.
type Watcher interface {
	Resting(c *Checker, pass func())
}

// Settle begins the second phase. It heals the hosts of the core, which must hold
// most of the managers, and the paths between them; the other hosts are cut off for
// good, in whatever state they are. Then it lets time pass until the swarm has come
// to rest, for as long as patience at most, and for a while longer, and has every
// oracle look. It reports whether no sentence is broken. The caller sees to it that
// users ask for nothing more; core nil is all hosts.
func Settle(c *Checker, core []*sim.Host, patience time.Duration) bool {
	c.Core = core
	heal(c)
	for _, o := range c.oracles {
		if x, ok := o.(Healer); ok && len(c.World.Violations()) == 0 {
			x.Healed(c)
		}
	}
	if len(c.World.Violations()) == 0 && !converge(c, patience) && !c.anyRestless() {
		c.Violate(&coreConverges{}, "something is written still, %v after the core was healed", patience)
	}
	pass := func() { c.World.Run(c.World.Now() + restPeriod) }
	for _, o := range c.oracles {
		if x, ok := o.(Watcher); ok && len(c.World.Violations()) == 0 {
			x.Resting(c, pass)
		}
	}
	if len(c.World.Violations()) == 0 {
		c.AtRest()
	}
	return len(c.World.Violations()) == 0
}

// heal makes everything right within the core, and cuts the others off.
func heal(c *Checker) {
	w := c.World
	for _, h := range w.Hosts {
		for _, o := range w.Hosts {
			switch {
			case h == o:
			case c.core(h) && c.core(o):
				w.Heal(h, o)
			case c.core(h) != c.core(o):
				w.SetPath(h, o, func(p *sim.Path) { p.Cut = true })
			}
		}
	}
	for _, h := range w.Hosts {
		if !c.core(h) {
			continue
		}
		h.ClearMishaps()
		h.SetDisk(0, false)
		h.Wakeup()
		h.SetSteady()
		h.Start()
	}
}

// converge lets time pass until nothing has been written for long.
func converge(c *Checker, patience time.Duration) bool {
	until := c.World.Now() + patience
	if c.anyRestless() {
		until = min(until, c.World.Now()+restlessPatience)
	}
	index, since := c.Store.Index(), c.World.Now()
	for c.World.Now() < until && len(c.World.Violations()) == 0 {
		c.World.Run(c.World.Now() + 10*time.Second)
		if c.Store.Index() != index {
			index, since = c.Store.Index(), c.World.Now()
		} else if c.World.Now()-since >= quietLeast && !slices.ContainsFunc(c.World.Hosts, func(h *sim.Host) bool { return c.core(h) && h.Busy() }) {
			return true
		}
	}
	return len(c.World.Violations()) > 0
}
