package agent

import (
	"net/netip"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// A task is one task as the agent knows it.
type task struct {
	id       state.TaskID
	duty     duty
	task     *state.Task     // as last assigned; nil if it never was
	template *state.Template // the same
	status   state.TaskStatus
	own      bool // the status is what this agent saw, not what the leader remembered

	box    box
	busy   busy
	pulled bool
	pid    int
	code   int
	ended  state.Wall // when the container ended, if that was found
	cause  string     // why it is being ended though it is wanted
	plan   plan
	health health

	address netip.Addr // of its endpoint; invalid: it has none
	joined  uint64     // the network generation that has the endpoint first
	left    uint64     // the one in which it serves no more
	serving bool
	until   time.Time // how long the stop waits for that generation, and then for what is on its way

	withdrawing bool // that generation is not known to be made

	failures int // of the last order, one after another
	retryAt  time.Time
	due      time.Time // the deadline in the heap

	queued, unreported bool
}

// A duty is what the swarm wants of a task.
type duty uint8

const (
	dutyUnknown  duty = iota // nobody has said yet
	dutyAssigned             // what the assignment says
	dutyKept                 // not to run; its container stays, for logs
	dutyGone                 // nothing is to be left of it
)

// A box is what is known of a task's container.
type box uint8

const (
	boxNone     box = iota
	boxDoubtful     // it could not be created, but something of it may be there
	boxMade
	boxRuns // or may run
	boxEnded
)

// A busy is the order that a task waits for; there is never more than one,
// besides a probe.
type busy uint8

const (
	busyNot busy = iota
	busyPull
	busyCreate
	busyStart
	busyStop
	busyRemove
)

// How long an order that failed is not given again: doubling from the first to
// the last.
const (
	retryDelayMin = time.Second
	retryDelayMax = time.Minute
)

// backOff puts the next order off.
func (t *task) backOff(now time.Time) {
	t.retryAt = now.Add(backOff(t.failures))
	t.failures++
}

// backOff is how long to wait after so many failures before the last.
func backOff(failures int) time.Duration {
	delay := retryDelayMin
	for range failures {
		if delay *= 2; delay >= retryDelayMax {
			return retryDelayMax
		}
	}
	return delay
}

// unwanted reports whether the task is not to run, or no more.
func (t *task) unwanted() bool {
	switch t.duty {
	case dutyAssigned:
		return t.cause != "" || t.status.State.Terminal() || t.task.Desired > state.TaskComplete
	case dutyKept, dutyGone:
		return true
	case dutyUnknown:
	}
	return false
}

// set moves the task forward; a step back, or out of an end, is none.
func (a *Agent) set(t *task, to state.TaskState, message, err string) {
	if to <= t.status.State || t.status.State.Terminal() {
		return
	}
	t.own = true
	t.status = state.TaskStatus{State: to, Message: message, Err: err, PID: t.pid}
	switch t.box {
	case boxMade, boxRuns:
		t.status.Container = state.ContainerID(t.id)
	case boxEnded:
		t.status.Container = state.ContainerID(t.id)
		t.status.ExitCode, t.status.At = t.code, t.ended
	case boxNone, boxDoubtful:
	}
	if to == state.TaskRunning {
		t.status.Ports = hostPorts(t.plan.Ports)
	}
	a.report(t)
}

// fail ends a task that could not be got to run: rejected before it was started,
// else failed. The message says what was being done.
func (a *Agent) fail(t *task, why string) {
	to := state.TaskFailed
	if t.status.State < state.TaskStarting {
		to = state.TaskRejected
	}
	a.set(t, to, t.status.Message, why)
}
