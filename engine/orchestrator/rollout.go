package orchestrator

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// A rollout is what is remembered of an update under way: which slots are still
// to be moved, which are being moved, and which tasks are watched.
type rollout struct {
	template uint64
	config   swarm.UpdateConfig

	urgent queue[state.SlotKey] // slots to be moved that do not run: they go first
	rest   queue[state.SlotKey]
	flying map[state.SlotKey]bool // moved, and the new task does not run yet
	landed []landing              // moved, and waiting out the delay; by time

	watched map[state.TaskID]time.Time // end of each task's monitor
	last    time.Time                  // end of the last one
}

// A landing is a slot that has been moved and still counts as being moved.
type landing struct{ until time.Time }

// rolloutOf returns the rollout of the service's present template, nil when none
// is under way. On a new leader it is rebuilt here.
func (p *pass) rolloutOf(s *state.Service) *rollout {
	u := s.Update
	if u == nil || u.Template != s.Template || !isUnderWay(u.State) || isJob(s) {
		return nil
	}
	r := p.rollouts[s.ID]
	if r == nil || r.template != s.Template {
		r = p.resume(s)
		p.rolls.push(s.ID)
		if u.Failed > 0 && mutant.On(mutant.FailuresForgotten) {
			c, fresh := *s, *u
			c.Update, fresh.Failed = &fresh, 0
			s = p.putService(&c)
		}
	}
	r.config = configOf(s)
	return r
}

// resume builds a rollout from the tasks of a service.
func (p *pass) resume(s *state.Service) *rollout {
	r := &rollout{
		template: s.Template,
		config:   configOf(s),
		flying:   map[state.SlotKey]bool{},
		watched:  map[state.TaskID]time.Time{},
		last:     p.now,
	}
	for key, tasks := range p.d.Slots(s.ID) {
		v := &slot{pass: p, service: s, ref: slotRef{s.ID, key}, tasks: tasks} // only looks
		if v.stale() {
			r.enqueue(v)
		}
		for _, t := range v.tasks {
			r.recover(v, t)
		}
		if len(v.tasks) > 1 { // there may be what an earlier update left half done
			p.slots.push(v.ref)
		}
	}
	slices.SortFunc(r.landed, func(a, b landing) int { return a.until.Compare(b.until) })
	p.rollouts[s.ID] = r
	return r
}

// recover takes in a task that an earlier leader made for this update. Its slot
// waits out the delay whatever has become of the task since.
func (r *rollout) recover(v *slot, t *state.Task) {
	if !t.Rollout || t.Template != r.template || mutant.On(mutant.FlightForgotten) {
		return
	}
	if t.Ran == 0 {
		if alive(t) { // also one that has ended and is yet to be replaced
			r.flying[v.ref.key] = true
			v.slots.push(v.ref)
		}
		return
	}
	if left := v.remaining(t.Ran.Add(r.config.Delay), r.config.Delay); left > 0 {
		r.landed = append(r.landed, landing{v.now.Add(left)})
	}
	if alive(t) {
		until := v.now.Add(v.remaining(t.Ran.Add(r.config.Monitor), r.config.Monitor))
		r.watched[t.ID] = until
		r.last = later(r.last, until)
	}
}

// enqueue has a slot moved in its turn.
func (r *rollout) enqueue(v *slot) {
	for _, t := range v.tasks {
		if alive(t) && t.Status.State == state.TaskRunning {
			r.rest.push(v.ref.key)
			return
		}
	}
	r.urgent.push(v.ref.key)
}

// stale reports whether the slot is to be moved to the service's template. One
// where the new task has ended for good, and the old one was kept, has had its turn.
func (v *slot) stale() bool {
	tried, lively := false, false
	for _, t := range v.tasks {
		switch current := t.Template == v.service.Template; {
		case alive(t) && current:
			return false
		case alive(t):
			lively, tried = true, false
		case current && t.Desired == state.TaskShutdown && selfEnded(t):
			u := v.service.Update
			tried = tried || u == nil || t.Created >= u.Started
		}
	}
	if lively {
		return !tried
	}
	return v.occupied() && v.last().Template != v.service.Template
}

// roll takes the service's update a step further: it begins it, moves slots as
// far as its parallelism goes, or declares it complete.
func (p *pass) roll(id state.ServiceID) {
	s := p.d.Service(id)
	if s == nil || isJob(s) {
		return
	}
	if s = p.begin(s); s == nil {
		return
	}
	r := p.rolloutOf(s)
	if r == nil {
		delete(p.rollouts, id)
		return
	}
	p.rolls.remove(id) // this is the turn that resuming asks for
	r.land(p.now)
	for r.free() && r.waiting() {
		if p.d.Full() {
			p.rolls.push(id)
			return
		}
		p.move(s, r, r.next())
	}
	switch {
	case len(r.landed) > 0:
		p.deadlines.add(r.landed[0].until, cause{roll: true, slot: slotRef{service: id}})
	case (len(r.flying) > 0 || r.waiting()) && !mutant.On(mutant.UpdateEndsEarly):
	case p.now.Before(r.last) && !mutant.On(mutant.UpdateUnwatched):
		p.deadlines.add(r.last, cause{roll: true, slot: slotRef{service: id}})
	default:
		p.complete(s)
	}
}

// begin starts an update where the tasks are not what the service says, and
// makes one that a user asked for its own. It returns nil when none is wanted.
func (p *pass) begin(s *state.Service) *state.Service {
	u := s.Update
	if u != nil && u.Template == s.Template {
		return s
	}
	r := p.resume(s)
	dirty := uint64(r.urgent.len() + r.rest.len())
	asked := foreign(u) && isUnderWay(u.State)
	if dirty == 0 && !asked {
		delete(p.rollouts, s.ID)
		return nil
	}
	c := *s
	c.Update = &state.Update{
		State:    swarm.UpdateStateUpdating,
		Started:  p.wall,
		Message:  "update in progress",
		Template: s.Template,
		Dirty:    dirty,
	}
	if asked {
		c.Update.State, c.Update.Message = u.State, u.Message
		if u.Started != 0 {
			c.Update.Started = u.Started
		}
	}
	r.config = configOf(&c)
	return p.putService(&c)
}

// land lets go of slots whose delay is over.
func (r *rollout) land(now time.Time) {
	for len(r.landed) > 0 && !now.Before(r.landed[0].until) {
		r.landed = r.landed[1:]
	}
}

// free reports whether another slot may be moved. Parallelism 0 is no limit.
func (r *rollout) free() bool {
	return r.config.Parallelism == 0 || uint64(len(r.flying)+len(r.landed)) < r.config.Parallelism ||
		mutant.On(mutant.ParallelismUnbounded)
}

func (r *rollout) waiting() bool { return r.urgent.len()+r.rest.len() > 0 }

func (r *rollout) next() state.SlotKey {
	if r.urgent.len() > 0 {
		key := r.urgent.pop()
		r.rest.remove(key)
		return key
	}
	return r.rest.pop()
}

// move replaces what is in a slot by a task of the service's template.
func (p *pass) move(s *state.Service, r *rollout, key state.SlotKey) {
	v := p.view(s, s.ID, key)
	if r.flying[key] || !v.stale() || !v.placeable() {
		return
	}
	first := r.config.Order == swarm.UpdateOrderStartFirst && slices.ContainsFunc(v.tasks, func(t *state.Task) bool {
		return alive(t) && t.Status.State == state.TaskRunning
	})
	how := successor{template: s.Template, rollout: true}
	if first {
		v.tasks = append(v.tasks, p.create(s, key, v.tasks, how))
		v.prune()
	} else {
		for i, t := range v.tasks {
			if alive(t) {
				v.tasks[i] = p.desire(t, state.TaskShutdown)
			}
		}
		v.succeed(how, 0)
	}
	r.flying[key] = true
	v.reap()
}

// look takes in what has become of a slot.
func (r *rollout) look(v *slot) {
	if v.service != nil && v.stale() {
		r.hasten(v)
	}
	if !r.flying[v.ref.key] {
		return
	}
	var t *state.Task
	for _, o := range v.tasks {
		if o.Rollout && o.Template == r.template && alive(o) {
			t = o
		}
	}
	if t != nil && t.Status.State < state.TaskRunning {
		return
	}
	delete(r.flying, v.ref.key)
	switch {
	case t != nil:
		r.watched[t.ID] = v.now.Add(r.config.Monitor)
	case v.service != nil && v.stale(): // the new task was lost before it ran, the old one was kept
		r.enqueue(v)
	}
	r.last = later(r.last, v.now.Add(r.config.Monitor))
	if r.config.Delay > 0 {
		r.landed = append(r.landed, landing{v.now.Add(r.config.Delay)})
	}
	v.rolls.push(v.ref.service)
}

// hasten moves a slot to the front that waits for its turn and does not run.
func (r *rollout) hasten(v *slot) {
	if !r.rest.in[v.ref.key] {
		return
	}
	for _, t := range v.tasks {
		if alive(t) && t.Status.State == state.TaskRunning {
			return
		}
	}
	r.urgent.push(v.ref.key)
	v.rolls.push(v.ref.service)
}

// countFailure counts a task of the update that has ended before the end of its
// monitor, and acts when there were too many.
func (v *slot) countFailure(r *rollout, t *state.Task) {
	s := v.service
	if v.rollouts[s.ID] != r || !t.Rollout || t.Template != r.template || !selfEnded(t) {
		return
	}
	if until, ran := r.watched[t.ID]; ran && (!v.now.Before(until) || mutant.On(mutant.MonitorIgnored)) {
		return
	}
	c, u := *s, *s.Update
	u.Failed++
	c.Update = &u
	action := r.config.FailureAction
	exceeded := float64(u.Failed)/float64(max(u.Dirty, 1)) > float64(r.config.MaxFailureRatio) &&
		!mutant.On(mutant.RatioIgnored)
	switch {
	case !exceeded || action == swarm.UpdateFailureActionContinue:
		v.putService(&c)
	case action == swarm.UpdateFailureActionRollback && u.State == swarm.UpdateStateUpdating && c.Previous != nil:
		v.rollBack(&c, t)
	default:
		v.pause(&c, t)
	}
}

// pause stops an update. What was moved stays as it is, and goes on restarting.
func (p *pass) pause(c *state.Service, failed *state.Task) {
	why := " paused due to failure or early termination of task " + string(failed.ID)
	if c.Update.State == swarm.UpdateStateRollbackStarted {
		c.Update.State, c.Update.Message = swarm.UpdateStateRollbackPaused, "rollback"+why
	} else {
		c.Update.State, c.Update.Message = swarm.UpdateStatePaused, "update"+why
	}
	p.putService(c)
	delete(p.rollouts, c.ID)
}

// rollBack returns a service to what it was before: its whole spec, and the very
// template, so that tasks not yet moved are what they should be already. The
// spec that a client has read does not hold any more, so neither does its version.
func (p *pass) rollBack(c *state.Service, failed *state.Task) {
	c.Update.State = swarm.UpdateStateRollbackStarted
	c.Update.Message = "update rolled back due to failure or early termination of task " + string(failed.ID)
	c.Update.Failed = 0
	if !mutant.On(mutant.RollbackKeepsSpec) {
		c.Spec = *c.Previous
	}
	c.Previous = nil
	c.SpecVersion = p.d.Version()
	c.RegistryAuth, c.PreviousAuth = c.PreviousAuth, ""
	if t := p.d.Template(c.ID, c.PreviousTemplate); t != nil {
		c.Template, c.Ports = t.Version, t.Ports
	}
	c.PreviousTemplate = 0
	c.Update.Template = 0 // begun anew, with what is to be moved back
	p.putService(c)
	delete(p.rollouts, c.ID)
	p.services.push(c.ID)
	p.rolls.push(c.ID)
}

// complete ends an update well.
func (p *pass) complete(s *state.Service) {
	c, u := *s, *s.Update
	c.Update = &u
	u.Completed = p.wall
	if u.State == swarm.UpdateStateRollbackStarted {
		u.State, u.Message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	} else {
		u.State, u.Message = swarm.UpdateStateCompleted, "update completed"
	}
	p.putService(&c)
	delete(p.rollouts, s.ID)
	if isGlobal(s) { // slots that the update could not reach
		p.services.push(s.ID)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
