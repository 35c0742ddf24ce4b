// Package gate is what passes between a simulated world and a manager that runs in
// a sandbox of its own (sim/guest): messages, one after another, that both sides
// can write and read.
//
// A manager is told, by [ToGuest] messages, what happens to it: events of the
// engine's, raft's frames, what came of writing to its disk. It tells the world,
// by [FromGuest] messages, what its engine took in and asked for, what it sends,
// and how its log changes. What is often said is in binary, what is rare in JSON,
// since decoding takes time in a sandbox.
//
// Both sides are built from one tree, or from two that are to be tried with each
// other: what has a number keeps it.
package gate
