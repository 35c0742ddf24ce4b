package engine

import (
	"time"

	"github.com/swarmd/swarmd/engine/allocator"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/dispatcher"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/orchestrator"
	"github.com/swarmd/swarmd/engine/scheduler"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A leader is what a manager remembers only while it leads: rebuilt from the
// store at every election, thrown away at every deposition. A nil leader decides
// nothing.
type leader struct {
	term, seq uint64

	calls    []Called // writes that wait for the next pass, at most leaderCallsMax
	inFlight *proposal
	again    bool // the last pass was full: more is to be decided

	reads verification

	orchestrator *orchestrator.Orchestrator
	ports        *allocator.Ports
	addresses    *allocator.Addresses
	scheduler    *scheduler.Scheduler
	dispatcher   *dispatcher.Dispatcher
	council      *membership.Council
	rotation     membership.Rotation
	roots        []Called // calls that wait for a root to be made, at most rootsMax
}

// leaderCallsMax is how many calls may wait for a pass, and how many for
// leadership to be confirmed.
const leaderCallsMax = 16384

// A proposal is what has been proposed and has not committed.
type proposal struct {
	id      state.ProposalID
	replies []Reply // owed once it commits
	// What it was decided from, should it meet another state than it was meant for.
	calls    []Called
	founding *founding
}

// acknowledge pays what is owed.
func (p *proposal) acknowledge(out *Step) {
	for _, r := range p.replies {
		out.do(r)
	}
	p.replies = nil
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
func lead(n *Node, term uint64, council *membership.Council, now time.Time) *leader {
	d := n.store.Draft()
	return &leader{
		term:         term,
		reads:        verification{id: VerifyID(term << 32)}, // never one of an earlier term
		orchestrator: orchestrator.New(d, now, n.wall(now)),
		ports:        allocator.New(d),
		addresses:    allocator.NewAddresses(d),
		scheduler:    scheduler.New(d, now),
		dispatcher:   dispatcher.New(d, now, n.identity.Node),
		council:      council,
		again:        true, // what the last leader left undone
	}
}

// renewed is a leader of the same term built from the store once more: what was
// in flight came to nothing, and with it what the stages had taken for done. Its
// calls go first into the next pass.
func (l *leader) renewed(n *Node, now time.Time) *leader {
	fresh := lead(n, l.term, l.council, now)
	fresh.seq, fresh.reads = l.seq, l.reads
	fresh.roots = l.roots
	fresh.calls = append(l.inFlight.calls, l.calls...)
	n.founding = l.inFlight.founding
	return fresh
}

// called takes in a call: a read is answered from committed state once
// leadership is confirmed, a write waits for the next pass.
func (l *leader) called(n *Node, e Called, out *Step) {
	if len(l.calls) >= leaderCallsMax || len(l.reads.out)+len(l.reads.waiting) >= leaderCallsMax {
		out.do(Reply{e.Request, fail(control.Unavailable, textCrowded)})
		return
	}
	if control.Writes(e.Call) {
		if l.rotates(n, e, out) {
			return
		}
		l.calls = append(l.calls, e)
		return
	}
	answer := control.Read(n.store.Draft(), n.identity.Node, n.known, e.Call)
	if mutant.On(mutant.ReadsUnverified) {
		out.do(Reply{e.Request, answer})
		return
	}
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
	hasty := mutant.On(mutant.TwoInFlight) || mutant.On(mutant.BaseIgnored)
	if l == nil || l.inFlight != nil && !hasty || !l.due(now, n) {
		return
	}
	draft := n.store.Draft()
	p := l.pass(n, draft, now)
	l.again = draft.Full()
	if !draft.Dirty() { // refusals are reads: nothing that commits will show that they were true
		if len(p.replies) > 0 && mutant.On(mutant.RefusalsUnverified) {
			p.acknowledge(out)
		}
		l.reads.waiting = append(l.reads.waiting, p.replies...)
		l.verify(out)
		return
	}
	l.seq++
	p.id = state.ProposalID{Term: l.term, Seq: l.seq}
	l.inFlight = p
	out.do(Propose{state.Entry{Proposal: l.inFlight.id, Base: draft.Base(), Changes: draft.Changes()}})
	if len(p.replies) > 0 && mutant.On(mutant.RepliesEarly) {
		p.acknowledge(out)
	}
}

// due reports whether a pass could come to anything.
func (l *leader) due(now time.Time, n *Node) bool {
	if l.again || len(l.calls) > 0 || n.founding.ready() || l.rotation.Pending() || l.dispatcher.Pending() ||
		l.council.Pending() || l.orchestrator.Pending() || l.ports.Pending() || l.addresses.Pending() || l.scheduler.Pending() {
		return true
	}
	at := l.wake()
	return !at.IsZero() && !now.Before(at)
}

// pass runs the stages over one draft. What each stage writes is shown to the
// volatile memory of all before the next stage runs.
func (l *leader) pass(n *Node, draft *state.Draft, now time.Time) *proposal {
	wall := n.wall(now)
	p := &proposal{}
	if f := n.founding; f.ready() {
		p.founding = f
		if f.again {
			control.Refound(draft, wall, f.node, f.call.AdvertiseAddr)
		} else {
			control.Found(draft, n.mint, wall, f.call, control.Founder{
				Node: f.node, Cluster: f.cluster, Description: n.description, NodeKey: f.authority.NodeDigest,
				RootCert: f.authority.Cert, RootKey: f.authority.Key, RootDigest: f.authority.Digest,
			})
		}
		p.replies = append(p.replies, Reply{f.request, control.Created{ID: string(f.node)}})
		n.founding = nil
	}
	taken := 0
	for taken < len(l.calls) && !draft.Full() {
		c := l.calls[taken]
		p.replies = append(p.replies, Reply{c.Request, control.Admit(draft, n.mint, wall, c.Call)})
		taken++
	}
	p.calls, l.calls = l.calls[:taken:taken], l.calls[taken:]
	l.dispatcher.Apply(draft, now, wall)
	l.council.Record(draft, wall)
	l.rotation.Finish(draft, n.mint, wall)
	l.observe(draft)
	l.orchestrator.Reconcile(draft, n.mint, now, wall)
	l.observe(draft)
	l.ports.Assign(draft)
	l.addresses.Assign(draft, wall)
	l.observe(draft)
	l.scheduler.Place(draft, now, wall)
	placed := draft.Take() // the scheduler knows its own
	l.orchestrator.Observe(&placed)
	l.ports.Observe(&placed)
	l.addresses.Observe(&placed)
	l.dispatcher.Observe(&placed)
	l.council.Observe(&placed)
	l.rotation.Observe(&placed)
	return p
}

func (l *leader) observe(draft *state.Draft) {
	delta := draft.Take()
	l.orchestrator.Observe(&delta)
	l.ports.Observe(&delta)
	l.addresses.Observe(&delta)
	l.scheduler.Observe(&delta)
	l.dispatcher.Observe(&delta)
	l.council.Observe(&delta)
	l.rotation.Observe(&delta)
}

// proposed reports whether the entry of this name is the one in flight.
func (l *leader) proposed(id state.ProposalID) bool {
	return l != nil && l.inFlight != nil && l.inFlight.id == id
}

// settle pays what was owed for the proposal that has now committed.
func (l *leader) settle(n *Node, now time.Time, out *Step) {
	l.inFlight.acknowledge(out)
	l.inFlight = nil
	l.deliver(n, now, out)
}

// deliver sends what the dispatcher has for the nodes: only what has committed. A
// farewell or a call says nothing of the store, and does not wait for a log that is
// slow: a node whose session has ended, or that does not know of this leader, must
// hear of it before it is taken for silent.
func (l *leader) deliver(n *Node, now time.Time, out *Step) {
	if l == nil {
		return
	}
	messages := l.dispatcher.Apart(now)
	if l.inFlight == nil {
		messages = append(messages, l.dispatcher.Flush(n.store.Draft())...)
	}
	for _, m := range messages {
		m.Message = l.signed(n, m.Message)
		if m.To == n.identity.Node {
			n.worker.inbox = append(n.worker.inbox, m.Message)
			continue
		}
		out.do(Send{m.To, m.Message})
	}
}

// signed is a message with the leader's term in it.
func (l *leader) signed(n *Node, message wire.Message) wire.Message {
	switch m := message.(type) {
	case wire.Bye:
		m.Leader, m.Term = n.identity.Node, l.term
		return m
	case wire.Assign:
		m.Term = l.term
		return m
	default:
		return message
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
	for _, c := range append(l.roots, l.calls...) {
		if c.Forwarded { // who passed it on can pass it on again
			out.do(Reply{c.Request, fail(control.Unavailable, textNotLeader)})
			continue
		}
		out.do(Reply{c.Request, fail(control.Internal, textNoLeader)})
	}
	for _, r := range append(l.reads.out, l.reads.waiting...) {
		out.do(Reply{r.Request, fail(control.Internal, textNoLeader)})
	}
}

// wake is when the next deadline of the leader's is; zero is never.
func (l *leader) wake() time.Time {
	if l == nil {
		return time.Time{}
	}
	if l.inFlight != nil {
		return l.dispatcher.NextCall()
	}
	return earlier(l.orchestrator.Wake(), earlier(earlier(l.dispatcher.Wake(), l.council.Wake()), l.scheduler.Wake()))
}

// AddressesDiffer tells how what a leader remembers of used addresses differs from what
// the store says, "" if it does not, or if nothing can be said: this node does not
// lead, or has proposed what has not committed. It looks at everything, and is for
// checks.
func (n *Node) AddressesDiffer() string {
	if n.leader == nil || n.leader.inFlight != nil {
		return ""
	}
	return n.leader.addresses.Difference(allocator.NewAddresses(n.store.Draft()))
}
