// Package agent decides what a node must do to have its tasks run.
//
// An [Agent] is driven by assignments ([Agent.Assign]) and by what comes of its
// orders; it holds a small state machine for each task, whose state is what is
// known of the task's container:
//
//	pull → join the network → create → ready → start → running → ended → removed
//
// A task waits for one order at a time, besides a health check; whatever answer
// it does not wait for is stale and changes nothing. Nothing is ordered before
// the node's containers are known ([Agent.Found]), and no container is ended for
// want of an assignment before a full one has come: without a manager,
// containers live on. A task never runs twice. Its container stays after its
// end, for its logs, until the swarm has forgotten the task.
//
// A stop is ordered so that no connection is lost: the endpoint serves no more;
// the network says so, or [withdrawalPatience] is over; the stop signal; the
// grace; the kill. The endpoint goes when the container has ended.
//
// The agent keeps nothing on disk. What it must know after a restart is in the
// labels of the containers, and in what the leader remembers.
//
// What a task's status says, in which words, is Docker's.
//
// Not guaranteed: that a task's every state is reported (only the newest is, at
// each Drain), or that a report arrives; what a leader is seen not to know is
// reported again.
package agent
