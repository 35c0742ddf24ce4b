package check

import "github.com/swarmd/swarmd/engine/state"

// entriesLed holds proposals against elections.
type entriesLed struct{ last state.ProposalID }

// Sentence implements [Oracle].
func (*entriesLed) Sentence() string {
	return "S9 who proposed an entry had been elected for its term"
}

// Committed implements [Committer].
func (o *entriesLed) Committed(c *Checker, index uint64, entry state.Entry, _ *state.Delta) {
	p := entry.Proposal
	if p.Term == 0 {
		return
	}
	if c.Leader(p.Term) == nil {
		c.Violate(o, "entry %d was proposed in term %d, for which nobody was elected", index, p.Term)
	}
	if p.Term < o.last.Term {
		c.Violate(o, "entry %d is of term %d, one before it of term %d", index, p.Term, o.last.Term)
	}
	o.last = p
}
