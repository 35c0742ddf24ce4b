package check

import "github.com/swarmd/swarmd/engine/state"

// jobsOnce remembers which slots of jobs are complete.
type jobsOnce struct{ complete map[tries]state.TaskID }

// Sentence implements [Oracle].
func (*jobsOnce) Sentence() string {
	return "S34 what a job has completed is not run again, and it completes what it should, no more at once than it may"
}

// Committed implements [Committer].
func (o *jobsOnce) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		t := d.After
		if t == nil || !t.Job {
			continue
		}
		run := triesOf(t)
		run.template = 0
		if d.Before == nil {
			if done := o.complete[run]; done != "" {
				c.Violate(o, "entry %d makes task %s of slot %v, which task %s has completed", index, t.ID, t.SlotKey(), done)
			}
			if s := c.View().Service(t.Service); s != nil && s.Spec.Mode.ReplicatedJob != nil && t.Slot >= completions(s) {
				c.Violate(o, "entry %d makes task %s of slot %d; the job has %d", index, t.ID, t.Slot, completions(s))
			}
		}
		if d.Before == nil {
			o.crowded(c, index, t)
		}
		if t.Status.State == state.TaskComplete {
			o.complete[run] = t.ID
		}
	}
	for _, s := range delta.Services {
		if s.After == nil || s.Before != nil && s.Before.JobIteration != s.After.JobIteration {
			for run := range o.complete {
				if run.slot.service == s.Before.ID {
					delete(o.complete, run)
				}
			}
		}
	}
}

// crowded looks at how many slots of a replicated job are busy once another is.
func (o *jobsOnce) crowded(c *Checker, index uint64, made *state.Task) {
	s := c.View().Service(made.Service)
	if s == nil || s.Spec.Mode.ReplicatedJob == nil || s.Spec.Mode.ReplicatedJob.MaxConcurrent == nil || s.JobIteration != made.JobIteration {
		return
	}
	busy := map[uint64]bool{}
	for t := range c.View().TasksOf(s.ID) {
		if t.JobIteration == s.JobIteration && alive(t) && t.Status.State != state.TaskComplete {
			busy[t.Slot] = true
		}
	}
	if most := *s.Spec.Mode.ReplicatedJob.MaxConcurrent; most > 0 && uint64(len(busy)) > most {
		c.Violate(o, "entry %d has %d slots of job %s busy; %d may be", index, len(busy), s.Spec.Name, most)
	}
}

// completions is how many slots a replicated job has.
func completions(s *state.Service) uint64 {
	spec := s.Spec.Mode.ReplicatedJob
	switch {
	case spec.TotalCompletions != nil:
		return *spec.TotalCompletions
	case spec.MaxConcurrent != nil:
		return *spec.MaxConcurrent
	default:
		return 1
	}
}

// AtRest implements [Rester].
func (o *jobsOnce) AtRest(c *Checker) {
	for s := range c.View().Services() {
		if s.Spec.Mode.ReplicatedJob == nil || c.restless(s) {
			continue
		}
		// A task that completed on a node that was taken for lost has a slot that is
		// completed once more elsewhere.
		done, pending := map[uint64]bool{}, 0
		for t := range c.View().TasksOf(s.ID) {
			switch {
			case t.JobIteration != s.JobIteration:
			case t.Status.State == state.TaskComplete:
				done[t.Slot] = true
			case alive(t) && t.Status.State < state.TaskAssigned:
				pending++
			}
		}
		if uint64(len(done)) != completions(s) && pending == 0 && !c.exhausted(s) {
			c.Violate(o, "job %s has completed %d of %d at rest", s.Spec.Name, len(done), completions(s))
		}
	}
}
