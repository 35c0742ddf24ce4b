package check

import (
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// leaderCompleteness remembers the last entry that any manager has applied.
type leaderCompleteness struct{ index, term uint64 }

// Sentence implements [Oracle].
func (*leaderCompleteness) Sentence() string {
	return "S3 who is elected has every committed entry"
}

// Committed implements [Committer]. The log's own entry has no term of a proposal.
func (o *leaderCompleteness) Committed(_ *Checker, index uint64, entry state.Entry, _ *state.Delta) {
	o.index, o.term = index, entry.Proposal.Term
}

// Voted implements [Voter].
func (*leaderCompleteness) Voted(*Checker, sim.Vote) {}

// Won implements [Voter].
func (o *leaderCompleteness) Won(c *Checker, e sim.Election) {
	o.judge(c, e.Leader.Name, e.Leader.Log(), e.Leader.LogTerm(o.index))
}

// judge looks at the log of who was elected, in which the last entry known to be
// committed is of the term given.
func (o *leaderCompleteness) judge(c *Checker, name string, log sim.LogView, term uint64) {
	switch {
	case log.Last.Index < o.index:
		c.Violate(o, "%s was elected with a log that ends at %d; %d is committed", name, log.Last.Index, o.index)
	case o.index > log.Base && o.term != 0 && term != o.term:
		c.Violate(o, "%s was elected with an entry %d of term %d; that of term %d is committed", name, o.index, term, o.term)
	}
}
