//go:build !mutants

package mutant

// Possible says whether bugs can be planted in this build.
const Possible = false

// On reports whether the bug is planted: never.
func On(Bug) bool { return false }

// Plant does nothing.
func Plant(Bug) {}

// Reached is how often the place of the planted bug was reached.
func Reached() uint64 { return 0 }
