package control

import (
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// nameTries is how often a name is drawn before a number is put behind it.
const nameTries = 8

// inventName makes a name for a service that came without one, free at the moment.
func inventName(d *state.Draft, mint *entropy.Source) string {
	for range nameTries {
		if name := drawName(mint); d.ServiceByNameFold(name) == nil {
			return name
		}
	}
	return drawName(mint) + "_" + mint.ID()
}

// drawName draws an adjective and the name of somebody who made machines talk.
func drawName(mint *entropy.Source) string {
	adjectives, surnames := adjectives(), surnames()
	return adjectives[mint.Uint64N(uint64(len(adjectives)))] + "_" + surnames[mint.Uint64N(uint64(len(surnames)))]
}

func adjectives() []string {
	return []string{
		"able", "amber", "apt", "arctic", "bold", "brave", "bright", "brisk", "calm", "candid",
		"clear", "clever", "coral", "crisp", "deft", "eager", "early", "even", "fair", "fleet",
		"fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "honest", "jolly",
		"keen", "kind", "level", "light", "lively", "lucid", "merry", "mild", "neat", "nimble",
		"noble", "open", "patient", "plain", "polite", "proud", "quick", "quiet", "ready", "rosy",
		"serene", "sharp", "silver", "sober", "solid", "spry", "steady", "sunny", "swift", "tidy",
		"true", "vivid", "warm", "wise",
	}
}

func surnames() []string {
	return []string{
		"babbage", "baran", "bartik", "boole", "cerf", "chandy", "cook", "dijkstra", "eckert", "engelbart",
		"floyd", "goldberg", "gray", "hamming", "hoare", "holberton", "hopper", "johnson", "kahn", "karp",
		"kay", "keller", "kilburn", "knuth", "lamarr", "lamport", "licklider", "liskov", "lovelace", "lynch",
		"mauchly", "mccarthy", "mccluskey", "metcalfe", "milner", "minsky", "naur", "neumann", "noether", "nygaard",
		"perlman", "pnueli", "postel", "rabin", "ritchie", "roberts", "shannon", "simon", "stibitz", "strachey",
		"tarjan", "thompson", "torvalds", "turing", "ullman", "wilkes", "wilkinson", "wirth", "yao", "zuse",
	}
}
