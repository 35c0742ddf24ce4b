package check

import (
	"maps"
	"slices"
)

// Probes are the rare things that a run should reach sometimes: the name under
// which a world notes each, and what it means.
func Probes() map[string]string {
	return map[string]string{
		"manager elected":                          "a manager won an election",
		"leader met a newer term":                  "a deposed leader learnt of its successor",
		"leader's lease ran out":                   "a leader without a quorum stepped down",
		"append survived a crash, unacknowledged":  "an entry was written, and who wrote it died before it could say so",
		"uncommitted entries overwritten":          "a follower had entries that a later leader does not have",
		"snapshot taken":                           "a manager compacted its log",
		"snapshot installed":                       "a manager was so far behind that it got a snapshot",
		"message into a cut link":                  "something was said that could not arrive",
		"message lost":                             "a message was lost on a bad link",
		"message delivered twice":                  "a message came again",
		"message replayed late":                    "a message came again much later",
		"container runtime was slow":               "an order took a hundred times as long",
		"pull failed":                              "an image could not be had",
		"creation failed":                          "a container could not be created",
		"creation timed out, but was done":         "a container was created, and its agent was told that it was not",
		"start timed out, but was done":            "a container was started, and its agent was told that it was not",
		"container crashed":                        "a container ended by itself",
		"exit event lost":                          "nobody was told that a container ended",
		"exit event told twice":                    "it was told twice that a container ended",
		"network was made in part":                 "a plan of a network could not be carried out as a whole",
		"network was made late":                    "a plan of a network took seconds to carry out",
		"endpoint could not be made":               "a task could not be given its place in the network",
		"container killed after its grace":         "a container did not heed the signal",
		"user had to ask again":                    "a user got no answer, or was told that there is no leader",
		"a try was refused":                        "a user tried something, and the swarm would not",
		"request lost":                             "what a client asked never arrived",
		"answer lost":                              "a client was answered, and did not hear it",
		"client never heard of its call":           "a client gave up waiting, and does not know what came of its call",
		"two containers of a slot: " + excuseGone:  "a slot had two containers, one of a task that was given up",
		"two containers of a slot: " + excuseDown:  "a slot had two containers, one on a node out of reach",
		"two containers of a slot: " + excuseFirst: "a slot had two containers, the new one started first",
		"two containers of a slot: " + excuseSlow:  "a slot had two containers, one that would not stop",
	}
}

// Unreached returns what of [Probes] is not among those seen, by name.
func Unreached(seen map[string]uint64) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(Probes())) {
		if seen[name] == 0 {
			names = append(names, name+": "+Probes()[name])
		}
	}
	return names
}
