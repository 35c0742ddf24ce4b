package scheduler

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// Limits of what is kept. Beyond them it is computed anew when it is needed.
const (
	linksMax = 8 << 20 // places of nodes in all classes that nothing waits for, 16 bytes each
	movesMax = 4096    // moves of nodes, or as many as there are nodes if that is more
)

// A class is the nodes that satisfy what some templates ask of a node that does not
// change with its load, in the tree that their placement preferences make.
type class struct {
	constraints []state.Constraint
	platforms   []swarm.Platform
	plugins     []swarm.PluginDescription
	spread      []label
	never       bool // the constraints cannot be understood: no node satisfies them

	branches []branch // the root first
	links    []link   // by index of the node
	synced   int      // how many of the scheduler's moves are known
	lagging  bool     // of some that are not they are no longer known
	blocked  int      // groups that wait for a node of the class
	gone     bool
}

// A link is a node's place in its leaf.
type link struct {
	leaf       int32 // none for who is no member
	level      int32 // closed for who is in no bucket
	prev, next int32 // of the same bucket; none at its ends
}

// none is no branch, and no node.
const none = -1

// A branch is a part of the tree: it has one child for each value of a label or, if
// it is a leaf, the open nodes in the order of how many tasks they have. Among
// equals who came to its number first is first, so that each has its turn.
type branch struct {
	values   map[string]int32
	children []int32
	buckets  []bucket // by number of tasks
	low      int      // no bucket before it has any
}

// A bucket is a list of nodes that have as many tasks.
type bucket struct{ first, last int32 }

// A label is what a placement preference spreads over.
type label struct {
	engine bool // a label of the engine rather than of the node
	name   string
}

func (l label) of(n *state.Node) string {
	if l.engine {
		return n.Description.Engine.Labels[l.name]
	}
	return n.Spec.Labels[l.name]
}

// classOf sees to it that the group knows the class of what it asks.
func (s *Scheduler) classOf(g *group) {
	if g.class != nil && !g.class.gone {
		return
	}
	if g.class == nil {
		g.asks = signature(g.template)
	}
	g.class = s.class(g.asks, &g.template.Spec)
}

// class returns the class of that signature, which is made when it is first wanted.
func (s *Scheduler) class(asks string, spec *swarm.TaskSpec) *class {
	if c := s.classes[asks]; c != nil {
		return c
	}
	c := newClass(spec)
	c.links = make([]link, 0, len(s.slots))
	c.synced = len(s.moves)
	for i, n := range s.slots {
		if n != nil {
			c.update(n, s.levels[i])
		}
	}
	s.classes[asks] = c
	s.listed = append(s.listed, c)
	return c
}

func newClass(t *swarm.TaskSpec) *class {
	c := &class{branches: make([]branch, 1), plugins: plugins(t)}
	p := t.Placement
	if p == nil {
		return c
	}
	parsed, err := state.ParseConstraints(p.Constraints)
	c.constraints, c.never = parsed, err != nil
	for _, f := range p.Platforms {
		c.platforms = append(c.platforms, swarm.Platform{OS: f.OS, Architecture: architecture(f.Architecture)})
	}
	for _, r := range p.Preferences {
		if r.Spread == nil {
			continue
		}
		if l, ok := parseLabel(r.Spread.SpreadDescriptor); ok {
			c.spread = append(c.spread, l)
		}
	}
	return c
}

// parseLabel understands node.labels.name and engine.labels.name. Docker ignores
// whatever else a preference names.
func parseLabel(descriptor string) (label, bool) {
	const onNode, onEngine = "node.labels.", "engine.labels."
	switch lower := strings.ToLower(descriptor); {
	case strings.HasPrefix(lower, onNode) && len(lower) > len(onNode):
		return label{false, descriptor[len(onNode):]}, true
	case strings.HasPrefix(lower, onEngine) && len(lower) > len(onEngine):
		return label{true, descriptor[len(onEngine):]}, true
	default:
		return label{}, false
	}
}

// trim throws away the classes that nothing waits for when there are too many, and
// the moves when there are so many that it is cheaper to look at every node.
func (s *Scheduler) trim(moves, links int) {
	if len(s.moves) > moves {
		for _, c := range s.listed {
			c.lagging = c.lagging || c.synced < len(s.moves)
			c.synced = 0
		}
		s.moves = s.moves[:0]
	}
	if len(s.listed)*len(s.slots) <= links {
		return
	}
	for _, c := range s.listed {
		c.gone = c.blocked == 0
	}
	s.listed = slices.DeleteFunc(s.listed, func(c *class) bool { return c.gone })
	clear(s.classes)
	for _, g := range s.blocked {
		s.classes[g.asks] = g.class
	}
}

// leaf returns the branch that a node is in, or none.
func (c *class) leaf(n *node) int32 {
	if int(n.index) < len(c.links) {
		return c.links[n.index].leaf
	}
	return none
}

// sync puts the nodes whose level has changed in their places.
func (c *class) sync(s *Scheduler) {
	if c.lagging {
		c.lagging = false
		for i := range c.links {
			c.relink(int32(i), s.levels[i])
		}
	} else {
		for _, i := range s.moves[c.synced:] {
			if int(i) < len(c.links) {
				c.relink(i, s.levels[i])
			}
		}
	}
	c.synced = len(s.moves)
}

// update puts a node where it belongs now.
func (c *class) update(n *node, level int32) {
	for len(c.links) <= int(n.index) {
		c.links = append(c.links, link{leaf: none, level: closed})
	}
	leaf := int32(none)
	if n.object != nil && c.refusal(n.object) == accepted {
		leaf = c.descend(n.object)
	}
	if l := &c.links[n.index]; l.leaf != leaf {
		c.relink(n.index, closed)
		l.leaf = leaf
	}
	c.relink(n.index, level)
}

// relink moves a node to the bucket of a level, at its end.
func (c *class) relink(i, level int32) {
	l := &c.links[i]
	if l.leaf < 0 || l.level == level {
		return
	}
	b := &c.branches[l.leaf]
	if l.level != closed {
		from := &b.buckets[l.level]
		c.join(from, l.prev, l.next)
	}
	l.level = level
	if level == closed {
		return
	}
	for len(b.buckets) <= int(level) {
		b.buckets = append(b.buckets, bucket{none, none})
	}
	to := &b.buckets[level]
	last := to.last
	c.join(to, last, i)
	l.prev, l.next = last, none
	to.last = i
	b.low = min(b.low, int(level))
}

// join makes two nodes of a bucket neighbours; none stands for its ends.
func (c *class) join(b *bucket, prev, next int32) {
	if prev == none {
		b.first = next
	} else {
		c.links[prev].next = next
	}
	if next == none {
		b.last = prev
	} else {
		c.links[next].prev = prev
	}
}

// descend returns the leaf for a node, and makes its branches if they are new.
func (c *class) descend(n *state.Node) int32 {
	at := int32(0)
	for _, l := range c.spread {
		value := l.of(n)
		child, ok := c.branches[at].values[value]
		if !ok {
			child = int32(len(c.branches))
			c.branches = append(c.branches, branch{})
			b := &c.branches[at]
			if b.values == nil {
				b.values = map[string]int32{}
			}
			b.values[value] = child
			b.children = append(b.children, child)
		}
		at = child
	}
	return at
}

// refusal is the first of the filters that see only what a node is that refuses it.
func (c *class) refusal(n *state.Node) reason {
	switch {
	case !hasPlugins(n.Description.Engine.Plugins, c.plugins):
		return missingPlugin
	case c.never || !state.Eligible(n, c.constraints) && !mutant.On(mutant.ConstraintIgnored):
		return unsatisfied
	case !c.runsOn(n.Description.Platform):
		return unsupported
	default:
		return accepted
	}
}

// hasPlugins reports whether a node has all that is wanted. One that lists no
// plugin of a type is believed to have every one: it may be that it lists none.
func hasPlugins(have, wanted []swarm.PluginDescription) bool {
	for _, w := range wanted {
		listed := func(p swarm.PluginDescription) bool { return p.Type == w.Type }
		found := func(p swarm.PluginDescription) bool {
			return p.Type == w.Type && strings.TrimSuffix(p.Name, ":latest") == strings.TrimSuffix(w.Name, ":latest")
		}
		if slices.ContainsFunc(have, listed) && !slices.ContainsFunc(have, found) {
			return false
		}
	}
	return true
}

// runsOn reports whether the image runs on a platform. What the image does not name
// it does not care about.
func (c *class) runsOn(p swarm.Platform) bool {
	if len(c.platforms) == 0 {
		return true
	}
	arch := architecture(p.Architecture)
	return slices.ContainsFunc(c.platforms, func(w swarm.Platform) bool {
		return (w.OS == "" || w.OS == p.OS) && (w.Architecture == "" || w.Architecture == arch)
	})
}

// architecture is the name that images use for what kernels may call otherwise.
func architecture(name string) string {
	switch name {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	default:
		return name
	}
}
