package check

import "github.com/swarmd/swarmd/engine/state"

// applies looks at what was applied. That every manager applies it alike is S4,
// for the checker's store is one more; that nothing panics is the world's.
type applies struct{}

// Sentence implements [Oracle].
func (*applies) Sentence() string { return "S16 every entry can be applied" }

// Committed implements [Committer].
func (o *applies) Committed(c *Checker, index uint64, _ state.Entry, _ *state.Delta) {
	if n := c.Store.Undecodable(); n > 0 {
		c.Violate(o, "entry %d has %d objects that cannot be read", index, n)
	}
}
