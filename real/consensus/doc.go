// Package consensus is a manager's replicated log. It is hashicorp/raft, held so
// that its known faults cannot show; nothing else in swarmd knows that library.
//
// [Bootstrap] writes the first entry of a new swarm's log, whose only voter is
// this node; [Log.Start] runs the log of a member. From then on everything that
// happens is told through Config.Post, in the order of the log:
//
//   - Restored, when a snapshot has taken the place of what was delivered before;
//   - Committed, for every proposal that is in the log for good, with an index
//     that only grows (entries of raft's own are left out);
//   - Elected, once this manager leads and everything committed before its term
//     has been delivered; Deposed, exactly once for each Elected;
//   - LeaderChanged and Verified.
//
// A proposal is answered by Committed or, its outcome unknown, by Deposed.
//
// Each fault of the library has a guard in a file of its own (guard_*.go) that
// names it, with a switch in [Unguarded] by which the simulator turns it off to
// show that it would find the fault. Production leaves them all on.
//
// Not guaranteed: an entry proposed before Deposed may be committed long after
// it. A write that fails is the end of the process (Config.Fatal): the disk is
// then not to be trusted before it has been read again.
package consensus
