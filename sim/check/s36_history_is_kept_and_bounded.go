package check

import (
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// historyDefault is how many tasks of a slot are kept where nobody says.
const historyDefault = 5

// historyBounded looks at tasks that are removed from the store, and at rest at
// what is kept.
type historyBounded struct {
	forgotten map[state.TaskID]bool // but for those of nodes that are down or gone
}

// Sentence implements [Oracle].
func (*historyBounded) Sentence() string {
	return "S36 history is bounded, and no task is forgotten whose container may live"
}

// Committed implements [Committer].
func (o *historyBounded) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.Before
		if d.After != nil || t == nil || t.Status.State == state.TaskOrphaned {
			continue
		}
		n, h := c.View().Node(t.Node), c.host(t.Node)
		if n == nil || n.State == state.NodeDown || h == nil {
			continue
		}
		o.forgotten[t.ID] = true
		if x := h.Container(t.ID); x != nil && x.Running {
			c.Violate(o, "entry %d forgets task %s, which runs on %s", index, t.ID, h.Name)
		}
	}
}

// Ran implements [Runner].
func (o *historyBounded) Ran(c *Checker, x *sim.Container) {
	if o.forgotten[x.Task] {
		c.Violate(o, "task %s begins to run on %s, and is forgotten", x.Task, x.Host.Name)
	}
}

// Ended implements [Runner].
func (*historyBounded) Ended(*Checker, *sim.Container) {}

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
			most, ended, wanted := limit, int64(0), int64(0)
			for _, t := range tasks {
				if p := restartPolicyOf(c.template(t)); p.attempts > 0 {
					most = max(most, int64(p.attempts)+1) // they are counted from it
				}
				if alive(t) {
					wanted = 1
				}
				if !alive(t) && t.Status.State.Terminal() {
					ended++
				}
			}
			// One more says that an empty slot stays empty.
			if ended > most+1-wanted {
				c.Violate(o, "slot %v of %s keeps %d tasks that have ended; %d are to be kept", key, s.Spec.Name, ended, most)
			}
		}
	}
}
