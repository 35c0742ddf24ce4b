package state

import "strconv"

// An Owner is who may move a task from one state to another.
type Owner uint8

// The owners of a task's transitions.
const (
	OwnerNone Owner = iota
	OwnerOrchestrator
	OwnerScheduler
	OwnerAgent
)

// String names the owner.
func (o Owner) String() string {
	return [...]string{"nobody", "orchestrator", "scheduler", "agent"}[o]
}

// Transition returns who may move a task from one state to another, and whether
// anybody may. Rules are tried in order, the first match wins. The source is
// swarm's own table: a task only moves forward, and each step has one owner.
func Transition(from, to TaskState) (Owner, bool) {
	switch {
	case to <= from:
		return OwnerNone, false
	case from.Terminal() && to != TaskOrphaned: // what has ended stays as it is
		return OwnerNone, false
	case to == TaskOrphaned, to == TaskRemove:
		return OwnerOrchestrator, true
	case from < TaskAssigned && to == TaskShutdown: // nobody has seen it yet
		return OwnerOrchestrator, true
	case from == TaskNew && to == TaskPending, from <= TaskPending && to == TaskAssigned:
		return OwnerScheduler, true
	case from < TaskAssigned:
		return OwnerNone, false
	default: // the node's agent, which may skip steps that it took between two reports
		return OwnerAgent, true
	}
}

// String names the state as Docker does.
func (s TaskState) String() string {
	switch s {
	case TaskNew:
		return "new"
	case TaskPending:
		return "pending"
	case TaskAssigned:
		return "assigned"
	case TaskAccepted:
		return "accepted"
	case TaskPreparing:
		return "preparing"
	case TaskReady:
		return "ready"
	case TaskStarting:
		return "starting"
	case TaskRunning:
		return "running"
	case TaskComplete:
		return "complete"
	case TaskShutdown:
		return "shutdown"
	case TaskFailed:
		return "failed"
	case TaskRejected:
		return "rejected"
	case TaskRemove:
		return "remove"
	case TaskOrphaned:
		return "orphaned"
	default:
		return "state-" + strconv.Itoa(int(s))
	}
}
