package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// A dirt is what has changed of a node.
type dirt uint8

const (
	loadChanged dirt = 1 << iota // what it holds
	selfChanged                  // what it is
)

// A node is what one node has left.
type node struct {
	id     state.NodeID
	object *state.Node // nil if it is unknown or removed: tasks may outlive it
	index  int32
	hash   uint32
	open   bool // ready and active
	dirty  dirt
	refs   int // tasks remembered that name it

	cpu, memory int64 // left; below zero if the node has shrunk
	generic     claims
	ports       map[port]int   // host-mode ports in use
	waiting     []state.TaskID // tasks that come with this node, which refused them

	total int32 // active tasks

	// What the present session knows of the node.
	session       uint64
	offered       uint64 // the last session that it was offered to
	count, failed int32
}

// closed is the level of nodes that take no new tasks.
const closed = -1

// A port is one of a host's own ports.
type port struct {
	protocol string
	number   uint32
}

// node returns the node of that ID, which need not exist.
func (s *Scheduler) node(id state.NodeID) *node {
	if n, ok := s.nodes[id]; ok {
		return n
	}
	n := &node{id: id, hash: hash(string(id), 0)}
	if last := len(s.free) - 1; last >= 0 {
		n.index, s.free = s.free[last], s.free[:last]
		s.slots[n.index] = n
	} else {
		n.index = int32(len(s.slots))
		s.slots = append(s.slots, n)
		s.levels = append(s.levels, closed)
	}
	s.nodes[id] = n
	return n
}

// touch remembers that a node has changed.
func (s *Scheduler) touch(n *node, what dirt) {
	if n.dirty == 0 {
		s.dirty = append(s.dirty, n)
	}
	n.dirty |= what
}

func (s *Scheduler) observeNode(d state.Diff[state.Node]) {
	if d.Before == nil && d.After == nil {
		return
	}
	n := s.node(cmp.Or(d.After, d.Before).ID)
	old := n.object
	n.object = d.After
	before, after := resourcesOf(old), resourcesOf(n.object)
	n.cpu += after.NanoCPUs - before.NanoCPUs
	n.memory += after.MemoryBytes - before.MemoryBytes
	if open := isOpen(n.object); open != n.open {
		n.open = open
		s.relevel(n)
		s.touch(n, selfChanged)
	}
	if old != nil && n.object != nil && !matters(old, n.object) {
		return
	}
	s.touch(n, selfChanged)
	for _, c := range s.listed {
		c.update(n, s.levels[n.index])
	}
}

// isOpen reports whether a node takes new tasks.
func isOpen(n *state.Node) bool {
	return n != nil && n.State == state.NodeReady &&
		(n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == "" || mutant.On(mutant.ClosedNodeUsed))
}

func resourcesOf(n *state.Node) swarm.Resources {
	if n == nil {
		return swarm.Resources{}
	}
	return n.Description.Resources
}

// matters reports whether a filter or a preference could tell the two apart.
func matters(a, b *state.Node) bool {
	return a.Manager != b.Manager || a.Addr != b.Addr ||
		a.Description.Hostname != b.Description.Hostname ||
		a.Description.Platform != b.Description.Platform ||
		a.Description.Resources.NanoCPUs != b.Description.Resources.NanoCPUs ||
		a.Description.Resources.MemoryBytes != b.Description.Resources.MemoryBytes ||
		!slices.EqualFunc(a.Description.Resources.GenericResources, b.Description.Resources.GenericResources, sameGeneric) ||
		!maps.Equal(a.Spec.Labels, b.Spec.Labels) ||
		!maps.Equal(a.Description.Engine.Labels, b.Description.Engine.Labels) ||
		!slices.Equal(a.Description.Engine.Plugins, b.Description.Engine.Plugins)
}

// hold takes what is demanded, or gives it back.
func (n *node) hold(d *demand, generic []swarm.GenericResource, take bool) {
	sign := int64(sign(take))
	n.cpu -= sign * d.cpu
	n.memory -= sign * d.memory
	n.generic.hold(generic, sign)
	for _, p := range d.ports {
		if n.ports == nil {
			n.ports = map[port]int{}
		}
		if n.ports[p] += int(sign); n.ports[p] == 0 {
			delete(n.ports, p)
		}
	}
}

// settle tells everyone who waits for a node which nodes have changed, and forgets
// those that are gone.
func (s *Scheduler) settle() {
	for _, n := range s.dirty {
		what := n.dirty
		n.dirty = 0
		for _, g := range s.blocked {
			if what&selfChanged != 0 || g.demand.varies() {
				s.review(g, n)
			}
		}
		s.bound = append(s.bound, n.waiting...)
		s.waiting -= len(n.waiting)
		n.waiting = nil
		if n.object == nil && n.refs == 0 {
			s.slots[n.index] = nil
			s.free = append(s.free, n.index)
			delete(s.nodes, n.id)
		}
	}
	s.dirty = s.dirty[:0]
}

// load changes how many active tasks a node has.
func (s *Scheduler) load(n *node, by int32) {
	n.total += by
	s.relevel(n)
}

// relevel remembers that a node has another place in the order of nodes. Classes
// hear of it when they are used next: see [class.sync].
func (s *Scheduler) relevel(n *node) {
	level := int32(closed)
	if n.open {
		level = n.total
	}
	if s.levels[n.index] != level {
		s.levels[n.index] = level
		s.moves = append(s.moves, n.index)
	}
}

// hash is FNV-1a, begun with a salt.
func hash(s string, salt uint32) uint32 {
	h := 2166136261 ^ salt
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// mix spreads the bits of a hash, so that salting it reorders what it orders.
func mix(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
