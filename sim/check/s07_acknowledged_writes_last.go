package check

import (
	"fmt"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// acknowledgedLast holds acknowledgements against the log.
type acknowledgedLast struct {
	writes  map[request]bool // calls that write and have not been answered
	removes map[request]bool // of them, those that remove a service or a network
	filled  map[uint64]bool  // entries that changed something
	created map[string]bool  // services and networks that were ever made
	acked   uint64           // the last entry that was acknowledged to anybody

	// Of the present step: an acknowledgement that nothing in the log bears out, and
	// whether a removal was acknowledged. What is made and removed in one entry
	// leaves no trace.
	untrue string
	undone bool
}

// A request is one API call of one host.
type request struct {
	host *sim.Host
	id   engine.RequestID
}

// Sentence implements [Oracle].
func (*acknowledgedLast) Sentence() string {
	return "S7 every acknowledged write is committed, and every later leader has it"
}

// Committed implements [Committer].
func (o *acknowledgedLast) Committed(_ *Checker, index uint64, entry state.Entry, delta *state.Delta) {
	if len(entry.Changes) > 0 {
		o.filled[index] = true
	}
	for _, s := range delta.Services {
		if s.Before == nil && s.After != nil {
			o.created[string(s.After.ID)] = true
		}
	}
	for _, n := range delta.Networks {
		if n.Before == nil && n.After != nil {
			o.created[string(n.After.ID)] = true
		}
	}
}

// Called implements [Caller].
func (o *acknowledgedLast) Called(_ *Checker, h *sim.Host, call engine.Called) {
	if _, renews := call.Call.(control.NodeRenew); renews { // which writes what has changed, if anything has
		return
	}
	if control.Writes(call.Call) {
		o.writes[request{h, call.Request}] = true
		switch call.Call.(type) {
		case control.ServiceRemove, control.NetworkRemove:
			o.removes[request{h, call.Request}] = true
		default:
		}
	}
}

// Replied implements [Caller].
func (o *acknowledgedLast) Replied(c *Checker, h *sim.Host, event engine.Event, reply engine.Reply) {
	r := request{h, reply.Request}
	if !o.writes[r] {
		return
	}
	delete(o.writes, r)
	if _, failed := reply.Answer.(control.Failed); failed {
		return
	}
	if _, passed := event.(engine.ForwardReturned); passed {
		return // the leader has acknowledged it
	}
	e, ok := event.(engine.Committed)
	if !ok {
		c.Violate(o, "%s acknowledged a write with %T upon %T", h.Name, reply.Answer, event)
		return
	}
	made, makes := reply.Answer.(control.Created)
	switch {
	case !o.filled[e.Index]:
		o.untrue = fmt.Sprintf("%s acknowledged a write with %T upon entry %d, which has nothing in it", h.Name, reply.Answer, e.Index)
	case makes && !o.created[made.ID]:
		o.untrue = fmt.Sprintf("%s says that %s was made, and nothing of it is in the log", h.Name, made.ID)
	}
	o.undone = o.undone || o.removes[r]
	delete(o.removes, r)
	o.acked = max(o.acked, e.Index)
}

// Stepped implements [Stepper]: it comes after the replies of the step.
func (o *acknowledgedLast) Stepped(c *Checker, _ *sim.Host, _ engine.Event, _ engine.Step) {
	if o.untrue != "" && !o.undone {
		c.Violate(o, "%s", o.untrue)
	}
	o.untrue, o.undone = "", false
}

// Voted implements [Voter].
func (*acknowledgedLast) Voted(*Checker, sim.Vote) {}

// Won implements [Voter].
func (o *acknowledgedLast) Won(c *Checker, e sim.Election) { o.judge(c, e.Leader.Name, e.Leader.Log()) }

func (o *acknowledgedLast) judge(c *Checker, name string, log sim.LogView) {
	if log.Last.Index < o.acked {
		c.Violate(o, "%s was elected with a log that ends at %d; entry %d is acknowledged", name, log.Last.Index, o.acked)
	}
}

// AtRest implements [Rester].
func (o *acknowledgedLast) AtRest(c *Checker) {
	for _, h := range c.World.Hosts {
		if h.Manager && c.core(h) && h.Store() != nil && h.Store().Index() < o.acked {
			c.Violate(o, "%s has applied entry %d at rest; %d is acknowledged", h.Name, h.Store().Index(), o.acked)
		}
	}
}
