package check

import "github.com/swarmd/swarmd/engine/state"

// tasksOfServices remembers every task that there ever was.
type tasksOfServices struct{ known map[state.TaskID]bool }

// Sentence implements [Oracle].
func (*tasksOfServices) Sentence() string {
	return "S18 task identifiers are unique, and every task has a service or is being removed"
}

// Committed implements [Committer].
func (o *tasksOfServices) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, t := range delta.Tasks {
		if t.Before != nil || t.After == nil {
			continue
		}
		if o.known[t.After.ID] {
			c.Violate(o, "entry %d makes task %s, which there was before", index, t.After.ID)
		}
		o.known[t.After.ID] = true
		if c.View().Service(t.After.Service) == nil {
			c.Violate(o, "entry %d makes task %s of service %s, which there is not", index, t.After.ID, t.After.Service)
		}
		if c.template(t.After) == nil {
			c.Violate(o, "entry %d makes task %s from template %d, which there is not", index, t.After.ID, t.After.Template)
		}
	}
	for _, t := range delta.Templates {
		if t.Before == nil || t.After != nil {
			continue
		}
		for task := range c.View().TasksOf(t.Before.Service) {
			if task.Template == t.Before.Version {
				c.Violate(o, "entry %d removes template %d, from which task %s is made", index, t.Before.Version, task.ID)
			}
		}
	}
}

// AtRest implements [Rester]: of a service that was removed only what may still
// run on nodes out of reach is left.
func (o *tasksOfServices) AtRest(c *Checker) {
	for t := range c.View().Tasks() {
		if c.View().Service(t.Service) == nil && t.Desired != state.TaskRemove {
			c.Violate(o, "task %s of a removed service is %s, and to be %s", t.ID, t.Status.State, t.Desired)
		}
	}
}
