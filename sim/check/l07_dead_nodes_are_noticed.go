package check

import "github.com/swarmd/swarmd/engine/state"

// deadNoticed looks at rest at nodes whose daemon does not run.
type deadNoticed struct{}

// Sentence implements [Oracle].
func (*deadNoticed) Sentence() string {
	return "L7 a dead node is taken for down, and its tasks for lost"
}

// AtRest implements [Rester].
func (o *deadNoticed) AtRest(c *Checker) {
	for n := range c.View().Nodes() {
		h := c.host(n.ID)
		switch {
		case h == nil:
		case c.core(h) && n.State != state.NodeReady:
			c.Violate(o, "%s is well, and its node is in state %d (%s) at rest", h.Name, n.State, n.Message)
		case !h.Up() && n.State != state.NodeDown:
			c.Violate(o, "%s does not run, and its node is in state %d at rest", h.Name, n.State)
		case !h.Up():
			for t := range c.View().TasksOn(n.ID) {
				if alive(t) && holding(t) {
					c.Violate(o, "%s does not run, and task %s is wanted there at rest", h.Name, t.ID)
				}
			}
		}
	}
}
