// Package sim is a whole swarm in one thread: the engines that swarmd runs,
// unchanged, under clocks, a network, disks and container runtimes that are
// simulated. README.md, beside this file, says what is real and what is modelled.
//
// A [World] is a discrete-event loop. Everything that may differ between two runs
// is drawn from streams that follow from its seed, so the same seed gives the same
// run, to the byte of its trace.
//
// Not guaranteed: that a run is the same under another version of this package or
// of Go. A failure is kept as a plan or a scenario, never as a seed alone.
package sim
