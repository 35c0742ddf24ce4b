package scheduler

import "github.com/moby/moby/api/types/swarm"

// Claims are the generic resources of a node that its tasks hold. They outlast
// what the node says that it has, which may change.
type claims struct {
	discrete map[string]int64
	named    map[swarm.NamedGenericResource]int
}

// A need is so much of one kind of generic resource.
type need struct {
	kind  string
	count int64
}

func (c *claims) hold(held []swarm.GenericResource, sign int64) {
	for _, r := range held {
		switch {
		case r.DiscreteResourceSpec != nil:
			if c.discrete == nil {
				c.discrete = map[string]int64{}
			}
			c.discrete[r.DiscreteResourceSpec.Kind] += sign * r.DiscreteResourceSpec.Value
		case r.NamedResourceSpec != nil:
			if c.named == nil {
				c.named = map[swarm.NamedGenericResource]int{}
			}
			c.named[*r.NamedResourceSpec] += int(sign)
		}
	}
}

// has reports whether the node has enough left of every kind.
func (n *node) has(needs []need) bool {
	for _, w := range needs {
		left := int64(0)
		for _, r := range resourcesOf(n.object).GenericResources {
			left += n.generic.left(r, w.kind)
		}
		if left < w.count {
			return false
		}
	}
	return true
}

// left is how much of a kind is left of what a node says that it has.
func (c *claims) left(r swarm.GenericResource, kind string) int64 {
	switch {
	case r.DiscreteResourceSpec != nil && r.DiscreteResourceSpec.Kind == kind:
		return r.DiscreteResourceSpec.Value - c.discrete[kind]
	case r.NamedResourceSpec != nil && r.NamedResourceSpec.Kind == kind && c.named[*r.NamedResourceSpec] == 0:
		return 1
	default:
		return 0
	}
}

// pick chooses what a task gets: named resources by their names, in the order in
// which the node lists them.
func (n *node) pick(needs []need) []swarm.GenericResource {
	var picked []swarm.GenericResource
	for _, w := range needs {
		rest := w.count
		for _, r := range resourcesOf(n.object).GenericResources {
			if rest <= 0 || n.generic.left(r, w.kind) <= 0 {
				continue
			}
			if r.NamedResourceSpec != nil {
				name := *r.NamedResourceSpec
				picked = append(picked, swarm.GenericResource{NamedResourceSpec: &name})
				rest--
				continue
			}
			count := min(rest, n.generic.left(r, w.kind))
			picked = append(picked, swarm.GenericResource{
				DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: w.kind, Value: count},
			})
			rest -= count
		}
	}
	return picked
}

func sameGeneric(a, b swarm.GenericResource) bool {
	return samePointee(a.NamedResourceSpec, b.NamedResourceSpec) && samePointee(a.DiscreteResourceSpec, b.DiscreteResourceSpec)
}

func samePointee[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
