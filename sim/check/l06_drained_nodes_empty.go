package check

// drainedEmpty looks at drained nodes at rest.
type drainedEmpty struct{}

// Sentence implements [Oracle].
func (*drainedEmpty) Sentence() string { return "L6 a drained node comes to run nothing" }

// AtRest implements [Rester].
func (o *drainedEmpty) AtRest(c *Checker) {
	for n := range c.View().Nodes() {
		h := c.host(n.ID)
		if !isDrained(n) || h == nil {
			continue
		}
		for t := range c.View().TasksOn(n.ID) {
			if alive(t) && holding(t) && !c.restless(c.View().Service(t.Service)) {
				c.Violate(o, "%s is drained at rest, and has task %s", h.Name, t.ID)
			}
		}
		if !c.core(h) {
			continue
		}
		for x := range h.Live() {
			c.Violate(o, "%s is drained at rest, and runs task %s", h.Name, x.Task)
		}
	}
}
