package engine

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
)

// certified takes in the certificate that this node has by now, and tells the
// leader.
func (n *Node) certified(now time.Time, e Certified) {
	news := e.Certificate.Version != n.renewal.Has().Version
	n.renewal.Certified(e.Certificate, now, n.wall(now), n.mint.Uint64N)
	if news && n.known != "" && n.member() && !n.changing {
		n.worker.follow(n, now)
	}
}

// adjusted takes in that the time of day was set.
func (n *Node) adjusted(now time.Time, e ClockAdjusted) {
	n.offset = e.Offset
	n.renewal.Adjusted(now, n.wall(now), n.mint.Uint64N)
}

// renewable reports whether this node may have its certificate renewed: one whose
// role is being changed gets another by that.
func (n *Node) renewable() bool {
	return n.member() && !n.lock.locked && !n.changing && n.leaving == nil && n.founding == nil
}

// renew asks for another certificate when it is time.
func (n *Node) renew(now time.Time, out *Step) {
	if n.renewable() && n.renewal.Begin(now) {
		out.do(Renew{})
	}
}

// trust has the driver judge certificates by what has committed.
func (n *Node) trust(delta *state.Delta, index uint64, out *Step) {
	if c := membership.RosterDelta(delta, index); !c.Empty() {
		out.do(Trust{c})
	}
}

// forgetTrust has the driver take certificates for what they say: this node has no
// store to judge them by.
func (n *Node) forgetTrust(out *Step) {
	out.do(Trust{membership.RosterChange{Full: true}})
}

// rootsMax is how many calls may wait for a root to be made.
const rootsMax = 16

// rotates has the root made that a call asks for, before the call is admitted. It
// reports whether the call asks for one.
func (l *leader) rotates(n *Node, e Called, out *Step) bool {
	root, asks := control.Rotates(n.store.Draft(), e.Call)
	switch {
	case !asks:
		return false
	case len(l.roots) >= rootsMax:
		out.do(Reply{e.Request, fail(control.Unavailable, textCrowded)})
	default:
		l.roots = append(l.roots, e)
		out.do(MakeRoot{e.Request, root})
	}
	return true
}

// rootMade lets the call that asked for a root wait for the next pass.
func (l *leader) rootMade(e RootMade, out *Step) {
	if l == nil {
		return // the caller was told
	}
	at := slices.IndexFunc(l.roots, func(c Called) bool { return c.Request == e.Request })
	if at < 0 {
		return
	}
	c := l.roots[at]
	l.roots = slices.Delete(l.roots, at, at+1)
	update, ok := c.Call.(control.SwarmUpdate)
	invariant.Check(ok, "%T asks for a root", c.Call)
	if e.Failed != nil {
		out.do(Reply{c.Request, *e.Failed})
		return
	}
	update.Root = &e.Root
	c.Call = update
	l.calls = append(l.calls, c)
}
