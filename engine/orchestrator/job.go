package orchestrator

import (
	"slices"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// A job is what is remembered of one run of a replicated job: which slots are
// busy, and which is the first that was never begun.
type job struct {
	iteration uint64
	busy      map[state.SlotKey]bool
	next      uint64
}

// replicatedJob begins as many slots as may run at once, until every slot has
// been begun: each is completed once.
func (p *pass) replicatedJob(s *state.Service) {
	concurrent, total := jobSize(s)
	j := p.jobs[s.ID]
	if j == nil || j.iteration != s.JobIteration {
		j = p.resumeJob(s)
	}
	for j.next < total && (uint64(len(j.busy)) < concurrent || mutant.On(mutant.JobCrowded)) {
		if p.d.Full() {
			p.services.push(s.ID)
			return
		}
		key := state.SlotKey{Number: j.next}
		v := p.view(s, s.ID, key)
		v.succeed(successor{template: s.Template}, 0)
		j.busy[key] = true
		j.next++
	}
}

// jobSize returns how many slots of a job may run at once, and how many there are.
func jobSize(s *state.Service) (concurrent, total uint64) {
	spec := s.Spec.Mode.ReplicatedJob
	concurrent = 1
	if spec.MaxConcurrent != nil {
		concurrent = *spec.MaxConcurrent
	}
	total = concurrent
	if spec.TotalCompletions != nil {
		total = *spec.TotalCompletions
	}
	if concurrent == 0 { // no limit of its own
		concurrent = total
	}
	return concurrent, total
}

// resumeJob counts the tasks of the job's present run. Those of earlier runs were
// removed when every slot was looked at.
func (p *pass) resumeJob(s *state.Service) *job {
	j := &job{iteration: s.JobIteration, busy: map[state.SlotKey]bool{}}
	for key, tasks := range p.d.Slots(s.ID) {
		v := slot{pass: p, service: s, ref: slotRef{s.ID, key}, tasks: tasks} // only looks
		for _, t := range tasks {
			if t.JobIteration == s.JobIteration {
				j.next = max(j.next, key.Number+1)
			}
		}
		if v.busy() {
			j.busy[key] = true
		}
	}
	p.jobs[s.ID] = j
	return j
}

// busy reports whether the slot of a job has a task that is not done.
func (v *slot) busy() bool {
	for _, t := range v.tasks {
		if alive(t) && !done(t) {
			return true
		}
	}
	return false
}

// rerun removes the tasks of a job's earlier runs.
func (v *slot) rerun() {
	if !isJob(v.service) {
		return
	}
	for i, t := range v.tasks {
		if t.JobIteration != v.service.JobIteration {
			v.tasks[i] = v.desire(t, state.TaskRemove)
		}
	}
}

// relieve takes away what is to do a job that is done. A node that was taken for
// lost may have completed it all the same, and say so after its task was replaced.
func (v *slot) relieve() {
	if !v.jobDone() {
		return
	}
	for i, t := range v.tasks {
		if alive(t) && !done(t) {
			v.tasks[i] = v.desire(t, state.TaskRemove)
		}
	}
}

// jobDone reports whether any try has done the slot's part of the job's present run.
func (v *slot) jobDone() bool {
	return isJob(v.service) && slices.ContainsFunc(v.tasks, func(t *state.Task) bool {
		return done(t) && t.JobIteration == v.service.JobIteration
	})
}

// note remembers whether the slot of a job is busy; once it is not, another may
// begin.
func (v *slot) note() {
	j := v.jobs[v.ref.service]
	if j == nil || j.iteration != v.service.JobIteration {
		return
	}
	switch busy := v.busy(); {
	case busy:
		j.busy[v.ref.key] = true
	case j.busy[v.ref.key]:
		delete(j.busy, v.ref.key)
		v.services.push(v.ref.service)
	}
}
