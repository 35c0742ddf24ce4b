package check

import (
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// Bounds of a follower that was away.
const (
	catchUpMost  = 30 * time.Second
	snapshotsMax = 2 // with no entry between them
	onTheirWay   = 4 // entries at a moment
)

// followersCatchUp looks at the logs of the core.
type followersCatchUp struct {
	settling bool
	installs map[*sim.Host]int
	own      map[*sim.Host]bool // has just started, and has a snapshot of its own to begin with
}

// Sentence implements [Oracle].
func (*followersCatchUp) Sentence() string {
	return "L3 every follower within reach comes to have the leader's log, by few snapshots"
}

// Healed implements [Healer].
func (o *followersCatchUp) Healed(c *Checker) {
	o.settling = true
	c.World.Until(catchUpMost, func() bool { return o.behind(c) == nil })
	if h := o.behind(c); h != nil && len(c.World.Violations()) == 0 {
		c.Violate(o, "%s has applied entry %d of %d, %v after it was healed", h.Name, h.Log().Delivered, c.Store.Index(), catchUpMost)
	}
}

// behind returns a manager of the core that has not applied what any has.
func (o *followersCatchUp) behind(c *Checker) *sim.Host {
	for _, h := range c.World.Hosts {
		if h.Manager && c.core(h) && (h.Store() == nil || h.Store().Index() < c.Store.Index()) {
			return h
		}
	}
	return nil
}

// Restored implements [Restorer].
func (o *followersCatchUp) Restored(c *Checker, h *sim.Host, _ *state.Store) {
	own := o.own[h]
	delete(o.own, h)
	if !o.settling || own {
		return
	}
	if o.installs[h]++; o.installs[h] > snapshotsMax {
		c.Violate(o, "%s has taken %d snapshots, one after the other, and no entry", h.Name, o.installs[h])
	}
}

// Stepped implements [Stepper]: whoever takes an entry needs no snapshot.
func (o *followersCatchUp) Stepped(_ *Checker, h *sim.Host, event engine.Event, _ engine.Step) {
	switch event.(type) {
	case engine.Committed:
		delete(o.installs, h)
	case engine.Started:
		delete(o.installs, h)
		o.own[h] = h.Log().Base > 0
	default:
	}
}

// AtRest implements [Rester]. Where services never rest, the last entries may be on
// their way.
func (o *followersCatchUp) AtRest(c *Checker) {
	if h := o.behind(c); h != nil && (!c.anyRestless() || c.Store.Index()-h.Log().Delivered > onTheirWay) {
		c.Violate(o, "%s has applied entry %d of %d at rest", h.Name, h.Log().Delivered, c.Store.Index())
	}
	o.settling = false
}
