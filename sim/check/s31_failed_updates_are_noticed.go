package check

import (
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// failuresCounted counts the failures of an update's tasks beside the leader.
type failuresCounted struct {
	updates map[state.ServiceID]*updateSeen
	ran     map[state.TaskID]time.Duration // when a task of an update was known to run
}

// An updateSeen is one update of a service, from its beginning or from a rollback.
type updateSeen struct {
	template      uint64
	started       state.Wall
	rollback      bool
	sure, perhaps uint64 // failures within their monitor: surely, and besides those perhaps
}

// Sentence implements [Oracle].
func (*failuresCounted) Sentence() string {
	return "S31 an update pauses or rolls back when more tasks fail in their monitor than it bears, and only then; it is complete when all have been watched"
}

// Committed implements [Committer].
func (o *failuresCounted) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	touched := map[state.ServiceID]*state.Service{} // as they were, nil if they did not change
	for _, s := range delta.Services {
		switch {
		case s.After == nil:
			delete(o.updates, s.Before.ID)
		case s.Before != nil:
			touched[s.After.ID] = s.Before
			o.begin(s.Before) // failures of this entry count for the update that it met
		}
	}
	for _, d := range delta.Tasks {
		o.look(c, d, touched)
	}
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		before, after := touched[id], c.View().Service(id)
		if after == nil {
			continue
		}
		if before == nil {
			before = after
		}
		o.judge(c, index, before, after)
		o.begin(after)
	}
}

// begin notes which update a service is in.
func (o *failuresCounted) begin(s *state.Service) {
	u := s.Update
	if u == nil {
		delete(o.updates, s.ID)
		return
	}
	seen := o.updates[s.ID]
	if seen == nil || seen.started != u.Started || seen.rollback != rollingBack(u) || u.Template != 0 && seen.template != 0 && seen.template != u.Template {
		seen = &updateSeen{template: u.Template, started: u.Started, rollback: rollingBack(u)}
		o.updates[s.ID] = seen
	}
	if seen.template == 0 {
		seen.template = u.Template
	}
}

// look counts a task that has failed.
func (o *failuresCounted) look(c *Checker, d state.Diff[state.Task], touched map[state.ServiceID]*state.Service) {
	t := d.After
	if t == nil {
		if u := o.updates[d.Before.Service]; d.Before.Rollout && alive(d.Before) && u != nil && u.template == d.Before.Template {
			u.perhaps++ // it may have failed and been forgotten in one entry
		}
		delete(o.ran, d.Before.ID)
		return
	}
	if !t.Rollout {
		return
	}
	if d.Before != nil && d.Before.Ran == 0 && t.Ran != 0 {
		o.ran[t.ID] = c.Decided()
	}
	if d.Before == nil || !told(d) || !selfEnded(t) || t.Desired != state.TaskShutdown {
		return
	}
	u := o.updates[t.Service]
	s := c.View().Service(t.Service)
	if u == nil || s == nil || u.template != t.Template {
		return
	}
	if _, ok := touched[t.Service]; !ok {
		touched[t.Service] = nil
	}
	if before := touched[t.Service]; before != nil {
		s = before // a rollback may have brought another configuration
	}
	monitor := updateConfig(s).Monitor
	began, ran := o.ran[t.ID]
	switch since := c.Decided() - began; {
	case !ran, since < monitor/2 && !c.Skewed():
		u.sure++
	case since < 2*monitor || c.Skewed():
		u.perhaps++
	}
}

// judge holds what the leader made of it against what was counted.
func (o *failuresCounted) judge(c *Checker, index uint64, before, after *state.Service) {
	u, seen := before.Update, o.updates[before.ID]
	if u == nil || seen == nil || after.Update == nil || u.Template == 0 || before.SpecVersion != after.SpecVersion && !rollingBack(after.Update) {
		return // a user has begun another update
	}
	dirty, ratio := float64(max(u.Dirty, 1)), float64(updateConfig(before).MaxFailureRatio)
	byFailure := underWay(u) && (paused(after.Update) || u.State == swarm.UpdateStateUpdating && after.Update.State == swarm.UpdateStateRollbackStarted && before.Previous != nil && after.Previous == nil)
	// A rollback, which changes the spec, ends the update and has nothing to watch
	// where the tasks are what it returns to.
	if underWay(u) && !underWay(after.Update) && !paused(after.Update) && before.SpecVersion == after.SpecVersion {
		o.watched(c, index, before, after)
	}
	switch {
	case byFailure && float64(seen.sure+seen.perhaps)/dirty <= ratio:
		c.Violate(o, "entry %d ends the update of %s as %s: %d of %v tasks failed, it bears %v", index, before.Spec.Name, after.Update.State, seen.sure+seen.perhaps, dirty, ratio)
	case !underWay(after.Update) || byFailure:
	case after.Update.Started != u.Started:
	case after.Update.Failed < u.Failed:
		c.Violate(o, "entry %d has the update of %s forget failures: %d of %d", index, before.Spec.Name, after.Update.Failed, u.Failed)
	case after.Update.Failed > seen.sure+seen.perhaps:
		c.Violate(o, "entry %d has the update of %s count %d failures of %d", index, before.Spec.Name, after.Update.Failed, seen.sure+seen.perhaps)
	case underWay(u) && float64(seen.sure)/dirty > ratio && updateConfig(before).FailureAction != swarm.UpdateFailureActionContinue:
		c.Violate(o, "entry %d goes on with the update of %s: %d of %v tasks have failed, it bears %v", index, before.Spec.Name, seen.sure, dirty, ratio)
	}
}

// watched looks at the tasks of an update that is declared complete: each has run
// for as long as its monitor lasts.
func (o *failuresCounted) watched(c *Checker, index uint64, before, after *state.Service) {
	monitor := updateConfig(before).Monitor
	for t := range c.View().TasksOf(after.ID) {
		began, ran := o.ran[t.ID]
		if !ran || !t.Rollout || !alive(t) || t.Template != before.Update.Template || c.Skewed() {
			continue
		}
		if since := c.Decided() - began; since < monitor*8/10 {
			c.Violate(o, "entry %d declares the update of %s complete %v after task %s began to run; the monitor is %v", index, after.Spec.Name, since, t.ID, monitor)
		}
	}
}
