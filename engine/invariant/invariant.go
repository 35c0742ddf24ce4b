// Package invariant stops the process when the engine is in a state that it
// should be unable to reach.
package invariant

import "fmt"

// Violated panics. A broken invariant is a bug in this program: to go on would
// be to act on a state that nobody has thought about.
func Violated(format string, args ...any) {
	panic("invariant violated: " + fmt.Sprintf(format, args...)) //nolint:forbidigo // the one place that may
}

// Check panics unless ok holds.
func Check(ok bool, format string, args ...any) {
	if !ok {
		Violated(format, args...)
	}
}
