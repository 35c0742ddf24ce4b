package check

import "github.com/swarmd/swarmd/engine/state"

// oneWanted looks at a slot whenever it gets a task: nothing else can make the
// wanted ones more.
type oneWanted struct{}

// Sentence implements [Oracle].
func (*oneWanted) Sentence() string {
	return "S22 a slot has one wanted task, two while an update starts the new one first"
}

// Committed implements [Committer].
func (o *oneWanted) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if d.Before != nil || d.After == nil || !alive(d.After) {
			continue
		}
		var wanted []*state.Task
		for _, t := range c.View().Slot(d.After.Service, d.After.SlotKey()) {
			if alive(t) {
				wanted = append(wanted, t)
			}
		}
		s := c.View().Service(d.After.Service)
		switch {
		case len(wanted) < 2 || s == nil: // S18 looks at tasks without a service
		case len(wanted) > 2 || !startsFirst(s):
			c.Violate(o, "entry %d makes task %s, one of %d wanted of slot %v of %s", index, d.After.ID, len(wanted), d.After.SlotKey(), s.Spec.Name)
		case wanted[0].Template == wanted[1].Template:
			c.Violate(o, "entry %d makes task %s, another of the same template in slot %v of %s", index, d.After.ID, d.After.SlotKey(), s.Spec.Name)
		}
	}
}

// AtRest implements [Rester].
func (o *oneWanted) AtRest(c *Checker) {
	for s := range c.View().Services() {
		for key, tasks := range c.View().Slots(s.ID) {
			n := 0
			for _, t := range tasks {
				if alive(t) {
					n++
				}
			}
			if n > 1 && !paused(s.Update) && !c.restless(s) && !c.waits(s) {
				c.Violate(o, "slot %v of %s has %d wanted tasks at rest", key, s.Spec.Name, n)
			}
		}
	}
}
