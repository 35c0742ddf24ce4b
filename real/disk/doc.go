// Package disk holds what a node must not forget: the replicated log
// ([Log]), a few small values ([Stable]), snapshots ([Snapshots]) and the
// node's membership ([Identity]). [OpenStorage] opens the first three together.
//
// Everything goes through [FS], whose every mutating call is a named boundary at
// which a power loss can be simulated (package disktest). Nothing needs mmap,
// locks or anything else that a wasip1 sandbox lacks; [LockDir], for real
// directories only, is the exception.
//
// What is promised: when a call that writes has returned nil, what it wrote
// survives the loss of power. What a crash interrupts is either there as a whole
// or not at all; of entries that are appended or dropped together, those up to
// one of them are. A file that was damaged later is recognised: the error names
// the file and the offset, and nothing of it is used.
//
// What is not: after any write or sync has failed, a handle refuses everything
// from then on, since the kernel may have dropped what it could not write and
// report success the next time; the process must start again. Nor can this
// package recognise files that were put back from an older copy, or a whole file
// that somebody deleted.
package disk
