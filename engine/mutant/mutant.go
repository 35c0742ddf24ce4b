// Package mutant plants bugs, to see whether the simulator finds them.
//
// A place that could be wrong in an interesting way says so:
//
//	if full && !mutant.On(mutant.ParallelismUnbounded) {
//
// In an ordinary build [On] is false, for the compiler too: nothing is left of it.
// With the build tag mutants one bug can be planted, and how often its place was
// reached is counted, apart from whether anybody notices.
//
// A place asks On last, when all else says that the bug would show, so that what
// is counted is how often the engine went wrong.
package mutant

// A Bug is a way to be wrong.
type Bug string

// The bugs, by the part of the engine that has them.
const (
	TwoInFlight         Bug = "two-in-flight"
	BaseIgnored         Bug = "base-ignored"
	RepliesEarly        Bug = "replies-early"
	ReadsUnverified     Bug = "reads-unverified"
	RefusalsUnverified  Bug = "refusals-unverified"
	UnknownRetried      Bug = "unknown-retried"
	ByeIgnored          Bug = "bye-ignored"
	GapIgnored          Bug = "gap-ignored"
	HeartbeatOnWall     Bug = "heartbeat-on-wall"
	TimersOfThePast     Bug = "timers-of-the-past"
	AssignLossUnnoticed Bug = "assign-loss-unnoticed"
	ReportLossUnnoticed Bug = "report-loss-unnoticed"
	GoneForgotten       Bug = "gone-forgotten"
	StatusInAnyOrder    Bug = "status-in-any-order"
	DrainUnwaited       Bug = "drain-unwaited"
	TableKeepsGone      Bug = "table-keeps-gone"
	ReturnUnnoticed     Bug = "return-unnoticed"

	StartFirstPlusOne    Bug = "start-first-plus-one"
	ParallelismUnbounded Bug = "parallelism-unbounded"
	FlightForgotten      Bug = "flight-forgotten"
	FailuresForgotten    Bug = "failures-forgotten"
	RatioIgnored         Bug = "ratio-ignored"
	MonitorIgnored       Bug = "monitor-ignored"
	RollbackKeepsSpec    Bug = "rollback-keeps-spec"
	DelayForgotten       Bug = "delay-forgotten"
	OneAttemptMore       Bug = "one-attempt-more"
	AttemptsReaped       Bug = "attempts-reaped"
	ReaperHasty          Bug = "reaper-hasty"
	TemplateReaped       Bug = "template-reaped"
	GlobalTwice          Bug = "global-twice"
	JobRunAgain          Bug = "job-run-again"
	PredecessorIgnored   Bug = "predecessor-ignored"
	ConstraintUnenforced Bug = "constraint-unenforced"
	UpdateEndsEarly      Bug = "update-ends-early"
	UpdateUnwatched      Bug = "update-unwatched"
	HistoryKept          Bug = "history-kept"
	JobCrowded           Bug = "job-crowded"
	DrainIgnored         Bug = "drain-ignored"
	DownIgnored          Bug = "down-ignored"
	RemovalForgotten     Bug = "removal-forgotten"

	ReservationIgnored     Bug = "reservation-ignored"
	ReservationKept        Bug = "reservation-kept"
	HostPortTwice          Bug = "host-port-twice"
	ConstraintIgnored      Bug = "constraint-ignored"
	ReplicasPerNodeIgnored Bug = "replicas-per-node-ignored"
	ClosedNodeUsed         Bug = "closed-node-used"
	PendingForgotten       Bug = "pending-forgotten"
	PortGivenTwice         Bug = "port-given-twice"
	PortsUnmarked          Bug = "ports-unmarked"
	AddressesUnmarked      Bug = "addresses-unmarked"
	AddressKept            Bug = "address-kept"
	AddressFreedEarly      Bug = "address-freed-early"
	SubnetGivenTwice       Bug = "subnet-given-twice"
	PortConflictAllowed    Bug = "port-conflict-allowed"
	VersionUnchecked       Bug = "version-unchecked"
	NameUnchecked          Bug = "name-unchecked"
	ApplyImpure            Bug = "apply-impure"
	SnapshotLacks          Bug = "snapshot-lacks"

	ContainersNotAdopted Bug = "containers-not-adopted"
	LostExitIgnored      Bug = "lost-exit-ignored"
	ReadyIgnored         Bug = "ready-ignored"
	StopUnannounced      Bug = "stop-unannounced"
	EndpointLeft         Bug = "endpoint-left"
	AddressReused        Bug = "address-reused"
	ReportsKept          Bug = "reports-kept"
	UnhealthyServes      Bug = "unhealthy-serves"
	LeavingServes        Bug = "leaving-serves"
)

// A Planted says what a bug is.
type Planted struct {
	Bug   Bug
	Where string // the package
	Row   int    // of the table in the simulator's catalogue, 0 for none
	Text  string
}

// All lists the bugs, in the order in which an entry goes through the engine.
func All() []Planted {
	return []Planted{
		{TwoInFlight, "engine", 0, "a pass decides though a proposal is out"},
		{BaseIgnored, "engine", 0, "a pass decides though a proposal is out, and an entry that meets another state is applied"},
		{RepliesEarly, "engine", 15, "a write is acknowledged when it is proposed"},
		{ReadsUnverified, "engine", 0, "a read is answered without asking whether this manager leads"},
		{RefusalsUnverified, "engine", 0, "a refusal is answered without asking whether this manager leads"},
		{UnknownRetried, "engine", 9, "a deposed leader takes what was in flight for lost, and has it done again"},
		{ByeIgnored, "engine", 0, "a worker goes on in a session that the leader has ended"},
		{GapIgnored, "engine", 0, "a worker does not notice that assignments are missing"},
		{HeartbeatOnWall, "dispatcher", 21, "silence is measured by the clock on the wall"},
		{TimersOfThePast, "dispatcher", 3, "a new leader holds nodes to the deadlines of the last"},
		{AssignLossUnnoticed, "dispatcher", 0, "what a node does not acknowledge is not sent again"},
		{ReportLossUnnoticed, "dispatcher", 0, "a report that is missing is not asked for"},
		{GoneForgotten, "dispatcher", 0, "a node is not told which tasks are gone"},
		{StatusInAnyOrder, "dispatcher", 0, "a late report takes a task back"},
		{DrainUnwaited, "dispatcher", 0, "a task is told to stop while other nodes lead to it"},
		{TableKeepsGone, "dispatcher", 0, "a node is not told that a task has left a network"},
		{ReturnUnnoticed, "dispatcher", 0, "a node that was down and says Hello stays down"},
		{StartFirstPlusOne, "orchestrator", 4, "the old task stays when the new one runs"},
		{ParallelismUnbounded, "orchestrator", 0, "an update moves all slots at once"},
		{FlightForgotten, "orchestrator", 7, "a new leader does not know which slots are being moved"},
		{FailuresForgotten, "orchestrator", 7, "a new leader begins to count an update's failures anew"},
		{RatioIgnored, "orchestrator", 0, "an update goes on whatever fails"},
		{MonitorIgnored, "orchestrator", 0, "a task that has run does not count as failed"},
		{UpdateEndsEarly, "orchestrator", 0, "an update is declared complete while slots are still to be moved"},
		{UpdateUnwatched, "orchestrator", 0, "an update is declared complete before the monitor of its last task is over"},
		{RollbackKeepsSpec, "orchestrator", 0, "a rollback brings the old tasks back, and keeps the new spec"},
		{DelayForgotten, "orchestrator", 0, "a new leader restarts at once what waits out its delay"},
		{OneAttemptMore, "orchestrator", 0, "a task is restarted once more than it may be"},
		{AttemptsReaped, "orchestrator", 0, "what restarts are counted from is reaped"},
		{ReaperHasty, "orchestrator", 23, "a task that was told to stop is deleted while its container lives"},
		{HistoryKept, "orchestrator", 0, "tasks that have ended are kept for ever"},
		{TemplateReaped, "orchestrator", 0, "a template is deleted while tasks are made from it"},
		{GlobalTwice, "orchestrator", 24, "a global service gets a second task on a node"},
		{JobRunAgain, "orchestrator", 0, "a job's task that has completed is run again"},
		{JobCrowded, "orchestrator", 0, "a job runs more tasks at once than it may"},
		{PredecessorIgnored, "orchestrator", 0, "a task starts while the one before it stops"},
		{DrainIgnored, "orchestrator", 0, "what runs on a drained node stays there"},
		{DownIgnored, "orchestrator", 0, "what ran on a node that is down is not replaced"},
		{ConstraintUnenforced, "orchestrator", 0, "a task stays on a node that no longer satisfies its constraints"},
		{RemovalForgotten, "orchestrator", 0, "the tasks of a service that was removed go on"},
		{ReservationIgnored, "scheduler", 0, "a node is given more than it has"},
		{ReservationKept, "scheduler", 0, "what a task that has ended reserved is not given back"},
		{HostPortTwice, "scheduler", 0, "two tasks with one host port are placed on a node"},
		{ConstraintIgnored, "scheduler", 0, "a task is placed where its constraints forbid it"},
		{ReplicasPerNodeIgnored, "scheduler", 0, "a node gets more replicas than it may have"},
		{ClosedNodeUsed, "scheduler", 0, "a node that is drained or paused gets tasks"},
		{PendingForgotten, "scheduler", 0, "tasks that had no place are not tried again when a node has changed"},
		{PortGivenTwice, "allocator", 1, "a port is given out that another service has"},
		{PortsUnmarked, "state", 1, "a restored store does not know which ports are in use"},
		{AddressesUnmarked, "allocator", 0, "a new leader does not know which addresses tasks have"},
		{AddressKept, "allocator", 0, "the addresses of a task that has ended are not given up"},
		{AddressFreedEarly, "allocator", 0, "the addresses of a task are given up when it is told to stop"},
		{SubnetGivenTwice, "control", 0, "a network is given the subnet of one that is removed, and that tasks are on"},
		{PortConflictAllowed, "control", 0, "two services may publish one port"},
		{VersionUnchecked, "control", 0, "an update may be made to something older than what is stored"},
		{NameUnchecked, "control", 0, "two services may have one name"},
		{ApplyImpure, "state", 12, "what applying an entry gives depends on who applies it"},
		{SnapshotLacks, "state", 13, "a snapshot lacks the templates"},
		{ContainersNotAdopted, "agent", 6, "containers that are found after a restart are nobody's"},
		{LostExitIgnored, "agent", 0, "a container that is found to have ended is believed to run"},
		{ReadyIgnored, "agent", 0, "a task that is to wait is started"},
		{StopUnannounced, "agent", 0, "a container is stopped before published ports lead elsewhere"},
		{EndpointLeft, "agent", 0, "a task that has ended keeps its place in the network"},
		{AddressReused, "agent", 0, "an address is given to the next task at once"},
		{ReportsKept, "agent", 0, "a new leader is not told what became of tasks"},
		{UnhealthyServes, "agent", 0, "ports lead to a container before it is healthy"},
		{LeavingServes, "netplan", 0, "names and addresses lead to a task of another node that is to stop"},
	}
}
