package check

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// stopPatience is how long a successor waits for what it replaces to stop, at
// least: Docker's minute. What a clock may gain on it is taken off.
const stopPatience = time.Minute * 8 / 10

// Why two containers of a slot may run.
const (
	excuseGone  = "the older one was given up"
	excuseDown  = "its node is or was down"
	excuseOver  = "the newer one is to stop already"
	excuseFirst = "the new one starts first"
	excuseSlow  = "it is slow to stop"
)

// oneOfSlot remembers what runs in every slot.
type oneOfSlot struct {
	live map[slotRef][]*sim.Container
	slot map[*sim.Container]slotRef
	told map[state.TaskID]time.Duration // when tasks that had not ended were told to stop
	made map[state.TaskID]time.Duration // when tasks of updates were made
	down map[state.NodeID]time.Duration // when nodes were last down
}

// Sentence implements [Oracle].
func (*oneOfSlot) Sentence() string {
	return "S24 two containers of a slot run only if the older one is out of reach, or slow to stop"
}

// Committed implements [Committer].
func (o *oneOfSlot) Committed(c *Checker, _ uint64, _ state.Entry, delta *state.Delta) {
	now := c.World.Now()
	for _, n := range delta.Nodes {
		switch {
		case n.After == nil:
			delete(o.down, n.Before.ID)
		case n.After.State == state.NodeDown, n.Before != nil && n.Before.State == state.NodeDown:
			o.down[n.After.ID] = now
		}
	}
	for _, t := range delta.Tasks {
		switch {
		case t.After == nil:
			delete(o.told, t.Before.ID)
			delete(o.made, t.Before.ID)
		case told(t) && holding(t.After):
			o.told[t.After.ID] = c.Decided()
		case t.Before == nil && t.After.Rollout:
			o.made[t.After.ID] = c.Decided()
		}
	}
}

// Ran implements [Runner].
func (o *oneOfSlot) Ran(c *Checker, x *sim.Container) {
	t := c.View().Task(x.Task)
	if t == nil {
		return
	}
	ref := slotOf(t)
	for _, other := range o.live[ref] {
		if why := o.excuse(c, t, other); why != "" {
			c.World.Probe("two containers of a slot: " + why)
			continue
		}
		c.Violate(o, "task %s of slot %v runs on %s, and task %s runs on %s", t.ID, ref.key, x.Host.Name, other.Task, other.Host.Name)
	}
	o.live[ref] = append(o.live[ref], x)
	o.slot[x] = ref
}

// excuse says why another container of the slot may run though t begins to.
func (o *oneOfSlot) excuse(c *Checker, t *state.Task, other *sim.Container) string {
	old := c.View().Task(other.Task)
	if old == nil || old.Status.State == state.TaskOrphaned {
		return excuseGone
	}
	n := c.View().Node(old.Node)
	s := c.View().Service(t.Service)
	switch {
	case n == nil || n.State == state.NodeDown, o.down[old.Node] > 0 && o.down[old.Node] >= o.told[old.ID]:
		return excuseDown
	case s == nil || !alive(t):
		return excuseOver
	case !alive(old) && t.Rollout && o.made[t.ID] > 0 && o.made[t.ID] < o.told[old.ID]:
		return excuseFirst // so it was made, whatever order holds by now
	case alive(old) && old.Template != t.Template, !alive(old) && t.Rollout && startsFirst(s):
		return excuseFirst // S22 has seen that it may; what came before the old one may be stopping still
	case alive(old):
		return ""
	case c.Skewed() || c.World.Now()-o.told[old.ID] >= stopPatience:
		return excuseSlow
	}
	return ""
}

// Ended implements [Runner].
func (o *oneOfSlot) Ended(_ *Checker, x *sim.Container) {
	ref, ok := o.slot[x]
	if !ok {
		return
	}
	delete(o.slot, x)
	o.live[ref] = slices.DeleteFunc(o.live[ref], func(y *sim.Container) bool { return x == y })
	if len(o.live[ref]) == 0 {
		delete(o.live, ref)
	}
}
