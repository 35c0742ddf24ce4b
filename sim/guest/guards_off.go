//go:build wasip1 && unguarded

package main

import "github.com/swarmd/swarmd/real/consensus"

// unguarded turns guards off, to see that the simulator finds what they guard
// against.
func unguarded(names []string) (u consensus.Unguarded, err error) {
	for _, name := range names {
		switch name {
		case "heartbeat":
			u.Heartbeat = true
		case "pipeline":
			u.Pipeline = true
		case "vote":
			u.Vote = true
		case "livelock":
			u.Livelock = true
		case "transfer":
			u.Transfer = true
		case "stall":
			u.Stall = true
		case "notify":
			u.Notify = true
		case "barrier":
			u.Barrier = true
		default:
			return u, errUnguarded(name)
		}
	}
	return u, nil
}
