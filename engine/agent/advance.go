package agent

import (
	"fmt"
	"time"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// withdrawalPatience is how long a stop waits for the network to say that no new
// connection comes to the task any more.
const withdrawalPatience = 5 * time.Second

// lingerPeriod is how long a task still runs when nothing leads to it any more: a
// connection that had been let through just before is on its way, or waits to be
// accepted, and a process that ends refuses it. A busy host takes tens of
// milliseconds for that.
const lingerPeriod = 200 * time.Millisecond

// Texts of Docker's.
const (
	textUnhealthy = "dockerexec: unhealthy container"
	textExit      = "task: non-zero exit (%d)"
	textLost      = "task: the container is gone from the node"
)

// advance takes the next step of a task. Whatever is out must be answered first;
// then the first rule that applies is followed.
func (a *Agent) advance(t *task, now time.Time) {
	if !a.found {
		return
	}
	unwanted := t.unwanted()
	if t.busy != busyStart && (t.box == boxEnded || unwanted && t.box != boxRuns) {
		a.conclude(t)
		unwanted = t.unwanted()
	}
	switch {
	case t.busy != busyNot, now.Before(t.retryAt):
	case unwanted && t.box == boxRuns:
		if a.withdrawn(t, now) {
			a.order(t, busyStop, Stop{Task: t.id, Signal: t.plan.Signal, Grace: t.plan.Grace})
		}
	case t.duty == dutyGone && t.box != boxNone:
		a.order(t, busyRemove, Remove{t.id})
	case t.duty == dutyGone, t.duty == dutyKept && t.box == boxNone:
		a.forget(t)
		return
	case unwanted, t.duty == dutyUnknown:
	default:
		a.run(t, now)
	}
	a.deadlines.add(t, t.deadline(now))
}

// run takes the next step towards running.
func (a *Agent) run(t *task, now time.Time) {
	switch {
	case t.box == boxRuns:
		a.attend(t, now)
	case t.box == boxMade:
		a.set(t, state.TaskReady, "prepared", "")
		if a.joined(t) && (t.task.Desired >= state.TaskRunning || mutant.On(mutant.ReadyIgnored)) {
			a.set(t, state.TaskStarting, "starting", "")
			a.order(t, busyStart, Start{t.id})
		}
	case t.status.State >= state.TaskStarting: // a task never runs twice
		a.fail(t, textLost)
	case !t.pulled:
		a.prepare(t)
	case !t.address.IsValid():
		if err := a.join(t); err != nil {
			a.fail(t, err.Error())
			a.mark(t)
		}
	case a.joined(t):
		c, err := a.container(t)
		if err != nil {
			a.refuse(t, err.Error())
			return
		}
		a.order(t, busyCreate, Create{c})
	}
}

// prepare has the image pulled, if the task's description can be made a container
// at all.
func (a *Agent) prepare(t *task) {
	if t.template == nil || t.template.Spec.ContainerSpec == nil {
		a.refuse(t, "task "+string(t.id)+" has no container spec: only containers can run on this node")
		return
	}
	spec := t.template.Spec.ContainerSpec
	if _, err := a.contextOf(t).container(spec); err != nil {
		a.refuse(t, err.Error())
		return
	}
	a.set(t, state.TaskPreparing, "preparing", "")
	a.order(t, busyPull, Pull{Task: t.id, Image: spec.Image, Auth: t.template.RegistryAuth})
}

// refuse rejects a task whose description is at fault, in Docker's manner.
func (a *Agent) refuse(t *task, why string) {
	a.set(t, state.TaskRejected, "resolving controller failed", why)
	a.mark(t)
}

// attend lets a running container serve, once it is healthy, and has its health
// checked.
func (a *Agent) attend(t *task, now time.Time) {
	if t.health.good() {
		a.set(t, state.TaskRunning, "started", "")
	}
	a.serve(t, t.health.good() || mutant.On(mutant.UnhealthyServes))
	if !t.health.due(now) {
		return
	}
	t.health.probing, t.health.asked = true, now
	c := t.health.config
	a.orders = append(a.orders, Probe{Task: t.id, Command: c.Test, Timeout: c.Timeout, Health: t.health.word()})
}

// conclude tells how a task that does not run ended, and takes it out of the
// network.
func (a *Agent) conclude(t *task) {
	switch exit := fmt.Sprintf(textExit, t.code); {
	case t.duty == dutyUnknown: // nobody has said what it was to do
	case t.cause == textUnhealthy && t.code != 0:
		a.fail(t, exit+": "+t.cause)
	case t.cause != "":
		a.fail(t, t.cause)
	case t.unwanted() || t.box != boxEnded:
		a.set(t, state.TaskShutdown, "shutdown", "")
	case t.code == 0:
		a.set(t, state.TaskComplete, "finished", "")
	default:
		a.set(t, state.TaskFailed, t.status.Message, exit)
	}
	if t.busy != busyCreate && (!t.address.IsValid() || !mutant.On(mutant.EndpointLeft)) {
		a.leave(t)
	}
}

// withdrawn takes a task out of the ports that lead to it, and reports whether it
// may stop: the network has said that nothing leads to it any more, a little while
// ago, or it was long enough.
func (a *Agent) withdrawn(t *task, now time.Time) bool {
	if a.serve(t, false) {
		t.until, t.withdrawing = now.Add(withdrawalPatience), true
	}
	if t.withdrawing && a.network.applied >= t.left {
		t.withdrawing = false
		if linger := now.Add(lingerPeriod); linger.Before(t.until) {
			t.until = linger
		}
	}
	return !now.Before(t.until) || mutant.On(mutant.StopUnannounced)
}

// order gives an order whose answer the task then waits for.
func (a *Agent) order(t *task, b busy, o Order) {
	t.busy = b
	a.orders = append(a.orders, o)
}

// forget drops a task of which nothing is left.
func (a *Agent) forget(t *task) {
	a.leave(t)
	delete(a.tasks, t.id)
}

// deadline is when the task must be looked at again though nothing happens.
func (t *task) deadline(now time.Time) time.Time {
	var at time.Time
	times := []time.Time{t.retryAt}
	switch {
	case t.box != boxRuns || t.busy != busyNot:
	case t.unwanted():
		times = append(times, t.until)
	case t.duty == dutyAssigned:
		times = append(times, t.health.deadline())
	}
	for _, d := range times {
		if d.After(now) && (at.IsZero() || d.Before(at)) {
			at = d
		}
	}
	return at
}
