package orchestrator

import (
	"github.com/swarmd/swarmd/engine/state"
)

// awaited reports whether a node that is Down is waited for, for the sake of a
// service that is patient: see [state.PatienceLabel]. If it is, the task is looked
// at again when that patience ends.
func (p *pass) awaited(n *state.Node, t *state.Task) bool {
	s := p.d.Service(t.Service)
	if s == nil {
		return false
	}
	patience, err := state.PatienceOf(s.Spec.Labels)
	if err != nil { // refused at admission
		return false
	}
	left := min(n.Since.Add(patience).Sub(p.wall), patience)
	if left <= 0 {
		return false
	}
	p.deadlines.add(p.now.Add(left), cause{slot: slotRef{t.Service, t.SlotKey()}})
	return true
}
