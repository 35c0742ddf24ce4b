package check

import "github.com/swarmd/swarmd/sim"

// oneVote remembers for whom everybody has voted.
type oneVote struct{ votes map[ballot]*sim.Host }

type ballot struct {
	voter *sim.Host
	term  uint64
}

// Sentence implements [Oracle].
func (*oneVote) Sentence() string {
	return "S6 one vote in a term, and none for an older log"
}

// Voted implements [Voter].
func (o *oneVote) Voted(c *Checker, v sim.Vote) {
	b := ballot{v.Voter, v.Term}
	if other := o.votes[b]; other != nil && other != v.Candidate {
		c.Violate(o, "%s votes for %s in term %d, in which it has voted for %s", v.Voter.Name, v.Candidate.Name, v.Term, other.Name)
	}
	o.votes[b] = v.Candidate
	if v.CandidateLast.Before(v.VoterLast) {
		c.Violate(o, "%s, whose log ends at %v, votes for %s, whose log ends at %v", v.Voter.Name, v.VoterLast, v.Candidate.Name, v.CandidateLast)
	}
}

// Won implements [Voter].
func (*oneVote) Won(*Checker, sim.Election) {}
