package engine

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// textNotLeader is what a manager says to another that has passed a call on to
// it, and not to the one that leads. It has done nothing about the call.
const textNotLeader = `rpc error: code = Unavailable desc = this manager does not lead; it has not taken the call`

// Limits of what was passed on.
const (
	forwardingsMax = 1024        // calls that were passed on, and not answered
	forwardGrace   = time.Second // for the answer to a write, once there is another leader
)

// A forwarding is a call that was passed on to the manager that leads. It may be
// under way to several: to each that came to lead since it was made.
type forwarding struct {
	call  Called
	to    state.NodeID // the last of them
	out   int          // Forwards that are still to be answered
	until time.Time    // when it is given up; zero while only the driver bounds it
}

// pass passes a call on to the leader.
func (n *Node) pass(e Called, out *Step) {
	if len(n.forwardings) >= forwardingsMax {
		out.do(Reply{e.Request, fail(control.Unavailable, textBusy)})
		return
	}
	n.forwardings = append(n.forwardings, forwarding{call: e, to: n.known, out: 1})
	out.do(Forward{e.Request, n.known, e.Call})
}

// forwardReturned takes in what came of a call that was passed on. One that the
// other has not taken is anybody's, still.
func (n *Node) forwardReturned(now time.Time, e ForwardReturned, out *Step) {
	i := slices.IndexFunc(n.forwardings, func(f forwarding) bool { return f.call.Request == e.Request })
	if i < 0 { // it was answered by another, or given up
		return
	}
	f := &n.forwardings[i]
	f.out--
	failed, bad := e.Answer.(control.Failed)
	if bad && f.out > 0 { // the next leader may know better
		return
	}
	call, to := f.call, f.to
	n.forwardings = slices.Delete(n.forwardings, i, i+1)
	switch {
	case !bad || failed.Message != textNotLeader:
		out.do(Reply(e))
	case n.known == to && n.leader == nil: // it is yet to learn that it leads, or this node that it does not
		n.await(now, call, out)
	default:
		n.called(now, call, out)
	}
}

// await has a call wait for a leader.
func (n *Node) await(now time.Time, e Called, out *Step) {
	if len(n.waiting) >= waitingCallsMax {
		out.do(Reply{e.Request, fail(control.Unavailable, textBusy)})
		return
	}
	n.waiting = append(n.waiting, waitingCall{e, now.Add(waitingCallPatience)})
}

// passAgain is for a leader that is new: those before it may be out of reach, and
// the driver waits long for them. What only reads is asked again. A write may have
// taken effect: it is given up, after a while in which the answer may come.
func (n *Node) passAgain(now time.Time, out *Step) {
	passed := n.forwardings
	n.forwardings = nil
	for _, f := range passed {
		switch {
		case control.Writes(f.call.Call):
			if f.until.IsZero() {
				f.until = now.Add(forwardGrace)
			}
		case n.leader != nil:
			n.leader.called(n, f.call, out)
			continue
		default:
			f.to = n.known
			f.out++
			out.do(Forward{f.call.Request, f.to, f.call.Call})
		}
		n.forwardings = append(n.forwardings, f)
	}
}

// giveUp answers for writes of which nothing was heard.
func (n *Node) giveUp(now time.Time, out *Step) {
	n.forwardings = slices.DeleteFunc(n.forwardings, func(f forwarding) bool {
		late := !f.until.IsZero() && !now.Before(f.until)
		if late {
			out.do(Reply{f.call.Request, fail(control.Internal, textUnknown)})
		}
		return late
	})
}
