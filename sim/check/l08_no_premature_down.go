package check

import (
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// soundLeast is how long node, leader and the way between them must have been well
// for a Down to be wrong: two sessions' worth of graces, and what messages from
// before that may still do.
const soundLeast = 15 * time.Second

// notPremature looks at every node that is taken for down, as things were when its
// leader decided so: the log may take its time.
type notPremature struct {
	proposed map[state.ProposalID]time.Duration
}

// Sentence implements [Oracle].
func (*notPremature) Sentence() string {
	return "L8 a node whose daemon and link work is never taken for down"
}

// Committed implements [Committer].
func (o *notPremature) Committed(c *Checker, index uint64, entry state.Entry, delta *state.Delta) {
	for _, d := range delta.Nodes {
		if d.After == nil || d.After.State != state.NodeDown || d.Before == nil || d.Before.State == state.NodeDown {
			continue
		}
		node, leader := c.host(d.After.ID), c.Leader(entry.Proposal.Term)
		if node == nil || leader == nil {
			continue
		}
		at, known := o.proposed[entry.Proposal]
		if !known {
			at = c.World.Now()
		}
		o.judge(c, index, at, node, leader)
	}
	delete(o.proposed, entry.Proposal)
}

// Stepped implements [Stepper].
func (o *notPremature) Stepped(c *Checker, _ *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		if p, ok := f.(engine.Propose); ok {
			o.proposed[p.Entry.Proposal] = c.World.Now()
		}
	}
}

func (o *notPremature) judge(c *Checker, index uint64, at time.Duration, node, leader *sim.Host) {
	if node == leader {
		c.Violate(o, "entry %d: %s takes itself for down", index, node.Name)
		return
	}
	there, sound := c.World.Sound(node, leader)
	back, soundBack := c.World.Sound(leader, node)
	if !sound || !soundBack || !node.Up() || !leader.Up() {
		return
	}
	writes, well := node.DiskWell()
	if !well { // it does not take in who leads
		return
	}
	// Heartbeats that the leader has not read for it slept are not missed either,
	// nor those of the time before it led.
	since := max(there, back, node.UpSince(), leader.UpSince(), writes)
	if well := at - since; well >= soundLeast {
		c.Violate(o, "entry %d: %s takes %s for down, after all was well between them for %v", index, leader.Name, node.Name, well)
	}
}
