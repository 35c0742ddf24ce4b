package check

import "github.com/swarmd/swarmd/engine/state"

// updatesEnd looks at updates at rest.
type updatesEnd struct{}

// Sentence implements [Oracle].
func (*updatesEnd) Sentence() string { return "L5 every update completes, pauses or is rolled back" }

// AtRest implements [Rester].
func (o *updatesEnd) AtRest(c *Checker) {
	for s := range c.View().Services() {
		if c.restless(s) || c.waits(s) {
			continue // its tasks never come to run, or have no place
		}
		switch {
		case underWay(s.Update):
			c.Violate(o, "%s is %s at rest: %s", s.Spec.Name, s.Update.State, s.Update.Message)
		case !paused(s.Update) && !isJob(s):
			o.templates(c, s)
		}
	}
}

// templates looks at what the tasks of a service are made from.
func (o *updatesEnd) templates(c *Checker, s *state.Service) {
	for key, tasks := range c.View().Slots(s.ID) {
		tried := false // a new task has ended for good, and the old one was kept
		for _, t := range tasks {
			tried = tried || t.Template == s.Template && selfEnded(t)
		}
		for _, t := range tasks {
			n := c.View().Node(t.Node)
			if alive(t) && t.Template != s.Template && !tried && n != nil && isActive(n) {
				c.Violate(o, "task %s of slot %v of %s is made from template %d at rest; it has %d", t.ID, key, s.Spec.Name, t.Template, s.Template)
			}
		}
	}
}
