// Package engine is the orchestrator: a deterministic state machine that turns
// events into effects.
//
// # Model
//
// A [Node] is one member of the swarm, manager and worker alike. It is driven by
// calling [Node.Step] with the present time and one [Event]; Step returns the
// [Effect] values that the driver must carry out and the time by which it wants
// to be stepped again. Nothing else happens: the package starts no goroutine,
// reads no clock, draws no entropy and does no I/O. The same events at the same
// times give the same effects, to the byte.
//
// A manager keeps the replicated [state.Store]. The one that leads also keeps a
// leader: disposable memory, rebuilt from the store at every election. While a
// proposal is out, causes gather (calls, reports, deadlines); when it commits,
// one pass runs control, orchestrator, allocator, scheduler and dispatcher over
// one draft and yields one proposal. So every decision is made on committed
// state, and batching comes by itself.
//
// Every node has a worker: the agent that has tasks run, and the plan of the
// node's network.
//
// # Contract with the driver
//
//  1. Steps are serial, and the time passed in never goes back. It is monotonic
//     time; wall time is that plus the offset of the last [ClockAdjusted].
//  2. Effects of one step are independent: the driver may carry them out
//     concurrently and in any order. Where order matters the engine waits for
//     the answering event.
//  3. An effect that can fail or answer is answered by exactly one event that
//     carries the same identity, unless the process dies first. The effect's
//     comment names the event.
//  4. [Committed] reaches every manager in log order; [Elected] comes only after
//     everything committed before its term has been delivered. Every Elected is
//     followed by one [Deposed] before the next Elected.
//  5. [Propose] is answered by Committed or, its outcome unknown, by Deposed.
//     [Verify] confirms leadership for a read made before it.
//  6. Messages may be lost, repeated, and reordered across links.
//  7. Starting what has started, stopping what has stopped and removing what is
//     gone succeed.
//  8. [Started] is the first event, and [ContainersFound] follows it once the
//     container runtime can be asked; it comes again after the runtime was lost.
package engine
