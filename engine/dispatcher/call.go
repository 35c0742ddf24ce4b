package dispatcher

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A roll is the nodes that have no session, in order. They are called until they
// say Hello: one that is with a leader of the past does not know of this one.
type roll struct {
	silent []state.NodeID
	next   time.Duration // by the dispatcher's clock; nobody is called before
	calls  int
}

// A new leader calls often: its nodes are there, and do not know of it. Later a
// silent node is one that is off, or that will speak first when it is back.
const (
	callsQuick = 8 // in a row, a beat apart
	callsSlow  = 5 // beats between two calls after that
)

func (r *roll) add(id state.NodeID) {
	if at, there := slices.BinarySearch(r.silent, id); !there {
		r.silent = slices.Insert(r.silent, at, id)
	}
}

func (r *roll) remove(id state.NodeID) {
	if at, there := slices.BinarySearch(r.silent, id); there {
		r.silent = slices.Delete(r.silent, at, at+1)
	}
}

// NextCall is when [Dispatcher.Apart] has silent nodes to call, zero if there are
// none.
func (p *Dispatcher) NextCall() time.Time {
	if len(p.roll.silent) == 0 {
		return time.Time{}
	}
	return p.clock.when(p.roll.next)
}

// callRoll appends a call to each silent node, when it is time.
func (p *Dispatcher) callRoll(out []Outgoing) []Outgoing {
	if len(p.roll.silent) == 0 || p.clock.shown < p.roll.next {
		return out
	}
	p.roll.next = p.clock.shown + p.beat
	if p.roll.calls++; p.roll.calls > callsQuick {
		p.roll.next = p.clock.shown + callsSlow*p.beat
	}
	for _, id := range p.roll.silent {
		out = append(out, Outgoing{id, wire.Bye{}})
	}
	return out
}
