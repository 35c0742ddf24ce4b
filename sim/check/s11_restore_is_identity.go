package check

import (
	"bytes"
	"iter"
	"reflect"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// restoreIdentity compares objects, not bytes.
type restoreIdentity struct{}

// Sentence implements [Oracle].
func (*restoreIdentity) Sentence() string { return "S11 what is restored has the same objects" }

// Restored implements [Restorer].
func (o *restoreIdentity) Restored(c *Checker, h *sim.Host, s *state.Store) {
	if s.Index() == c.Store.Index() {
		o.compare(c, h.Name, c.Store, s)
	}
}

// AtRest implements [Rester].
func (o *restoreIdentity) AtRest(c *Checker) {
	var b bytes.Buffer
	if _, err := c.Store.Freeze().WriteTo(&b); err != nil {
		c.Violate(o, "a snapshot cannot be written: %v", err)
		return
	}
	restored, err := state.Restore(&b)
	if err != nil {
		c.Violate(o, "a snapshot cannot be restored: %v", err)
		return
	}
	o.compare(c, "a snapshot", c.Store, restored)
}

func (o *restoreIdentity) compare(c *Checker, who string, a, b *state.Store) {
	x, y := a.Draft(), b.Draft()
	same(c, o, who+": the swarm", one(x.Cluster()), one(y.Cluster()))
	same(c, o, who+": nodes", x.Nodes(), y.Nodes())
	same(c, o, who+": services", x.Services(), y.Services())
	same(c, o, who+": tasks", x.Tasks(), y.Tasks())
	same(c, o, who+": templates", templates(x), templates(y))
}

func templates(d *state.Draft) iter.Seq[*state.Template] {
	return func(yield func(*state.Template) bool) {
		for _, s := range d.ServicesWithTemplates() {
			for _, t := range d.Templates(s) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

func one[T any](v *T) iter.Seq[*T] { return func(yield func(*T) bool) { yield(v) } }

// same holds two sequences against each other, and names the first difference.
func same[T any](c *Checker, o Oracle, what string, a, b iter.Seq[*T]) {
	next, stop := iter.Pull(b)
	defer stop()
	n := 0
	for x := range a {
		y, ok := next()
		if !ok || !reflect.DeepEqual(x, y) {
			c.Violate(o, "%s: object %d is %+v, and was %+v", what, n, y, x)
			return
		}
		n++
	}
	if y, more := next(); more {
		c.Violate(o, "%s: there is one more: %+v", what, y)
	}
}
