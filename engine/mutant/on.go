//go:build mutants

package mutant

// Possible says whether bugs can be planted in this build.
const Possible = true

// planted is the bug that there is, and reached how often its place was. They are
// variables of the package because nothing else of the engine may know of them.
var (
	planted Bug
	reached uint64
)

// Plant makes the engine wrong in one way from now on, or right again with "". It
// must not be called while any engine runs, nor may two run at the same time.
func Plant(b Bug) { planted, reached = b, 0 }

// On reports whether the bug is planted, and counts that its place was reached.
func On(b Bug) bool {
	if b != planted {
		return false
	}
	reached++
	return true
}

// Reached is how often the place of the planted bug was reached.
func Reached() uint64 { return reached }
