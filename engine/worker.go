package engine

import (
	"net/netip"
	"time"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A worker is the half of a node that has tasks run.
type worker struct {
	agent  *agent.Agent
	outbox []wire.Message // for the leader
	inbox  []wire.Message // from the leader, when that is this very node

	unknown  time.Time // since when no leader has known this node
	term     uint64    // of the leader that it is with, as far as a worker knows
	session  uint64
	sequence uint64
	reports  uint64        // sent in the session
	beat     time.Duration // how often the leader wants to hear
	nextBeat time.Time
	dueWake  time.Time

	awaits  bool // the node was in the swarm before, and nobody has told it of the networks yet
	planner netplan.Planner
	planned []planned // plans that have not been applied yet, in order
	applied uint64    // the newest assignment that the network follows
	told    bool      // that something is to lead somewhere no more: the leader may wait
}

// A planned plan is one that the network has been asked for.
type planned struct{ generation, sequence uint64 }

// How long a worker waits.
const (
	helloPatience  = time.Second     // for an answer to its Hello
	banishPatience = 5 * time.Second // for a leader that knows this node, before it takes itself for removed
	wanderPatience = 3 * time.Second // for the log to tell who leads, before a manager asks
)

// Gateway is the node's address on the bridge of its containers. Docker's own
// gateway bridge has 172.18.0.0/16 by default; both may be on one machine.
func Gateway() netip.Prefix { return netip.MustParsePrefix("172.31.0.1/16") }

// begin makes the worker of a node that has just started.
func (w *worker) begin(n *Node, now time.Time) {
	w.agent = agent.New(agent.Config{
		Self:     n.identity.Node,
		Hostname: n.description.Hostname,
		Platform: n.description.Platform,
		Gateway:  Gateway(),
	})
	w.awaits = n.member()
	if !n.member() { // what is left of an earlier swarm goes
		w.agent.Assign(wire.Assign{Full: true}, now)
	}
}

// dismiss ends the worker's tasks: the node is in no swarm any more.
func (w *worker) dismiss(now time.Time) {
	w.outbox, w.inbox = nil, nil
	w.session, w.sequence, w.nextBeat, w.unknown = 0, 0, time.Time{}, time.Time{}
	w.term, w.awaits = 0, false
	w.planner.Update(nil, true)
	w.agent.Assign(wire.Assign{Full: true}, now)
}

// follow opens a session with the leader that is known now.
func (w *worker) follow(n *Node, now time.Time) {
	w.outbox = nil
	w.nextBeat = time.Time{}
	if n.known == "" {
		if n.member() {
			w.nextBeat = now.Add(wanderPatience)
		}
		return
	}
	w.agent.Identify(n.identity.Node)
	w.session = n.mint.Uint64N(1<<63) + 1
	w.sequence, w.reports = 0, 0
	w.applied, w.planned = 0, nil
	hello := wire.Hello{Session: w.session, Addr: host(n.identity.Addr), Certificate: n.renewal.Has().Version, Description: n.description}
	if at := n.identity.dataPath(); at != hello.Addr {
		hello.DataPath = at
	}
	if n.identity.Manager {
		hello.ManagerAddr = n.identity.Addr
	}
	w.outbox = append(w.outbox, hello)
	w.nextBeat = now.Add(helloPatience)
	w.agent.Reconnect(now)
}

// take handles a message from the leader.
func (w *worker) take(n *Node, now time.Time, m wire.Message, out *Step) {
	switch m := m.(type) {
	case wire.Assign:
		w.assigned(n, now, m, out)
	case wire.Bye:
		w.parted(n, now, m, out)
	case wire.Hello, wire.Heartbeat, wire.Report, wire.Applied, wire.Quit: // for leaders
	default:
		invariant.Violated("unknown message %T", m)
	}
}

// parted takes in the end of a session, or who leads. A session that stands is
// left only for the leader of a later term: by a manager too, whose log may have
// stopped telling it.
func (w *worker) parted(n *Node, now time.Time, m wire.Bye, out *Step) {
	ended := m.Session == w.session && m.Session != 0
	heard := n.leader == nil && m.Leader != "" && m.Leader != n.known
	news := heard && (m.Term > w.term || n.wanders() && w.sequence == 0 && (m.Term == 0 || m.Term == w.term))
	if m.Removed && m.Term > 0 {
		w.banished(n, now, out)
		return
	}
	if w.sequence == 0 { // else the leader has said where managers are
		n.find(wire.Manager{ID: m.Leader, Addr: m.Addr}, out)
	}
	switch {
	case news:
		n.known, n.guessed, w.term = m.Leader, true, max(w.term, m.Term)
		w.follow(n, now)
	case ended && w.sequence > 0 && !mutant.On(mutant.ByeIgnored): // else it is Hello that was refused: that is said again in time
		w.follow(n, now)
	}
}

// banished takes in that a leader knows of no such node. One that does not lead any
// more may say so of a node that has joined since: only when nobody has known the
// node for longer than such a leader lasts, it was removed, and leaves.
func (w *worker) banished(n *Node, now time.Time, out *Step) {
	switch {
	case w.unknown.IsZero():
		w.unknown = now
	case now.Sub(w.unknown) >= banishPatience && n.leaving == nil && !n.banished:
		n.banished = true
		out.do(Leave{})
	}
	w.sequence = 0 // Hello is said again in time
	if w.nextBeat.IsZero() {
		w.nextBeat = now.Add(helloPatience)
	}
}

// seek has a worker that knows no leader ask one of the managers, each time
// another. Managers are told by their log.
func (w *worker) seek(n *Node, now time.Time) {
	if !n.wanders() || len(n.managers) == 0 {
		return
	}
	at := int(n.mint.Uint64N(uint64(len(n.managers))))
	if n.managers[at].ID == n.known {
		at = (at + 1) % len(n.managers)
	}
	n.known, n.guessed = n.managers[at].ID, true
	w.follow(n, now)
}

// assigned takes in assignments that are of this session and next in line.
func (w *worker) assigned(n *Node, now time.Time, m wire.Assign, out *Step) {
	switch {
	case m.Session != w.session, m.Term < w.term: // of a leader that does not know yet that it is none
		return
	case m.Sequence <= w.sequence: // a repetition
		return
	case !m.Full && m.Sequence > w.sequence+1 && !mutant.On(mutant.GapIgnored): // something was lost: begin again
		w.follow(n, now)
		return
	}
	if w.sequence == 0 || m.Period != int64(w.beat) {
		w.beat = time.Duration(m.Period)
		w.nextBeat = now.Add(w.beat)
	}
	w.sequence, w.term, w.unknown = m.Sequence, m.Term, time.Time{}
	w.awaits = w.awaits && !m.Full
	w.agent.Assign(m, now)
	w.tell(n, m)
	n.renewal.Want(m.Certificate, now, n.mint.Uint64N)
	n.reach(m.Managers, out)
	n.play(m.Manager, out)
	n.settled(out)
}

// tick lets the agent work and turns what it wants into effects and messages.
func (w *worker) tick(n *Node, now time.Time, out *Step) {
	if w.agent == nil {
		return
	}
	for _, m := range w.inbox {
		w.take(n, now, m, out)
	}
	w.inbox = nil
	w.agent.Tick(now)
	o := w.agent.Drain(n.wall(now))
	w.dueWake = o.Wake
	for _, order := range o.Orders {
		out.do(effectOf(order))
	}
	if o.NetworkChanged {
		w.planned = append(w.planned, planned{o.Generation, w.sequence})
		p, _ := w.plan(n, o.Generation, o.Endpoints)
		out.do(ApplyNetwork{p})
	}
	w.follows()
	if n.known == "" {
		if !w.nextBeat.IsZero() && !now.Before(w.nextBeat) {
			w.nextBeat = time.Time{}
			w.seek(n, now)
		}
		return
	}
	if len(o.Statuses) > 0 {
		w.reports++
		w.outbox = append(w.outbox, wire.Report{Session: w.session, Number: w.reports, Statuses: o.Statuses})
	}
	if !w.nextBeat.IsZero() && !now.Before(w.nextBeat) {
		w.heartbeat(n, now)
	}
}

// heartbeat says that the worker lives; if the leader has not answered its
// Hello, it says that again, a worker to another manager.
func (w *worker) heartbeat(n *Node, now time.Time) {
	if w.sequence == 0 {
		if n.wanders() {
			w.seek(n, now)
		} else {
			w.follow(n, now)
		}
		return
	}
	if n.unplayed {
		n.unplayed = false
		w.follow(n, now)
		return
	}
	w.outbox = append(w.outbox, wire.Heartbeat{Session: w.session, Sequence: w.sequence, Reports: w.reports, Index: n.store.Index(), Applied: w.applied})
	w.nextBeat = now.Add(w.beat)
}

func (w *worker) wake() time.Time { return earlier(w.dueWake, w.nextBeat) }

// exchange passes messages between the worker and the leader. It reports
// whether anything was handed over within the node.
func (n *Node) exchange(now time.Time, out *Step) bool {
	moved := false
	for _, m := range n.worker.outbox {
		if n.leader != nil {
			n.leader.hear(n.identity.Node, m, now)
			moved = true
			continue
		}
		if n.known != "" && n.known != n.identity.Node {
			out.do(Send{n.known, m})
		}
	}
	n.worker.outbox = nil
	n.leader.deliver(n, now, out)
	return moved || len(n.worker.inbox) > 0
}

// received takes in a message from another node.
func (n *Node) received(now time.Time, e Received, out *Step) {
	switch m := e.Message.(type) {
	case wire.Assign:
		switch {
		case e.From == n.known:
			n.worker.take(n, now, m, out)
		case n.wanders() && n.worker.sequence == 0 && n.knows(e.From): // it was slow to answer, and leads
			n.known, n.guessed = e.From, true
			n.worker.follow(n, now)
		}
	case wire.Bye:
		if e.From == n.known || n.knows(e.From) {
			n.worker.take(n, now, m, out)
		}
	case wire.Hello:
		switch {
		case n.leader != nil:
			n.leader.hear(e.From, m, now)
		case n.follows(): // the worker asked the wrong manager
			out.do(n.redirect(e.From, m.Session))
		}
	case wire.Heartbeat:
		switch {
		case n.leader != nil:
			n.leader.hear(e.From, m, now)
		case n.follows(): // the worker may have no link to the leader, which would have called it
			out.do(n.redirect(e.From, m.Session))
		}
	default:
		if n.leader != nil {
			n.leader.hear(e.From, m, now)
		}
	}
}

// redirect tells a worker who leads, and where.
func (n *Node) redirect(worker state.NodeID, session uint64) Send {
	return Send{worker, wire.Bye{Session: session, Leader: n.known, Addr: n.addrOf(n.known)}}
}

// hear takes in what a node says to its leader.
func (l *leader) hear(from state.NodeID, m wire.Message, now time.Time) {
	if beat, ok := m.(wire.Heartbeat); ok {
		l.council.Heard(from, beat.Index)
	}
	l.dispatcher.Receive(from, m, now)
}

// quit tells the leader that this node leaves. If that is lost, the leader finds
// out by the silence.
func (w *worker) quit(n *Node, out *Step) {
	if n.known != "" && n.known != n.identity.Node {
		out.do(Send{n.known, wire.Quit{Session: w.session}})
	}
}

// effectOf turns an agent's order into the effect that carries it out.
func effectOf(order agent.Order) Effect {
	switch o := order.(type) {
	case agent.Pull:
		return PullImage{o}
	case agent.Create:
		return CreateContainer{o}
	case agent.Start:
		return StartContainer{o}
	case agent.Probe:
		return ProbeContainer{o}
	case agent.Stop:
		return StopContainer{o}
	case agent.Remove:
		return RemoveContainer{o}
	default:
		invariant.Violated("unknown order %T", order)
		return nil
	}
}

// tell takes in news of the networks. The node's network is planned anew if that
// makes it another.
func (w *worker) tell(n *Node, m wire.Assign) {
	if !m.Full && m.Tables.Empty() {
		return
	}
	w.planner.Update(m.Tables, m.Full)
	w.told = w.told || m.Tables.Leaving()
	if _, another := w.plan(n, 0, w.agent.Endpoints()); another {
		w.agent.Replan() // so that this plan, or a later one, is asked for
	}
}

// follows tells the leader, at once, when the network follows what it has told: tasks
// may be waiting for that to stop.
func (w *worker) follows() {
	before := w.applied
	generation, all := w.agent.Applied()
	for len(w.planned) > 0 && w.planned[0].generation <= generation {
		w.applied = max(w.applied, w.planned[0].sequence)
		w.planned = w.planned[1:]
	}
	if all {
		w.applied = w.sequence
	}
	if w.applied > before && w.session != 0 && w.told {
		w.told = false
		w.outbox = append(w.outbox, wire.Applied{Session: w.session, Sequence: w.applied})
	}
}

// plan is the network that a node's endpoints call for, and whether it is another
// than was planned before.
func (w *worker) plan(n *Node, generation uint64, endpoints []agent.Endpoint) (netplan.Plan, bool) {
	underlay, _ := netip.ParseAddr(n.identity.dataPath())
	in := netplan.Input{
		Generation: generation, Gateway: Gateway(),
		Self: n.identity.Node, Underlay: underlay, Mesh: n.mesh, Kept: w.awaits,
		Endpoints: make([]netplan.Task, 0, len(endpoints)),
	}
	for _, e := range endpoints {
		in.Endpoints = append(in.Endpoints, netplan.Task{
			Task: e.Task, Address: e.Address, Serving: e.Serving, Ports: e.Ports, Publishing: e.Publishing,
			Attachments: e.Attachments, Mesh: e.Mesh, DNS: e.DNS,
		})
	}
	return w.planner.Plan(in)
}
