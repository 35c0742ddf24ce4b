package membership

import (
	"bytes"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A Bearer is who shows a certificate, and has its key: what the certificate says
// of the node, and the store's version when that was true.
type Bearer struct {
	Node    state.NodeID
	Manager bool
	Key     []byte // SHA-256 of the public key
	Version uint64
}

// A Verdict is what a bearer may do.
type Verdict struct {
	Member  bool // what a worker may
	Manager bool // what a manager may
	Log     bool // take part in the log
	Removed bool // what a node may that is to be told that it was removed
	// Why says why it is not what its certificate says, "" if it is.
	Why string
}

// What is said of certificates that are not worth what they say.
const (
	whyRemoved = "the node was removed from the swarm"
	whyKey     = "the certificate is for a key that is not the node's any more"
	whyRole    = "the node's role was changed after the certificate was issued"
)

// An Entry is what a roster has of a node.
type Entry struct {
	Node    state.NodeID
	Key     []byte
	Trust   uint64 // see state.Node
	Manager bool   // the role that is wished
	Log     bool   // it takes part in the log
}

// A RosterChange is what a commit changes about a roster. Full says that it is all
// there is; Known, that the store has a swarm in it at all.
type RosterChange struct {
	Index   uint64
	Full    bool
	Known   bool
	Entries []Entry
	Gone    []state.NodeID
}

// Empty reports whether there is nothing to change.
func (c RosterChange) Empty() bool { return !c.Full && len(c.Entries)+len(c.Gone) == 0 }

func entry(n *state.Node) Entry {
	return Entry{Node: n.ID, Key: n.Key, Trust: n.Trust, Manager: n.Spec.Role == swarm.NodeRoleManager, Log: n.Manager}
}

func (e Entry) same(o Entry) bool {
	return e.Node == o.Node && e.Trust == o.Trust && e.Manager == o.Manager && e.Log == o.Log && bytes.Equal(e.Key, o.Key)
}

// RosterOf is the change that makes any roster that of a store.
func RosterOf(d *state.Draft) RosterChange {
	c := RosterChange{Index: d.Base(), Full: true, Known: d.Cluster() != nil}
	for n := range d.Nodes() {
		c.Entries = append(c.Entries, entry(n))
	}
	return c
}

// RosterDelta is the change that a commit makes to the roster.
func RosterDelta(delta *state.Delta, index uint64) RosterChange {
	c := RosterChange{Index: index, Known: true}
	for _, n := range delta.Nodes {
		switch {
		case n.After == nil:
			c.Gone = append(c.Gone, n.Before.ID)
		case n.Before == nil || !entry(n.Before).same(entry(n.After)):
			c.Entries = append(c.Entries, entry(n.After))
		}
	}
	return c
}

// A Roster is what a manager knows of the nodes. The zero value knows nothing, and
// takes every certificate for what it says. It is not safe for concurrent use.
type Roster struct {
	known bool
	index uint64
	nodes map[state.NodeID]Entry
}

// Apply takes in a change.
func (r *Roster) Apply(c RosterChange) {
	if c.Full || r.nodes == nil {
		r.nodes = map[state.NodeID]Entry{}
	}
	r.known, r.index = c.Known, c.Index
	for _, e := range c.Entries {
		r.nodes[e.Node] = e
	}
	for _, id := range c.Gone {
		delete(r.nodes, id)
	}
}

// Knows reports whether a key is the one that a node has.
func (r *Roster) Knows(node state.NodeID, key []byte) bool {
	e, ok := r.nodes[node]
	return ok && len(e.Key) > 0 && bytes.Equal(e.Key, key)
}

// Managers are the keys of those that take part in the log.
func (r *Roster) Managers() map[state.NodeID][]byte {
	keys := map[state.NodeID][]byte{}
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		if e := r.nodes[id]; e.Log && len(e.Key) > 0 {
			keys[id] = e.Key
		}
	}
	return keys
}

// Judge says what a bearer may do whose certificate is good.
//
// Rules in order, the first that matches wins. A certificate that is newer than
// what is known was issued by managers who know more: a manager that was away must
// let in those who have come since, or it would never hear of them.
func (r *Roster) Judge(b Bearer) Verdict {
	asSaid := Verdict{Member: true, Manager: b.Manager, Log: b.Manager}
	e, ok := r.nodes[b.Node]
	switch {
	case !r.known:
		return asSaid
	case !ok && b.Version > r.index:
		return asSaid
	case !ok:
		return Verdict{Removed: true, Why: whyRemoved}
	case b.Version > r.index && b.Version > e.Trust:
		return asSaid
	case len(e.Key) > 0 && !bytes.Equal(e.Key, b.Key):
		return Verdict{Why: whyKey}
	case !b.Manager:
		return asSaid
	case b.Version > e.Trust, b.Version == e.Trust && e.Manager:
		return asSaid
	default: // one that is demoted is in the log until it is out of its configuration
		return Verdict{Member: true, Log: e.Log, Why: whyRole}
	}
}
