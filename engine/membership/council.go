// Package membership decides which nodes take part in consensus, and what a
// certificate is worth.
//
// A [Council] belongs to a leader. It compares the role that each node is wished
// to have, which is in the store, with the standing that it has in the log's
// configuration, and names one change at a time: a new manager is first sent the
// log without a vote, and gets the vote once it has caught up; one that is demoted,
// or removed, loses both at once. Whether a node takes part is then written back,
// so that everybody sees it.
//
// All that it remembers comes from the log's configuration, which a leader is
// told when it is elected, and from heartbeats: it may be thrown away.
//
// A [Roster] is what every manager knows of the keys and roles of nodes. It judges
// who shows a certificate by what has committed: a certificate carries the version
// of the store at which it was issued, so that one of before a change is told from
// one that is newer than what this manager knows. A [Renewal] says when a node has
// its certificate renewed, and a [Rotation] when all have, and the swarm's old root
// is of no use any more.
//
// Not guaranteed: that a manager that is wished for ever takes part; it must be
// there, and have been certified.
package membership

import (
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A Standing is what a manager is in the log's configuration.
type Standing uint8

// The standings.
const (
	None     Standing = iota // does not take part
	Nonvoter                 // is sent the log, and has no vote
	Voter
)

// String names the standing.
func (s Standing) String() string {
	switch s {
	case None:
		return "none"
	case Nonvoter:
		return "nonvoter"
	case Voter:
		return "voter"
	default:
		return "unknown"
	}
}

// A Member is a manager as the log's configuration has it.
type Member struct {
	Node     state.NodeID
	Standing Standing
}

// A Change is a standing that a manager is to have.
type Change struct {
	Member
	Addr string // where the manager is reached, host:port
}

// retryPeriod is how long a change that failed is left alone.
const retryPeriod = time.Second

// A Council remembers who takes part. Make one with [New].
type Council struct {
	standing map[state.NodeID]Standing
	index    map[state.NodeID]uint64 // how far each manager has come in the log, as it says
	target   map[state.NodeID]uint64 // how far a nonvoter must have come to get its vote
	known    bool                    // what is in the log's configuration
	out      bool                    // a change is under way
	look     bool                    // something has changed that may call for a change
	record   bool                    // something is to be written back
	retry    time.Time
}

// New returns the council of a leader that has just been elected. A log has at
// least its leader for a member: without any the configuration is not known, and
// the council leaves everything as it is.
func New(members []Member) *Council {
	known := len(members) > 0
	c := &Council{
		standing: map[state.NodeID]Standing{}, index: map[state.NodeID]uint64{}, target: map[state.NodeID]uint64{},
		known: known, look: known, record: known,
	}
	for _, m := range members {
		c.standing[m.Node] = m.Standing
	}
	return c
}

// Observe takes in changes that were made to the draft or the store, by anybody.
func (c *Council) Observe(delta *state.Delta) {
	if !c.known {
		return
	}
	for _, n := range delta.Nodes {
		if n.Before == nil || n.After == nil || n.Before.Spec.Role != n.After.Spec.Role ||
			n.Before.ManagerAddr != n.After.ManagerAddr || n.Before.State != n.After.State {
			c.look, c.record = true, true
		}
	}
}

// Heard takes in how far a manager has come in the log.
func (c *Council) Heard(node state.NodeID, index uint64) {
	c.index[node] = index
	if c.standing[node] == Nonvoter {
		c.look = true
	}
}

// Changed takes in what came of a change.
func (c *Council) Changed(m Member, failed bool, now time.Time) {
	c.out, c.look = false, true
	if failed {
		c.retry = now.Add(retryPeriod)
		return
	}
	c.record = true
	if m.Standing == None {
		delete(c.standing, m.Node)
		delete(c.index, m.Node)
		delete(c.target, m.Node)
		return
	}
	c.standing[m.Node] = m.Standing
}

// Next returns the change that is to be made now, if there is one. It is under
// way until [Council.Changed]. d must be what has committed.
func (c *Council) Next(d *state.Draft, now time.Time) (Change, bool) {
	if c.out || !c.look || now.Before(c.retry) {
		return Change{}, false
	}
	c.look = false
	change, any := c.choose(d)
	c.out = any
	return change, any
}

// choose finds the first change that is called for: those that take a vote away
// come first.
func (c *Council) choose(d *state.Draft) (Change, bool) {
	for _, id := range slices.Sorted(maps.Keys(c.standing)) {
		if n := d.Node(id); n == nil || n.Spec.Role == swarm.NodeRoleWorker {
			return Change{Member: Member{id, None}}, true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.standing)) {
		if c.standing[id] == Nonvoter && c.target[id] > 0 && c.index[id] >= c.target[id] {
			return Change{Member{id, Voter}, d.Node(id).ManagerAddr}, true
		}
	}
	for n := range d.Nodes() {
		if n.Spec.Role != swarm.NodeRoleManager || n.ManagerAddr == "" || n.State != state.NodeReady {
			continue
		}
		switch c.standing[n.ID] {
		case None:
			c.target[n.ID] = d.Base()
			return Change{Member{n.ID, Nonvoter}, n.ManagerAddr}, true
		case Nonvoter:
			if c.target[n.ID] == 0 { // an earlier leader let it in
				c.target[n.ID] = d.Base()
			}
		case Voter:
		}
	}
	return Change{}, false
}

// Pending reports whether Record has anything to look at.
func (c *Council) Pending() bool { return c.record }

// Wake is when Next will have something to look at though nothing changes; zero
// is never.
func (c *Council) Wake() time.Time {
	if c.out || !c.look {
		return time.Time{}
	}
	return c.retry
}

// Record writes to d which nodes take part.
func (c *Council) Record(d *state.Draft, wall state.Wall) {
	if !c.record {
		return
	}
	c.record = false
	for n := range d.Nodes() {
		takesPart := c.standing[n.ID] == Voter
		if n.Manager == takesPart {
			continue
		}
		put := *n
		put.Manager, put.Updated = takesPart, wall
		if !takesPart && n.Spec.Role == swarm.NodeRoleWorker {
			put.ManagerAddr = ""
		}
		d.PutNode(&put)
	}
}
