package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

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

	total      int32 // active tasks
	prev, next *node // of the same total, while open

	// What the present session knows of the node.
	session       uint64
	offered       uint64 // the last session that it was offered to
	count, failed int32
}

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
		if n.open = open; open {
			s.order.insert(n)
		} else {
			s.order.remove(n)
		}
		s.touch(n, selfChanged)
	}
	if old != nil && n.object != nil && !matters(old, n.object) {
		return
	}
	s.touch(n, selfChanged)
	for _, c := range s.listed {
		c.update(n)
	}
}

// isOpen reports whether a node takes new tasks.
func isOpen(n *state.Node) bool {
	return n != nil && n.State == state.NodeReady &&
		(n.Spec.Availability == swarm.NodeAvailabilityActive || n.Spec.Availability == "")
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

// An order has the open nodes by how many tasks they have. Among equals the one
// that came to its number first is first, so that each has its turn.
type order struct {
	buckets []bucket // by number of tasks
	low     int      // no bucket before it has any
	count   int
}

type bucket struct{ first, last *node }

func (o *order) insert(n *node) {
	for len(o.buckets) <= int(n.total) {
		o.buckets = append(o.buckets, bucket{})
	}
	b := &o.buckets[n.total]
	n.prev, n.next = b.last, nil
	if b.last == nil {
		b.first = n
	} else {
		b.last.next = n
	}
	b.last = n
	o.low = min(o.low, int(n.total))
	o.count++
}

func (o *order) remove(n *node) {
	b := &o.buckets[n.total]
	if n.prev == nil {
		b.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		b.last = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
	o.count--
}

// load changes how many tasks a node has.
func (o *order) load(n *node, by int32) {
	if !n.open {
		n.total += by
		return
	}
	o.remove(n)
	n.total += by
	o.insert(n)
}

// least returns the first bucket that has a node, or the number of buckets.
func (o *order) least() int {
	for o.low < len(o.buckets) && o.buckets[o.low].first == nil {
		o.low++
	}
	return o.low
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
