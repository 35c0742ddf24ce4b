// Package orchestrator decides which tasks should exist, and what each should
// come to.
//
// [Orchestrator.Reconcile] compares what is stored with what is asked for and
// writes the difference to a draft: tasks made, told to start, to stop or to go
// away, and deleted; updates begun, moved on, paused, rolled back and completed.
// It looks only at what has changed since ([Orchestrator.Observe]) and at what
// has come due, so that one failed task among a hundred thousand costs as much
// as one among ten.
//
// Every decision follows from the store. What an Orchestrator remembers is where
// to look next, and when, on the monotonic clock: it may be thrown away at any
// moment, and [New] goes on where it was. A delay that was running then is
// reckoned anew from the wall time in the store, but is never longer than it was
// at first.
//
// Who writes what: of a task, the orchestrator alone makes and deletes it and
// writes Desired, Start, After, Failures and Rollout, and the state orphaned; of
// a service, it writes Update and, to roll back, the spec, the template and the ports.
//
// Not guaranteed: that an empty slot is filled (the scheduler says why not), or
// that an update ends (a task may wait for a node for ever).
package orchestrator
