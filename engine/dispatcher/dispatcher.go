// Package dispatcher knows which nodes live, and what each should be told.
//
// What nodes say comes in through [Dispatcher.Receive]; what follows from it for
// the swarm is written by [Dispatcher.Apply], and what follows from the swarm for
// a node is read off by [Dispatcher.Flush], once it has committed. Heartbeats
// write nothing: a swarm in which nothing happens has a log in which nothing
// happens.
//
// A node says [wire.Hello] to open a session and is sent all its tasks; from then
// on it is sent what changes, numbered, so that a loss shows: to the node at the
// next change, to the dispatcher at the second heartbeat that does not
// acknowledge what was sent. What is said in a session that is not the present
// one is answered with [wire.Bye].
//
// Every decision follows from the store and from what has been heard. All that a
// Dispatcher remembers may be thrown away: the next one knows no session, its
// nodes say Hello to it, and until then each has a fresh grace.
//
// Who writes what: of a node the dispatcher writes State, Since, Message, Addr
// and Description; of a task it writes Status, as its agent reports it, and Ran.
//
// Not guaranteed: that every status of a task is seen (an agent may skip steps),
// or that a node that is Down has stopped its tasks.
package dispatcher

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// How often nodes are heard of, and how long they may be silent. The period in
// the swarm's spec is what Docker shows, 5 s by default, of which Docker lets
// three pass. Here it bounds the whole: a node is asked to speak five times in
// it and is Down after missing four, so that with the default it is Down within
// 5 s of its death, and a hiccup of 2 s is no death. The spec is shown as the
// user wrote it.
const (
	beatsPerPeriod = 5                       // times that a node speaks in the spec's period
	beatsMissed    = 4                       // of them in a row, and the node is Down
	gracesFresh    = 2                       // for a node to find a new leader: an election, a link, two Hellos
	greetGrace     = 2500 * time.Millisecond // for a node to say Hello again twice
	stallBeats     = 2                       // in which nothing at all is heard: it is the leader that slept
	stallMin       = 2 * time.Second
	beatMin        = 100 * time.Millisecond
	periodDefault  = 5 * time.Second
)

// Limits of what nodes say.
const (
	statusesMax    = 1 << 18 // statuses that wait to be applied
	strangersMax   = 1024    // farewells that wait to be sent
	statusTextMax  = 4096    // bytes of a status's message, and of its error
	statusPortsMax = 1024    // ports of a status
)

// What is said of nodes that are Down. The first is Docker's, of a node that has
// fallen silent.
const (
	downMessage = "heartbeat failure"
	quitMessage = "the node has left the swarm"
)

// A Dispatcher remembers who is there. Make one with [New].
type Dispatcher struct {
	self  state.NodeID
	nodes map[state.NodeID]*node
	beat  time.Duration // how often nodes are to speak

	clock clock
	times deadlines

	hellos   []state.NodeID // nodes whose Hello has not been applied
	quitters []state.NodeID // nodes that have left
	statuses []report       // not applied, in the order in which they came
	dirty    []state.NodeID // nodes that something is to be sent to
	// templates are those that changed while tasks were made from them.
	templates []*state.Template
	tell      bool // all nodes are to be told how often to speak
	// tellManagers says that they are to be told which managers there are.
	tellManagers bool
	managers     []wire.Manager // as they were told last
	strangers    []Outgoing     // farewells
	roll         roll
	table        table
}

// A node is what is remembered of one.
type node struct {
	id       state.NodeID
	session  uint64 // 0: none
	sequence uint64 // of the last Assign sent to it, in any session
	hello    *wire.Hello

	full  bool           // everything is to be sent
	known []wire.Manager // the managers that it was told of
	tasks []state.TaskID // else these
	tell  bool           // something is to be sent, be it only the period
	dirty bool           // it is in Dispatcher.dirty

	beat     time.Duration // what the node was last told
	slowest  time.Duration // what it may keep to still
	toldAt   uint64        // the sequence that told it
	acked    uint64        // what the last heartbeat acknowledged
	reports  tally         // those that have come
	missed   uint64        // the first report that was missing at the last heartbeat, 0 for none
	sentThen uint64        // what had been sent when it came

	news news // of the networks

	deadline time.Duration // by the clock that stands still while the leader sleeps
	alarm    time.Duration // the one in Dispatcher.times that counts; 0: none
}

// A report is one status that has not been applied.
type report struct {
	from   state.NodeID
	status wire.Status
}

// Outgoing is a message for a node.
type Outgoing struct {
	To      state.NodeID
	Message wire.Message
}

// New returns a dispatcher of the nodes in d, none of which has a session, for
// the leader self.
func New(d *state.Draft, now time.Time, self state.NodeID) *Dispatcher {
	p := &Dispatcher{self: self, nodes: map[state.NodeID]*node{}, beat: beatOf(d.Cluster()), clock: clock{last: now}, table: newTable()}
	for n := range d.Nodes() {
		p.meet(n)
	}
	p.roll.next = p.clock.shown // those of an earlier leader do not know of this one
	p.fillTable(d)
	return p
}

// Receive takes in what a node says. It decides nothing.
func (p *Dispatcher) Receive(from state.NodeID, m wire.Message, now time.Time) {
	p.clock.advance(now, p.stall())
	n := p.nodes[from]
	switch m := m.(type) {
	case wire.Hello:
		if n == nil {
			p.farewell(from, m.Session)
			return
		}
		p.open(n, m)
	case wire.Heartbeat:
		if p.inSession(from, n, m.Session) {
			p.alive(n)
			p.acknowledged(n, m.Sequence)
			p.counted(n, m.Reports)
			p.applied(n, m.Applied)
		}
	case wire.Applied:
		if p.inSession(from, n, m.Session) {
			p.alive(n)
			p.applied(n, m.Sequence)
		}
	case wire.Report:
		if p.inSession(from, n, m.Session) {
			p.alive(n)
			p.reported(n, m)
		}
	case wire.Quit:
		if p.inSession(from, n, m.Session) {
			p.quitters = append(p.quitters, from)
		}
	case wire.Assign, wire.Bye: // for workers
	}
}

// Observe takes in changes that were made to the draft or the store, by anybody.
func (p *Dispatcher) Observe(delta *state.Delta) {
	for _, c := range delta.Clusters {
		if beat := beatOf(c.After); beat != p.beat {
			p.beat, p.tell = beat, true
		}
		if c.Before != nil && c.After != nil && c.Before.CertVersion != c.After.CertVersion {
			p.tell = true // all are to renew their certificates
		}
	}
	for _, n := range delta.Nodes {
		switch {
		case n.After == nil:
			p.part(n.Before.ID)
		case n.Before == nil:
			p.meet(n.After)
		case n.Before.Spec.Role != n.After.Spec.Role || n.Before.Manager != n.After.Manager:
			p.remind(n.After.ID)
		}
		if reachable(n.Before) != reachable(n.After) {
			p.tellManagers = true
		}
	}
	for _, t := range delta.Templates {
		if t.Before != nil && t.After != nil {
			p.templates = append(p.templates, t.After)
		}
	}
	for _, t := range delta.Tasks {
		p.observeTask(t)
	}
	p.observeTable(delta)
}

// reachable is where a manager is reached, zero for a node that is none.
func reachable(n *state.Node) wire.Manager {
	if n == nil || !n.Manager {
		return wire.Manager{}
	}
	return wire.Manager{ID: n.ID, Addr: n.ManagerAddr}
}

// remind has something sent to a node, though none of its tasks has changed.
func (p *Dispatcher) remind(id state.NodeID) {
	if m := p.nodes[id]; m != nil {
		m.tell = true
		p.soil(m)
	}
}

// Pending reports whether Apply has anything to look at, deadlines apart.
func (p *Dispatcher) Pending() bool { return len(p.hellos)+len(p.statuses)+len(p.quitters) > 0 }

// Wake returns when a node may have been silent for too long, or silent ones are
// to be called; zero is never.
func (p *Dispatcher) Wake() time.Time {
	var at time.Time
	if len(p.times) > 0 {
		at = p.clock.when(p.times[0].at)
	}
	for _, w := range p.table.waves {
		if over := p.clock.when(w.deadline); at.IsZero() || over.Before(at) {
			at = over
		}
	}
	if call := p.NextCall(); !call.IsZero() && (at.IsZero() || call.Before(at)) {
		at = call
	}
	return at
}

// beatOf is how often the nodes of a swarm are to speak.
func beatOf(c *state.Cluster) time.Duration {
	period := periodDefault
	if c != nil && c.Spec.Dispatcher.HeartbeatPeriod > 0 {
		period = c.Spec.Dispatcher.HeartbeatPeriod
	}
	return max(period/beatsPerPeriod, beatMin)
}

// meet begins to watch a node.
func (p *Dispatcher) meet(n *state.Node) {
	m := &node{id: n.ID, beat: p.beat, slowest: p.beat}
	p.nodes[n.ID] = m
	if at, there := slices.BinarySearch(p.table.order, n.ID); !there {
		p.table.order = slices.Insert(p.table.order, at, n.ID)
	}
	if n.ID != p.self {
		if len(p.roll.silent) == 0 { // who has just joined speaks first
			p.roll.next = p.clock.shown + p.beat
		}
		p.roll.add(n.ID)
	}
	if n.State != state.NodeDown {
		grace := gracesFresh * m.grace()
		if mutant.On(mutant.TimersOfThePast) {
			grace = 0
		}
		p.watch(m, grace)
	}
}

// part forgets a node that the swarm has forgotten.
func (p *Dispatcher) part(id state.NodeID) {
	n := p.nodes[id]
	if n == nil {
		return
	}
	delete(p.nodes, id)
	p.unwait(id)
	p.table.order = slices.DeleteFunc(p.table.order, func(o state.NodeID) bool { return o == id })
	p.roll.remove(id)
	if n.session != 0 {
		p.farewell(id, n.session)
	}
}

// open begins a session. Its numbers go on from those of the node's last: if a Hello
// that has been repeated and overtaken begins a session anew that the worker is in
// already, what it was sent there must not pass for what it is sent now.
func (p *Dispatcher) open(n *node, m wire.Hello) {
	if n.session == m.Session { // a repetition
		return
	}
	if n.hello == nil {
		p.hellos = append(p.hellos, n.id)
	}
	n.session, n.hello = m.Session, &m
	n.acked, n.sentThen, n.toldAt = 0, 0, 0
	n.reports = tally{}
	n.tasks, n.full, n.known = nil, true, nil
	n.news.applied = 0
	p.soil(n)
	p.alive(n)
	p.roll.remove(n.id)
}

// inSession reports whether the message is of the node's present session. If it
// is not, the sender is told so and says Hello.
func (p *Dispatcher) inSession(from state.NodeID, n *node, session uint64) bool {
	if n != nil && n.session == session && session != 0 {
		return true
	}
	p.farewell(from, session)
	return false
}

// reported queues statuses. When too many wait, the session ends: the node will
// say Hello, and report again.
func (p *Dispatcher) reported(n *node, m wire.Report) {
	n.reports.add(m.Number)
	if len(p.statuses)+len(m.Statuses) > statusesMax {
		p.dismiss(n)
		return
	}
	for _, s := range m.Statuses {
		p.statuses = append(p.statuses, report{n.id, s})
	}
}

// counted holds what a node has reported against what has come. If at two
// heartbeats running the same report was missing, it is lost: the session ends,
// and in the next the node reports everything.
func (p *Dispatcher) counted(n *node, sent uint64) {
	missing := n.reports.missing(sent)
	if missing != 0 && missing == n.missed && !mutant.On(mutant.ReportLossUnnoticed) {
		p.dismiss(n)
		missing = 0
	}
	n.missed = missing
}

// dismiss ends a session: the node will say Hello.
func (p *Dispatcher) dismiss(n *node) {
	p.farewell(n.id, n.session)
	n.session = 0
	p.roll.add(n.id)
}

// acknowledged takes note of what a node has taken in. If it has moved on by
// nothing since its last heartbeat, and had been sent more by then, that is lost.
func (p *Dispatcher) acknowledged(n *node, sequence uint64) {
	if sequence < n.sentThen && sequence <= n.acked && n.sequence > 0 && !mutant.On(mutant.AssignLossUnnoticed) {
		n.tasks, n.full = nil, true
		p.soil(n)
	}
	if sequence >= n.toldAt {
		n.slowest = n.beat
	}
	n.acked, n.sentThen = sequence, n.sequence
}

// farewell tells a node that it is not in the session that it believes in.
func (p *Dispatcher) farewell(to state.NodeID, session uint64) {
	if len(p.strangers) < strangersMax {
		p.strangers = append(p.strangers, Outgoing{to, wire.Bye{Session: session, Removed: p.nodes[to] == nil}})
	}
}

// soil puts a node where Flush will look at it.
func (p *Dispatcher) soil(n *node) {
	if n.session != 0 && !n.dirty {
		n.dirty = true
		p.dirty = append(p.dirty, n.id)
	}
}
