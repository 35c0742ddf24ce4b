package check

import (
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// restarts remembers how the tasks of every slot have ended, longer than the
// swarm keeps them.
type restarts struct {
	ends map[tries][]ending             // of tasks that ended by themselves
	made map[tries]time.Duration        // when the last restart was decided on
	born map[state.TaskID]time.Duration // of those that wait for their delay
}

// An ending is that of a task.
type ending struct {
	at   state.Wall // as its node says
	node state.NodeID
}

// tries are the tasks of a slot that are made from one template, in one run of a
// job.
type tries struct {
	slot      slotRef
	template  uint64
	iteration uint64
}

func triesOf(t *state.Task) tries { return tries{slotOf(t), t.Template, t.JobIteration} }

// Sentence implements [Oracle].
func (*restarts) Sentence() string {
	return "S33 restarts respect the policy's condition, attempts, window and delay, whoever leads"
}

// Committed implements [Committer].
func (o *restarts) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, n := range delta.Nodes {
		if n.After == nil { // with a node all goes that is known of its tasks
			for k, ends := range o.ends {
				o.ends[k] = slices.DeleteFunc(ends, func(e ending) bool { return e.node == n.Before.ID })
			}
		}
	}
	over := map[slotRef]*state.Task{} // what has ended by itself, and is told so by this entry
	gone := map[slotRef]*state.Task{} // what was wanted, and is forgotten by this very entry
	for _, d := range delta.Tasks {
		switch t := d.After; {
		case t == nil:
			delete(o.born, d.Before.ID)
			if alive(d.Before) && holding(d.Before) && c.View().Node(d.Before.Node) != nil {
				gone[slotOf(d.Before)] = d.Before
			}
			if d.Before.Desired == state.TaskReady { // it was given up while it waited
				delete(o.made, triesOf(d.Before))
			}
		case d.Before != nil && d.Before.Desired == state.TaskReady && t.Desired != state.TaskReady:
			o.began(c, index, t)
			if !alive(t) {
				delete(o.made, triesOf(t))
			}
		case t.Desired == state.TaskRemove && (d.Before == nil || d.Before.Desired != state.TaskRemove):
			delete(o.ends, triesOf(t))
			delete(o.made, triesOf(t))
		}
		if t := d.After; t != nil && told(d) && !selfEnded(t) {
			delete(o.made, triesOf(t)) // its node is lost: what follows does not wait
		}
		if t := d.After; t != nil && told(d) && selfEnded(t) && t.Desired == state.TaskShutdown {
			over[slotOf(t)] = t
			o.ends[triesOf(t)] = append(o.ends[triesOf(t)], ending{t.Status.At, t.Node})
		}
	}
	for _, d := range delta.Tasks {
		if t := d.After; t != nil && d.Before == nil && (t.Rollout || len(c.View().Slot(t.Service, t.SlotKey())) == 1) {
			delete(o.ends, triesOf(t)) // an update begins to count anew, and so does a slot that was given up
			delete(o.made, triesOf(t))
		}
		if t := d.After; t != nil && d.Before == nil && !t.Rollout {
			if old := over[slotOf(t)]; old != nil && triesOf(old) == triesOf(t) {
				o.judge(c, index, old, t)
			} else if old := gone[slotOf(t)]; old != nil && triesOf(old) == triesOf(t) {
				o.ends[triesOf(t)] = append(o.ends[triesOf(t)], ending{t.Created, old.Node})
				o.count(c, index, t, t.Created)
			}
		}
	}
	for _, s := range delta.Services {
		if s.After == nil {
			gone := func(k tries, _ time.Duration) bool { return k.slot.service == s.Before.ID }
			maps.DeleteFunc(o.made, gone)
			maps.DeleteFunc(o.ends, func(k tries, _ []ending) bool { return gone(k, 0) })
		}
	}
}

// judge looks at a task that follows one of its slot which has ended by itself.
func (o *restarts) judge(c *Checker, index uint64, old, t *state.Task) {
	p := restartPolicyOf(c.template(t))
	switch {
	case p.condition == "none":
		c.Violate(o, "entry %d restarts slot %v after %s, and the condition is none", index, t.SlotKey(), old.Status.State)
	case old.Status.State == state.TaskComplete && (t.Job || p.condition == "on-failure"):
		c.Violate(o, "entry %d restarts slot %v, whose task %s is complete", index, t.SlotKey(), old.ID)
	}
	o.count(c, index, t, old.Status.At)
	if n := c.View().Node(old.Node); p.delay <= 0 || n != nil && isDrained(n) {
		return
	}
	if last, ok := o.made[triesOf(t)]; ok && c.World.Now()-last < p.delay*8/10 && !c.Skewed() {
		c.Violate(o, "entry %d restarts slot %v %v after the last restart; the delay is %v", index, t.SlotKey(), c.World.Now()-last, p.delay)
	}
	o.made[triesOf(t)] = c.Decided()
	if t.Desired != state.TaskReady {
		c.Violate(o, "entry %d restarts slot %v at once; the delay is %v", index, t.SlotKey(), p.delay)
	}
	o.born[t.ID] = c.Decided()
}

// count looks at how many ends there are when t follows the last of them.
func (o *restarts) count(c *Checker, index uint64, t *state.Task, last state.Wall) {
	p := restartPolicyOf(c.template(t))
	ends := o.ends[triesOf(t)]
	if p.window > 0 {
		// Ends within the window, by a clock that may differ by a fifth.
		since := last.Add(-p.window * 8 / 10)
		ends = slices.Clone(ends)
		ends = slices.DeleteFunc(ends, func(e ending) bool { return e.at < since })
	}
	if p.attempts > 0 && uint64(len(ends)) > p.attempts && (p.window == 0 || !c.Skewed()) {
		c.Violate(o, "entry %d restarts slot %v after %d ends; %d attempts are allowed", index, t.SlotKey(), len(ends), p.attempts)
	}
}

// began looks at a task that waited for its delay, and waits no more.
func (o *restarts) began(c *Checker, index uint64, t *state.Task) {
	at, ok := o.born[t.ID]
	delete(o.born, t.ID)
	if !ok || !alive(t) || c.Skewed() {
		return
	}
	p := restartPolicyOf(c.template(t))
	if waited := c.World.Now() - at; waited < p.delay*8/10 {
		c.Violate(o, "entry %d starts task %s after %v; the delay is %v", index, t.ID, waited, p.delay)
	}
}
