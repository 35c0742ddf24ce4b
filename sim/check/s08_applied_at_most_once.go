package check

import (
	"github.com/swarmd/swarmd/engine/state"
)

// OperationLabel is a label of services whose value a workload makes unique for
// every write that it asks for.
const OperationLabel = "check.operation"

// appliedOnce remembers what has been applied.
type appliedOnce struct {
	proposals  map[state.ProposalID]uint64
	operations map[string]uint64
}

// Sentence implements [Oracle].
func (*appliedOnce) Sentence() string {
	return "S8 a write is applied at most once, whatever its caller was told"
}

// Committed implements [Committer].
func (o *appliedOnce) Committed(c *Checker, index uint64, entry state.Entry, delta *state.Delta) {
	if len(entry.Changes) > 0 && entry.Proposal.Term > 0 {
		if first, seen := o.proposals[entry.Proposal]; seen {
			c.Violate(o, "proposal %v is applied at %d, and was at %d", entry.Proposal, index, first)
		}
		o.proposals[entry.Proposal] = index
	}
	for _, s := range delta.Services {
		if s.After == nil || s.Before != nil && s.Before.SpecVersion == s.After.SpecVersion {
			continue
		}
		op := s.After.Spec.Labels[OperationLabel]
		if op == "" || s.Before != nil && s.Before.Previous != nil && s.Before.Previous.Labels[OperationLabel] == op {
			continue // a rollback brings an earlier write back
		}
		if first, seen := o.operations[op]; seen {
			c.Violate(o, "operation %s is applied to service %s at %d, and was at %d", op, s.After.Spec.Name, index, first)
		}
		o.operations[op] = index
	}
}
