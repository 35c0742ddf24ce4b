package check

import "github.com/swarmd/swarmd/engine/state"

// forward looks at what tasks are and are to be.
type forward struct{}

// Sentence implements [Oracle].
func (*forward) Sentence() string { return "S19 a task only moves forward, by its owner's transitions" }

// Committed implements [Committer].
func (o *forward) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, t := range delta.Tasks {
		switch {
		case t.After == nil:
			continue
		case t.Before == nil:
			if s := t.After.Status.State; s > state.TaskAssigned {
				c.Violate(o, "entry %d makes task %s as %s", index, t.After.ID, s)
			}
			continue
		}
		from, to := t.Before.Status.State, t.After.Status.State
		if from != to && !owned(from, to) {
			c.Violate(o, "entry %d moves task %s from %s to %s", index, t.After.ID, from, to)
		}
		if t.After.Desired < t.Before.Desired {
			c.Violate(o, "entry %d wants task %s to be %s, after %s", index, t.After.ID, t.After.Desired, t.Before.Desired)
		}
	}
}

// owned reports whether there is anybody who may do that, one step or several of
// one entry.
func owned(from, to state.TaskState) bool {
	_, ok := state.Transition(from, to)
	return ok && to > from
}
