// Package enginetest has what tests of the engine and of its drivers share: the
// contract as a check over what a driver does, and events and effects as text.
//
// It is for tests only, and is not held to the engine's purity.
package enginetest

import (
	"fmt"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// A Contract watches the steps of one node and says where a driver, or the
// engine, breaks the contract in the doc of package engine. Its zero value is
// ready.
type Contract struct {
	started  bool
	leading  bool
	inFlight bool // a proposal of this term
	now      time.Time
	index    uint64
	owed     map[string]int // answers by name, still to come
	network  uint64         // newest generation asked for
	applied  uint64
	faults   []string
}

// Stepped takes in one step. It must be called for every step, in order.
func (c *Contract) Stepped(now time.Time, event engine.Event, step engine.Step) {
	if c.owed == nil {
		c.owed = make(map[string]int)
	}
	if now.Before(c.now) {
		c.fault("1: time went back from %v to %v", c.now, now)
	}
	c.now = now
	c.event(event)
	for _, f := range step.Effects {
		c.effect(f)
	}
}

// Faults returns what was broken, in words that begin with the clause's number.
func (c *Contract) Faults() []string { return c.faults }

// Owed returns the answers that are still to come, by name.
func (c *Contract) Owed() map[string]int {
	owed := make(map[string]int)
	for name, n := range c.owed {
		if n > 0 {
			owed[name] = n
		}
	}
	return owed
}

func (c *Contract) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *Contract) owe(name string, args ...any) { c.owed[fmt.Sprintf(name, args...)]++ }

// oweOnce is for answers that could not be told apart if two were owed.
func (c *Contract) oweOnce(name string, args ...any) {
	c.owe(name, args...)
	if name = fmt.Sprintf(name, args...); c.owed[name] > 1 {
		c.fault("3: %s asked for while it is owed", name)
	}
}

// pay takes an answer that must have been owed.
func (c *Contract) pay(name string, args ...any) {
	name = fmt.Sprintf(name, args...)
	if c.owed[name] == 0 {
		c.fault("3: %s, which nothing asked for", name)
		return
	}
	c.owed[name]--
}

// stepDown forgets what only a leader is told.
func (c *Contract) stepDown() {
	c.leading, c.inFlight = false, false
	c.forget("committed ")
	c.forget("verified ")
	c.forget("voter ")
}

// trusted takes in events about keys and certificates.
func (c *Contract) trusted(event engine.Event) {
	switch e := event.(type) {
	case engine.Unlocked:
		c.pay("unlocked")
	case engine.RootMade:
		c.pay("root %d", e.Request)
	case engine.Renewed:
		c.pay("renewed")
	case engine.Refounded:
		c.pay("refounded")
		c.index = 0 // its log comes anew
	default:
	}
}

func (c *Contract) event(event engine.Event) {
	if _, first := event.(engine.Started); first == c.started {
		c.fault("8: Started must be the first event, and only that: got %T", event)
	}
	switch e := event.(type) {
	case engine.Started:
		c.started = true
	case engine.Elected:
		if c.leading {
			c.fault("4: elected twice without being deposed")
		}
		c.leading = true
	case engine.Deposed:
		if !c.leading {
			c.fault("4: deposed without being elected")
		}
		c.stepDown()
	case engine.Committed:
		if e.Index <= c.index {
			c.fault("4: index %d committed after %d", e.Index, c.index)
		}
		c.index = e.Index
		if name := "committed " + proposal(e.Entry.Proposal); c.owed[name] > 0 {
			c.owed[name]--
			c.inFlight = false
		}
	case engine.Verified:
		if c.leading {
			c.pay("verified %d", e.ID)
		}
	case engine.Called:
		c.oweOnce("reply %d", e.Request)
	case engine.VoterChanged:
		if c.leading {
			c.pay("voter %s", e.Node)
		}
	case engine.Joined:
		c.pay("joined")
	case engine.RoleChanged:
		c.pay("role")
	case engine.Unlocked, engine.RootMade, engine.Renewed, engine.Refounded:
		c.trusted(event)
	case engine.AuthorityCreated:
		c.pay("authority %s", e.Cluster)
	case engine.ForwardReturned:
		c.pay("returned %d", e.Request)
	case engine.Left:
		c.pay("left")
		c.stepDown()
		c.index = 0 // of a log that is no more
	case engine.ImagePulled:
		c.pay("pulled %s", e.Task)
	case engine.ContainerCreated:
		c.pay("created %s", e.Task)
	case engine.ContainerStarted:
		c.pay("started %s", e.Task)
	case engine.ContainerProbed:
		c.pay("probed %s", e.Task)
	case engine.ContainerExited: // containers also end by themselves, which answers a Stop too
		if e.Err != nil {
			c.pay("exited %s", e.Task)
		}
		c.owed["exited "+string(e.Task)] = 0
	case engine.ContainerRemoved:
		c.pay("removed %s", e.Task)
	case engine.NetworkApplied:
		if e.Generation > c.network || e.Generation <= c.applied {
			c.fault("3: network generation %d applied; %d was asked for and %d applied before", e.Generation, c.network, c.applied)
		}
		c.applied = e.Generation
	case engine.Woken, engine.ClockAdjusted, engine.Certified, engine.LeaderChanged, engine.Restored, engine.Received, engine.ContainersFound:
	}
}

func (c *Contract) effect(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.Propose:
		if !c.leading {
			c.fault("5: a proposal by a node that does not lead")
		}
		if c.inFlight {
			c.fault("5: a proposal while one is in flight")
		}
		c.inFlight = true
		c.owe("committed %s", proposal(f.Entry.Proposal))
	case engine.Verify:
		if !c.leading {
			c.fault("5: Verify by a node that does not lead")
		}
		c.owe("verified %d", f.ID)
	case engine.ChangeVoter:
		if !c.leading {
			c.fault("5: ChangeVoter by a node that does not lead")
		}
		c.oweOnce("voter %s", f.Node)
	case engine.Join:
		c.oweOnce("joined")
	case engine.ChangeRole:
		c.oweOnce("role")
	case engine.Unlock:
		c.oweOnce("unlocked")
	case engine.MakeRoot:
		c.owe("root %d", f.Request)
	case engine.Renew:
		c.oweOnce("renewed")
	case engine.Refound:
		c.oweOnce("refounded")
	case engine.CreateAuthority:
		c.owe("authority %s", f.Cluster)
	case engine.Leave:
		c.owe("left")
	case engine.Forward:
		c.owe("returned %d", f.Request)
	case engine.PullImage:
		c.oweOnce("pulled %s", f.Task)
	case engine.CreateContainer:
		c.oweOnce("created %s", f.Container.Task)
	case engine.StartContainer:
		c.oweOnce("started %s", f.Task)
	case engine.ProbeContainer:
		c.oweOnce("probed %s", f.Task)
	case engine.StopContainer:
		c.oweOnce("exited %s", f.Task)
	case engine.RemoveContainer:
		c.oweOnce("removed %s", f.Task)
	case engine.ApplyNetwork:
		if f.Plan.Generation <= c.network {
			c.fault("3: network generation %d asked for after %d", f.Plan.Generation, c.network)
		}
		c.network = f.Plan.Generation
	case engine.Reply:
		c.pay("reply %d", f.Request)
	case engine.Publish, engine.Bootstrap, engine.Send, engine.Reach, engine.Lock, engine.Trust:
	}
}

// forget drops the debts whose names begin with prefix.
func (c *Contract) forget(prefix string) {
	for name := range c.owed {
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			delete(c.owed, name)
		}
	}
}

func proposal(id state.ProposalID) string { return fmt.Sprintf("%d.%d", id.Term, id.Seq) }
