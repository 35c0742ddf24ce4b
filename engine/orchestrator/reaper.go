package orchestrator

import (
	"slices"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// historyDefault is how many tasks of a slot are kept where the swarm's spec
// does not say.
const historyDefault = int64(5)

// retention is how many tasks of a slot are kept, the running one included;
// negative is all.
func retention(c *state.Cluster) int64 {
	if c == nil || c.Spec.Orchestration.TaskHistoryRetentionLimit == nil {
		return historyDefault
	}
	return *c.Spec.Orchestration.TaskHistoryRetentionLimit
}

// reap deletes tasks that are of no use any more, and of which no container may
// live: those that no agent was told of, those removed that have ended, and the
// oldest that have ended beyond what is kept.
func (v *slot) reap() {
	for i, t := range v.tasks {
		if alive(t) || assigned(t) && (t.Desired != state.TaskRemove || !ended(t) && !mutant.On(mutant.ReaperHasty)) {
			continue
		}
		v.d.DeleteTask(t.ID)
		v.tasks[i] = nil
	}
	v.tasks = slices.DeleteFunc(v.tasks, func(t *state.Task) bool { return t == nil })
	limit := retention(v.d.Cluster())
	if limit < 0 || int64(len(v.tasks)) <= limit || mutant.On(mutant.HistoryKept) {
		return
	}
	surplus := int64(len(v.tasks)) - limit
	telling, ends := v.telling(), int64(0)
	for _, t := range v.tasks {
		if selfEnded(t) {
			ends++
		}
	}
	var teller *state.Task // what says that an empty slot stays empty is never reaped
	if !v.lively() {
		teller = v.last()
	}
	v.tasks = slices.DeleteFunc(v.tasks, func(t *state.Task) bool {
		if surplus <= 0 || alive(t) || !ended(t) || t == teller {
			return false
		}
		if selfEnded(t) {
			if ends <= telling && !mutant.On(mutant.AttemptsReaped) {
				return false
			}
			ends--
		}
		surplus--
		v.d.DeleteTask(t.ID)
		return true
	})
}

func (v *slot) lively() bool { return slices.ContainsFunc(v.tasks, alive) }

// telling is how many tasks of the slot that ended by themselves must be kept
// because limits on restarts are reckoned from them.
func (v *slot) telling() int64 {
	if v.service == nil {
		return 0
	}
	most := uint64(0)
	for i, t := range v.tasks {
		if i == 0 || t.Template != v.tasks[i-1].Template {
			most = max(most, policyOf(v.service, v.d.Template(t.Service, t.Template)).attempts)
		}
	}
	if most == 0 {
		return 0
	}
	return int64(min(most, 1<<31)) + 1
}

// collect deletes a template that no task is made from and no service will make
// a task from.
func (p *pass) collect(ref templateRef) {
	if p.uses[ref] > 0 && !mutant.On(mutant.TemplateReaped) || p.d.Template(ref.service, ref.version) == nil {
		return
	}
	s := p.d.Service(ref.service)
	if s != nil && (s.Template == ref.version || s.PreviousTemplate == ref.version) {
		return
	}
	delete(p.demands, ref)
	p.d.DeleteTemplate(ref.service, ref.version)
}
