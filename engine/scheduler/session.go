package scheduler

import "github.com/swarmd/swarmd/engine/mutant"

// A session chooses nodes for the tasks of one group, one after the other.
type session struct {
	*pass
	g  *group
	id uint64

	only     chooser    // of the one leaf that there is without preferences
	leaves   []*chooser // by branch, when there are preferences
	contests [][]rank   // by branch: its children, a heap
	load     []uint64   // by branch: active tasks of the service
}

// A chooser chooses among the nodes of one leaf. Nodes on which the service has
// neither tasks nor failures come first, in the order of their load: they are met by
// walking along the leaf's nodes, and only what is walked over costs. The walk sees
// the loads as they were when the session began; those that change are of nodes
// that it has passed. All other nodes are in a heap.
type chooser struct {
	leaf   int32
	walk   bool
	bucket int   // where the walk goes on
	at     int32 // the next in the bucket

	nodes []*node // what the heap will be made of
	heap  []rank
	made  bool  // the heap is
	last  *node // chosen last, to go back into the heap
}

// A rank orders nodes, or branches: the least comes first.
type rank struct {
	key  uint64 // failures, tasks of the service, all tasks
	tie  uint32
	node *node
	leaf int32
}

// begin opens a session. It costs as many steps as nodes have tasks of the service.
func (p *pass) begin(g *group) *session {
	c := g.class
	c.sync(p.Scheduler)
	p.sessions++
	x := &p.session
	*x = session{pass: p, g: g, id: p.sessions, only: chooser{nodes: x.only.nodes[:0], heap: x.only.heap[:0]}}
	if len(c.branches) > 1 {
		x.leaves = make([]*chooser, len(c.branches))
		x.load = make([]uint64, len(c.branches))
		x.contests = make([][]rank, len(c.branches))
	} else {
		x.enter(&x.only, 0)
	}
	for _, cell := range g.service.cells {
		x.meet(cell.node).count = cell.count
		x.note(cell.node, uint64(cell.count))
	}
	for _, f := range g.recent(p.wall) {
		if count := f.count(p.wall); count > 0 {
			known := f.node.session == x.id
			x.meet(f.node).failed = count
			if !known {
				x.note(f.node, 0)
			}
		}
	}
	if g.why != nil { // of the others it is known that they refuse
		x.offer()
	}
	return x
}

// enter readies a chooser for a leaf.
func (x *session) enter(l *chooser, leaf int32) {
	l.leaf = leaf
	if x.g.why != nil {
		return
	}
	b := &x.g.class.branches[leaf]
	for b.low < len(b.buckets) && b.buckets[b.low].first == none {
		b.low++
	}
	if l.walk = b.low < len(b.buckets); l.walk {
		l.bucket, l.at = b.low, b.buckets[b.low].first
	}
}

// leafAt returns the chooser of a leaf.
func (x *session) leafAt(leaf int32) *chooser {
	if x.leaves == nil {
		return &x.only
	}
	if x.leaves[leaf] == nil {
		x.leaves[leaf] = &chooser{}
		x.enter(x.leaves[leaf], leaf)
	}
	return x.leaves[leaf]
}

// meet makes what the session knows of a node its own.
func (x *session) meet(n *node) *node {
	if n.session != x.id {
		n.session, n.count, n.failed = x.id, 0, 0
	}
	return n
}

// note puts a node that a walk passes over where it will be found, and adds what it
// has of the service to its branches, whether it takes more or not.
func (x *session) note(n *node, count uint64) {
	c := x.g.class
	if leaf := c.leaf(n); leaf >= 0 && x.g.why == nil {
		l := x.leafAt(leaf)
		l.nodes = append(l.nodes, n)
	}
	if x.leaves == nil || n.object == nil {
		return
	}
	at := int32(0)
	for _, l := range c.spread {
		next, ok := c.branches[at].values[l.of(n.object)]
		if !ok {
			return // no member is there
		}
		at = next
		x.load[at] += count
	}
}

// offer takes the nodes that have changed their mind, each once.
func (x *session) offer() {
	kept := x.g.accept[:0]
	for _, n := range x.g.accept {
		if x.g.why[n.index] != accepted || n.offered == x.id {
			continue
		}
		n.offered = x.id
		kept = append(kept, n)
		l := x.leafAt(x.g.class.leaf(n))
		l.nodes = append(l.nodes, n)
	}
	clear(x.g.accept[len(kept):])
	x.g.accept = kept
}

// next returns the node for the next task, which must be placed on it; nil if
// there is none.
func (x *session) next() *node { return x.choose(0) }

// choose goes down the tree to the emptiest branch that has a place.
func (x *session) choose(at int32) *node {
	children := x.g.class.branches[at].children
	if len(children) == 0 {
		return x.chooseIn(x.leafAt(at))
	}
	if x.contests[at] == nil {
		heap := make([]rank, 0, len(children))
		for _, c := range children {
			heap = append(heap, rank{key: x.load[c], tie: mix(uint32(c) ^ x.g.salt), leaf: c})
		}
		x.contests[at] = makeHeap(heap)
	}
	for heap := x.contests[at]; len(heap) > 0; heap = x.contests[at] {
		if n := x.choose(heap[0].leaf); n != nil {
			heap[0].key++
			sink(heap, 0)
			return n
		}
		x.contests[at] = pop(heap)
	}
	return nil
}

// chooseIn chooses among the nodes of a leaf.
func (x *session) chooseIn(l *chooser) *node {
	if n := x.walkOn(l); n != nil {
		return n
	}
	if !l.made {
		x.fill(l)
	} else if l.last != nil {
		if x.takes(l.last) {
			l.heap = push(l.heap, x.rank(l.last))
		}
		l.last = nil
	}
	if len(l.heap) == 0 {
		return nil
	}
	l.last = l.heap[0].node
	l.heap = pop(l.heap)
	l.last.count++
	return l.last
}

// walkOn returns the next node of the walk that has nothing of the service.
func (x *session) walkOn(l *chooser) *node {
	if !l.walk {
		return nil
	}
	c := x.g.class
	buckets := c.branches[l.leaf].buckets
	for {
		for l.at == none {
			if l.bucket++; l.bucket >= len(buckets) {
				l.walk = false
				return nil
			}
			l.at = buckets[l.bucket].first
		}
		n := x.slots[l.at]
		l.at = c.links[l.at].next
		if n.session == x.id || !x.takes(n) {
			continue
		}
		x.meet(n).count = 1
		l.nodes = append(l.nodes, n)
		return n
	}
}

// fill makes the heap: of the nodes that the walk left aside, or of those that have
// changed their mind.
func (x *session) fill(l *chooser) {
	l.made = true
	for _, n := range l.nodes {
		if x.takes(n) {
			l.heap = append(l.heap, x.rank(n))
		}
	}
	l.heap = makeHeap(l.heap)
}

// takes reports whether a member of the class takes another task.
func (x *session) takes(n *node) bool {
	d := &x.g.demand
	return n.open && n.fits(d) && n.free(d.ports) && (d.max == 0 || n.session != x.id || n.count < d.max || mutant.On(mutant.ReplicasPerNodeIgnored))
}

func (x *session) rank(n *node) rank {
	x.meet(n)
	const most = 1<<24 - 1
	return rank{
		key:  uint64(n.failed)<<48 | uint64(min(n.count, most))<<24 | uint64(min(n.total, most)),
		tie:  mix(n.hash ^ x.g.salt),
		node: n,
	}
}
