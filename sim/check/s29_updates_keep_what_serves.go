package check

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// keepsServing looks at running tasks that an entry has stop though nothing is
// wrong with them or their node, and that a task of an update replaces.
type keepsServing struct{}

// Sentence implements [Oracle].
func (*keepsServing) Sentence() string {
	return "S29 an update takes no more slots out of service than it may: none if it starts the new task first"
}

// Committed implements [Committer].
func (o *keepsServing) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if !told(d) || d.Before == nil || d.After.Status.State != state.TaskRunning || d.After.Desired != state.TaskShutdown {
			continue
		}
		if s := c.View().Service(d.After.Service); s != nil && underWay(s.Update) && d.After.Template != s.Template && !o.moves(c, d.After, s) {
			o.judge(c, index, d.After, s)
		}
	}
}

// moves reports whether the task must leave its node anyway.
func (o *keepsServing) moves(c *Checker, t *state.Task, s *state.Service) bool {
	n := c.View().Node(t.Node)
	demanding := c.template(t)
	if t.Global {
		demanding = c.View().Template(s.ID, s.Template)
	}
	return n == nil || n.State == state.NodeDown || isDrained(n) || !state.Eligible(n, constraints(demanding))
}

// judge looks at the slot of a running task that was stopped for an update. How
// many slots may be out at once is S30.
func (o *keepsServing) judge(c *Checker, index uint64, old *state.Task, s *state.Service) {
	first := updateConfig(s).Order == swarm.UpdateOrderStartFirst
	for _, t := range c.View().Slot(old.Service, old.SlotKey()) {
		if t.ID != old.ID && alive(t) && (t.Status.State == state.TaskRunning || !first) {
			return
		}
	}
	what := "is to follow it in"
	if first {
		what = "runs in"
	}
	c.Violate(o, "entry %d stops task %s of %s, which runs, and no other task %s slot %v", index, old.ID, s.Spec.Name, what, old.SlotKey())
}
