package engine

import (
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/dispatcher"
	"github.com/swarmd/swarmd/engine/orchestrator"
	"github.com/swarmd/swarmd/engine/scheduler"
	"github.com/swarmd/swarmd/engine/state"
)

// A leader is what a manager remembers only while it leads: rebuilt from the
// store at every election, thrown away at every deposition. A nil leader decides
// nothing.
type leader struct {
	term, seq uint64

	calls    []Called // writes that wait for the next pass
	inFlight *proposal
	again    bool // the last pass was full: more is to be decided

	reads verification

	orchestrator *orchestrator.Orchestrator
	scheduler    *scheduler.Scheduler
	dispatcher   *dispatcher.Dispatcher
}

// A proposal is what has been proposed and has not committed.
type proposal struct {
	id      state.ProposalID
	replies []Reply // owed once it commits
}

// A verification is the reads that wait for leadership to be confirmed: those
// whose Verify is out, and those made since, which need another.
type verification struct {
	id      VerifyID
	out     []Reply
	waiting []Reply
}

// lead builds a leader from the store. Every node gets a fresh grace: losing a
// leader must never look like losing nodes.
func lead(n *Node, term uint64, now time.Time) *leader {
	d := n.store.Draft()
	return &leader{
		term:         term,
		orchestrator: orchestrator.New(d, now, n.wall(now)),
		scheduler:    scheduler.New(d, now),
		dispatcher:   dispatcher.New(d, now, n.identity.Node),
		again:        true, // what the last leader left undone
	}
}

// called takes in a call: a read is answered from committed state once
// leadership is confirmed, a write waits for the next pass.
func (l *leader) called(n *Node, e Called, out *Step) {
	if control.Writes(e.Call) {
		l.calls = append(l.calls, e)
		return
	}
	answer := control.Read(n.store.Draft(), n.identity.Node, n.known, e.Call)
	l.reads.waiting = append(l.reads.waiting, Reply{e.Request, answer})
	l.verify(out)
}

// verify asks whether this manager leads still, once for all reads that wait.
func (l *leader) verify(out *Step) {
	if len(l.reads.out) > 0 || len(l.reads.waiting) == 0 {
		return
	}
	l.reads.id++
	l.reads.out, l.reads.waiting = l.reads.waiting, nil
	out.do(Verify{l.reads.id})
}

func (l *leader) verified(e Verified, out *Step) {
	if l == nil || e.ID != l.reads.id {
		return
	}
	for _, r := range l.reads.out {
		if e.Err != nil {
			r.Answer = fail(control.Internal, textNoLeader)
		}
		out.do(r)
	}
	l.reads.out = nil
	l.verify(out)
}

// decide makes one pass over everything that waits and proposes the outcome.
// While a proposal is in flight causes gather and nothing is decided, so every
// decision is made on committed state.
func (l *leader) decide(n *Node, now time.Time, out *Step) {
	if l == nil || l.inFlight != nil || !l.due(now, n) {
		return
	}
	draft := n.store.Draft()
	replies := l.pass(n, draft, now)
	l.again = draft.Full()
	if !draft.Dirty() {
		for _, r := range replies {
			out.do(r)
		}
		return
	}
	l.seq++
	l.inFlight = &proposal{id: state.ProposalID{Term: l.term, Seq: l.seq}, replies: replies}
	out.do(Propose{state.Entry{Proposal: l.inFlight.id, Base: draft.Base(), Changes: draft.Changes()}})
}

// due reports whether a pass could come to anything.
func (l *leader) due(now time.Time, n *Node) bool {
	if l.again || len(l.calls) > 0 || n.founding != nil || l.dispatcher.Pending() || l.orchestrator.Pending() || l.scheduler.Pending() {
		return true
	}
	at := l.wake()
	return !at.IsZero() && !now.Before(at)
}

// pass runs the stages over one draft. What each stage writes is shown to the
// volatile memory of all before the next stage runs.
func (l *leader) pass(n *Node, draft *state.Draft, now time.Time) []Reply {
	wall := n.wall(now)
	var replies []Reply
	if f := n.founding; f != nil {
		control.Found(draft, n.mint, wall, f.call, control.Founder{
			Node: f.node, Cluster: f.cluster, Description: n.description,
			RootCert: f.authority.Cert, RootKey: f.authority.Key, RootDigest: f.authority.Digest,
		})
		replies = append(replies, Reply{f.request, control.Created{ID: string(f.node)}})
		n.founding = nil
	}
	taken := 0
	for _, c := range l.calls {
		if draft.Full() {
			break
		}
		taken++
		replies = append(replies, Reply{c.Request, control.Admit(draft, n.mint, wall, c.Call)})
	}
	l.calls = l.calls[taken:]
	l.dispatcher.Apply(draft, now, wall)
	l.observe(draft)
	l.orchestrator.Reconcile(draft, n.mint, now, wall)
	l.observe(draft)
	l.scheduler.Place(draft, now, wall)
	placed := draft.Take()
	l.orchestrator.Observe(&placed)
	l.dispatcher.Observe(&placed)
	return replies
}

func (l *leader) observe(draft *state.Draft) {
	delta := draft.Take()
	l.orchestrator.Observe(&delta)
	l.scheduler.Observe(&delta)
	l.dispatcher.Observe(&delta)
}

// settle pays what was owed for the proposal that has now committed.
func (l *leader) settle(n *Node, id state.ProposalID, out *Step) {
	if l == nil || l.inFlight == nil || l.inFlight.id != id {
		return
	}
	for _, r := range l.inFlight.replies {
		out.do(r)
	}
	l.inFlight = nil
	l.deliver(n, out)
}

// deliver sends what the dispatcher has for the nodes: only what has committed.
func (l *leader) deliver(n *Node, out *Step) {
	if l == nil || l.inFlight != nil {
		return
	}
	for _, m := range l.dispatcher.Flush(n.store.Draft()) {
		if m.To == n.identity.Node {
			n.worker.inbox = append(n.worker.inbox, m.Message)
			continue
		}
		out.do(Send{m.To, m.Message})
	}
}

// abdicate answers every caller. The fate of what was proposed is the log's to
// decide, and its callers are told so.
func (l *leader) abdicate(out *Step) {
	if l == nil {
		return
	}
	if l.inFlight != nil {
		for _, r := range l.inFlight.replies {
			out.do(Reply{r.Request, fail(control.Internal, textUnknown)})
		}
	}
	for _, c := range l.calls {
		out.do(Reply{c.Request, fail(control.Internal, textNoLeader)})
	}
	for _, r := range append(l.reads.out, l.reads.waiting...) {
		out.do(Reply{r.Request, fail(control.Internal, textNoLeader)})
	}
}

// wake is when the next deadline of the leader's is; zero is never.
func (l *leader) wake() time.Time {
	if l == nil || l.inFlight != nil {
		return time.Time{}
	}
	return earlier(l.orchestrator.Wake(), earlier(l.dispatcher.Wake(), l.scheduler.Wake()))
}
