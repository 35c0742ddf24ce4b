package scheduler

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// classesMax is how many classes are kept when nothing waits for them; one more and
// they are computed anew when they are needed.
const classesMax = 256

// A class is the nodes that satisfy what some templates ask of a node that does not
// change with its load, in the tree that their placement preferences make.
type class struct {
	constraints []state.Constraint
	platforms   []swarm.Platform
	plugins     []swarm.PluginDescription
	spread      []label
	never       bool // the constraints cannot be understood: no node satisfies them

	branches []branch // the root first
	leafOf   []int32  // by index of the node; -1 is no member
	blocked  int      // groups that wait for a node of the class
	gone     bool
}

// A branch is a part of the tree: of the children one for each value of a label, or
// at the leaves the nodes.
type branch struct {
	values   map[string]int32
	children []int32
	members  []*node
}

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

// classOf returns the class of what the group asks.
func (s *Scheduler) classOf(g *group) *class {
	if g.class != nil && !g.class.gone {
		return g.class
	}
	if g.class == nil {
		g.asks = signature(g.template)
	}
	c := s.classes[g.asks]
	if c == nil {
		c = newClass(&g.template.Spec)
		c.leafOf = make([]int32, 0, len(s.slots))
		for _, n := range s.slots {
			if n != nil {
				c.update(n)
			}
		}
		s.classes[g.asks] = c
		s.listed = append(s.listed, c)
	}
	g.class = c
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

// trim throws away the classes that nothing waits for when there are too many.
func (s *Scheduler) trim() {
	if len(s.listed) <= classesMax {
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

// leaf returns the branch that a node is in, -1 if it is no member.
func (c *class) leaf(n *node) int32 {
	if int(n.index) < len(c.leafOf) {
		return c.leafOf[n.index]
	}
	return -1
}

// update puts a node where it belongs now.
func (c *class) update(n *node) {
	for len(c.leafOf) <= int(n.index) {
		c.leafOf = append(c.leafOf, -1)
	}
	old, now := c.leafOf[n.index], int32(-1)
	if n.object != nil && c.refusal(n.object) == accepted {
		now = c.descend(n.object)
	}
	if old == now {
		return
	}
	if old >= 0 {
		b := &c.branches[old]
		i := slices.Index(b.members, n)
		b.members = slices.Delete(b.members, i, i+1)
	}
	if now >= 0 {
		c.branches[now].members = append(c.branches[now].members, n)
	}
	c.leafOf[n.index] = now
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
	case c.never || !state.Eligible(n, c.constraints):
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
