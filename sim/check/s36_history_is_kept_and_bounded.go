package check

import "github.com/swarmd/swarmd/engine/state"

// historyDefault is how many tasks of a slot are kept where nobody says.
const historyDefault = 5

// historyBounded looks at tasks that are removed from the store, and at rest at
// what is kept.
type historyBounded struct{}

// Sentence implements [Oracle].
func (*historyBounded) Sentence() string {
	return "S36 history is bounded, and no task is forgotten whose container may live"
}

// Committed implements [Committer].
func (o *historyBounded) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.Before
		if d.After != nil || t == nil {
			continue
		}
		if t.Status.State >= state.TaskAssigned && !t.Status.State.Terminal() && c.View().Node(t.Node) != nil {
			c.Violate(o, "entry %d forgets task %s, which is %s on node %s", index, t.ID, t.Status.State, t.Node)
		}
		h := c.host(t.Node)
		if h == nil || t.Status.State == state.TaskOrphaned {
			continue
		}
		if x := h.Container(t.ID); x != nil && x.Running && c.View().Node(t.Node) != nil {
			c.Violate(o, "entry %d forgets task %s, which runs on %s", index, t.ID, h.Name)
		}
	}
}

// AtRest implements [Rester].
func (o *historyBounded) AtRest(c *Checker) {
	limit := int64(historyDefault)
	if cluster := c.View().Cluster(); cluster != nil && cluster.Spec.Orchestration.TaskHistoryRetentionLimit != nil {
		limit = *cluster.Spec.Orchestration.TaskHistoryRetentionLimit
	}
	if limit < 0 {
		return
	}
	for s := range c.View().Services() {
		for key, tasks := range c.View().Slots(s.ID) {
			most, ended := limit, int64(0)
			for _, t := range tasks {
				if p := restartPolicyOf(c.template(t)); p.attempts > 0 {
					most = max(most, int64(p.attempts)+1) // they are counted from it
				}
				if !alive(t) && t.Status.State.Terminal() {
					ended++
				}
			}
			if ended > max(most, 1) {
				c.Violate(o, "slot %v of %s keeps %d tasks that have ended; %d are to be kept", key, s.Spec.Name, ended, most)
			}
		}
	}
}
