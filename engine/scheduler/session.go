package scheduler

import "slices"

// A session chooses nodes for the tasks of one group, one after the other.
type session struct {
	*pass
	g  *group
	id uint64

	leaves   []*chooser // by branch
	contests [][]rank   // by branch: its children, a heap
	load     []uint64   // by branch: active tasks of the service
}

// A chooser chooses among the nodes of one leaf. Nodes on which the service has
// neither tasks nor failures come first, in the order of their load: for a class of
// many nodes they are met by walking along all open nodes, and only what is walked
// over costs. All others are in a heap.
type chooser struct {
	leaf   int32
	walk   bool // along the order of all nodes
	walked bool // or it was begun
	bucket int
	at     *node // where the walk goes on

	nodes []*node // what the heap is made of
	heap  []rank
	ready bool  // the heap is made
	last  *node // chosen last, to go back into the heap
}

// A rank orders nodes, or branches: the least comes first.
type rank struct {
	key  uint64 // failures, tasks of the service, all tasks
	tie  uint32
	node *node
	leaf int32
}

// walkShare is how few of all nodes a leaf may have to be found by walking along
// all: one in so many.
const walkShare = 8

// begin opens a session. It costs as many steps as nodes have tasks of the service.
func (p *pass) begin(g *group) *session {
	p.sessions++
	x := &session{pass: p, g: g, id: p.sessions}
	c := g.class
	x.leaves = make([]*chooser, len(c.branches))
	if len(c.branches) == 1 {
		x.leaves[0] = &chooser{}
		if g.why == nil && len(c.branches[0].members)*walkShare >= p.order.count {
			low := p.order.least()
			*x.leaves[0] = chooser{walk: true, walked: true, bucket: low, at: p.order.first(low)}
		}
	} else {
		x.load = make([]uint64, len(c.branches))
		x.contests = make([][]rank, len(c.branches))
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

// meet makes what the session knows of a node its own.
func (x *session) meet(n *node) *node {
	if n.session != x.id {
		n.session, n.count, n.failed = x.id, 0, 0
	}
	return n
}

// note puts a node that a walk passes over where it will be found, and adds what it
// has of the service to its branches.
func (x *session) note(n *node, count uint64) {
	leaf := x.g.class.leaf(n)
	if leaf < 0 {
		return
	}
	if l := x.leaves[0]; l != nil {
		if l.walked {
			l.nodes = append(l.nodes, n)
		}
		return
	}
	x.load[leaf] += count
	if n.object != nil {
		at := int32(0)
		for _, l := range x.g.class.spread {
			x.load[at] += count
			at = x.g.class.branches[at].values[l.of(n.object)]
		}
	}
}

func (x *session) leafAt(leaf int32) *chooser {
	if x.leaves[leaf] == nil {
		x.leaves[leaf] = &chooser{leaf: leaf}
	}
	return x.leaves[leaf]
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
	if !l.ready {
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
	for l.walk {
		n := l.at
		if n == nil {
			if l.bucket++; l.bucket >= len(x.order.buckets) {
				l.walk = false
				return nil
			}
			l.at = x.order.first(l.bucket)
			continue
		}
		l.at = n.next // before n moves on
		if n.session == x.id || x.g.class.leaf(n) < 0 || !x.takes(n) {
			continue
		}
		x.meet(n).count = 1
		l.nodes = append(l.nodes, n)
		return n
	}
	return nil
}

// fill makes the heap: of the nodes that the walk left aside, of those that have
// changed their mind, or of all.
func (x *session) fill(l *chooser) {
	l.ready = true
	nodes := l.nodes
	if !l.walked && x.g.why == nil {
		nodes = x.g.class.branches[l.leaf].members
	}
	heap := make([]rank, 0, len(nodes))
	for _, n := range nodes {
		if x.takes(n) {
			heap = append(heap, x.rank(n))
		}
	}
	l.nodes = nil
	l.heap = makeHeap(heap)
}

// takes reports whether a member of the class takes another task.
func (x *session) takes(n *node) bool {
	d := &x.g.demand
	return n.open && n.fits(d) && n.free(d.ports) && (d.max == 0 || n.session != x.id || n.count < d.max)
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

// first returns the first node of a bucket.
func (o *order) first(bucket int) *node {
	if bucket < len(o.buckets) {
		return o.buckets[bucket].first
	}
	return nil
}

func (a *rank) before(b *rank) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	if a.node != nil && b.node != nil {
		return a.node.id < b.node.id
	}
	return a.leaf < b.leaf
}

func makeHeap(h []rank) []rank {
	for i := len(h)/2 - 1; i >= 0; i-- {
		sink(h, i)
	}
	return h
}

func push(h []rank, r rank) []rank {
	h = append(h, r)
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	return h
}

func pop(h []rank) []rank {
	last := len(h) - 1
	h[0] = h[last]
	h = slices.Delete(h, last, last+1)
	sink(h, 0)
	return h
}

func sink(h []rank, i int) {
	for {
		least, left := i, 2*i+1
		if left < len(h) && h[left].before(&h[least]) {
			least = left
		}
		if left+1 < len(h) && h[left+1].before(&h[least]) {
			least = left + 1
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
