// Package scheduler decides which node a task runs on.
//
// [Scheduler.Place] writes to a draft the node of every pending task that has a
// place, and for the others the reason why not, in Docker's words. A task made in
// the same draft is placed in the same commit.
//
// A node takes a task if it passes every filter, in this order: it is ready and
// active; what it has left covers what the task reserves; it has the plugins; it
// satisfies the constraints and the platform; the task's host-mode ports are free
// on it; and it has not as many of the service's tasks as one node may have. Of
// the nodes that do, the task goes to the emptiest branch of the tree that the
// placement preferences make, and there to the node on which the task's service
// has not failed again and again, that has the fewest tasks of the service, that
// has the fewest tasks. There is no bin packing. A task of a global service comes
// with its node and only passes the filters.
//
// What a task reserves it holds from being assigned until it has ended or is
// removed. A task that is to stop still holds, but no longer counts as one of the
// service's.
//
// # Cost
//
// No task is held against every node. Tasks of one service and template are placed
// together, as a group; to begin with one costs as much as nodes have tasks of its
// service, and each task then a few steps. Which nodes satisfy the constraints of a
// group, and their order by load, is a class: computed once for all groups that ask
// the same, and kept up as nodes change. A group that cannot be placed is blocked:
// it remembers what every node says to it, and is tried again when a node changes
// its mind, on that node. Only nodes that are met and have not what a task reserves
// cost more than that: a search among full nodes passes over them one by one.
//
// # Memory
//
// Everything that a [Scheduler] knows can be rebuilt by [New] from the store. It
// counts by what it remembers of each task, so to observe a change twice is to
// observe it once.
//
// Not guaranteed: that equal nodes are chosen in the same order after a change of
// leader, nor that tasks which run stay evenly spread: nothing that runs is moved.
// The reason why a task is pending may be out of date by as much as [ExplainPeriod].
//
// Who writes what: of a task, the scheduler alone writes Node and Generic, and the
// states pending and assigned.
package scheduler
