// Package request turns the flags of the docker CLI's commands about the swarm
// into what they ask for: specs, and changes to specs. It asks nobody anything:
// what has to be looked up in the swarm, [Names] looks up. The flags, their help
// and the words of every complaint are docker's.
//
// Swarmctl sends what comes out to a daemon; the simulator, to simulated managers,
// which [Parse] is for.
package request
