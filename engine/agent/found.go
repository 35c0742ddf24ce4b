package agent

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// Found tells which containers of ours are on the node. Before it the agent
// gives no order. It comes again when the container runtime had been lost; then
// it may be older than events that came before it.
func (a *Agent) Found(list []Found, now time.Time) {
	again := a.found
	a.found = true
	a.network.dirty = true // what no plan names is swept away, or made again
	present := make(map[state.TaskID]bool, len(list))
	for _, f := range list {
		if f.Task == "" || !again && mutant.On(mutant.ContainersNotAdopted) {
			continue
		}
		present[f.Task] = true
		t := a.tasks[f.Task]
		if t == nil {
			t = a.add(f.Task)
			if a.full {
				t.duty = dutyGone
			}
		}
		a.recognise(t, f, now)
	}
	for _, id := range slices.Sorted(maps.Keys(a.tasks)) {
		t := a.tasks[id]
		if again && !present[id] && t.box == boxRuns && t.busy == busyNot && t.cause == "" {
			t.cause = textLost // the stop makes sure of it
		}
		a.mark(t)
	}
}

// recognise takes in what was found of one container. What is known already, or
// will be by an answer that is still to come, is not learnt from it.
func (a *Agent) recognise(t *task, f Found, now time.Time) {
	if t.busy != busyNot {
		return
	}
	switch t.box {
	case boxNone, boxDoubtful:
		a.recover(t, f, now)
	case boxMade, boxRuns:
		switch {
		case f.Started && !f.Running:
			if !mutant.On(mutant.LostExitIgnored) {
				t.end(f)
			}
		case f.Running && t.box == boxMade:
			t.box, t.pid = boxRuns, f.PID
			t.health.begin(now)
		}
	case boxEnded:
		if f.Running {
			t.box, t.pid = boxRuns, f.PID // stopping it again does no harm
		}
	}
}

// recover rebuilds a task from its container.
func (a *Agent) recover(t *task, f Found, now time.Time) {
	a.leave(t)
	t.plan = recoverPlan(f.Labels)
	t.pulled = true
	switch {
	case f.Running:
		t.box, t.pid = boxRuns, f.PID
		t.health.config = effectiveHealth(t.plan.Health, f.Health)
		// Ports led to it before; whether it was healthy, the leader remembers.
		t.health.passed = t.status.State == 0 || t.status.State >= state.TaskRunning
		t.health.begin(now)
		t.serving = t.health.good()
	case f.Started:
		t.end(f)
		return
	default:
		t.box = boxMade
		t.health.config = effectiveHealth(t.plan.Health, f.Health)
	}
	if f.Address.IsValid() {
		a.enter(t, f.Address)
		if a.network.lastAddr.Less(f.Address) {
			a.network.lastAddr = f.Address
		}
	}
}

// end takes in that the container was found to have ended.
func (t *task) end(f Found) {
	t.box, t.pid = boxEnded, 0
	t.code, t.ended = f.ExitCode, f.Finished
	t.health.probing = false
}

// recoverPlan reads the plan that a container carries. One without a readable
// plan can be stopped all the same.
func recoverPlan(labels map[string]string) plan {
	p := plan{Grace: stopGrace}
	if err := json.Unmarshal([]byte(labels[planLabel]), &p); err != nil {
		return plan{Grace: stopGrace}
	}
	return p
}
