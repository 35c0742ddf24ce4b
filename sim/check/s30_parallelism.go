package check

import (
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// parallelism counts the slots that an update has in flight whenever it moves
// another, whoever leads.
type parallelism struct {
	most map[state.ServiceID]uint64 // what was in flight after the last move
	last map[state.ServiceID][]landing
}

// A landing is a task of an update that began to run.
type landing struct {
	template uint64
	at       time.Duration
}

// Sentence implements [Oracle].
func (*parallelism) Sentence() string {
	return "S30 an update has no more slots in flight than its parallelism"
}

// Committed implements [Committer].
func (o *parallelism) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, s := range delta.Services {
		if s.After != nil && (!underWay(s.After.Update) || s.Before != nil && begun(s.Before) != begun(s.After)) {
			delete(o.last, s.After.ID) // an update that a user begins anew waits for none of what came before
		}
	}
	moved := map[state.ServiceID]bool{}
	for _, d := range delta.Tasks {
		t := d.After
		if t == nil || !t.Rollout {
			continue
		}
		if d.Before == nil {
			moved[t.Service] = true
		} else if d.Before.Ran == 0 && t.Ran != 0 && alive(t) {
			o.last[t.Service] = append(o.last[t.Service], landing{t.Template, c.Decided()})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(moved)) {
		if s := c.View().Service(id); s != nil {
			o.judge(c, index, s)
		}
	}
	for _, s := range delta.Services {
		if s.After == nil {
			delete(o.most, s.Before.ID)
			delete(o.last, s.Before.ID)
		}
	}
}

func (o *parallelism) judge(c *Checker, index uint64, s *state.Service) {
	config := updateConfig(s)
	if config.Parallelism == 0 {
		o.most[s.ID] = 1 << 32
		return
	}
	flying := uint64(0)
	for t := range c.View().TasksOf(s.ID) {
		if t.Rollout && alive(t) && t.Template == s.Template && t.Ran == 0 && !t.Status.State.Terminal() {
			flying++
		}
	}
	// What an earlier, wider update has begun may go on.
	limit := max(config.Parallelism, o.most[s.ID])
	if flying > limit {
		c.Violate(o, "entry %d: %d slots of %s are being moved, %d may be", index, flying, s.Spec.Name, limit)
	}
	o.most[s.ID] = max(flying, config.Parallelism)
	if config.Delay <= 0 || c.Skewed() {
		return
	}
	// Those that began to run within the delay count still. A fifth is what clocks may differ by.
	kept := o.last[s.ID][:0]
	for _, l := range o.last[s.ID] {
		if l.template == s.Template && c.World.Now()-l.at < config.Delay*8/10 {
			kept = append(kept, l)
		}
	}
	o.last[s.ID] = kept
	if n := flying + uint64(len(kept)); n > max(limit, o.most[s.ID]) {
		c.Violate(o, "entry %d: %d slots of %s are being moved or wait out the delay of %v, %d may", index, n, s.Spec.Name, config.Delay, limit)
	}
}

// begun is when the service's update was.
func begun(s *state.Service) state.Wall {
	if s.Update == nil {
		return 0
	}
	return s.Update.Started
}
