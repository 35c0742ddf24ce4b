// Package wire holds what nodes say to each other.
//
// Messages may be lost, repeated and reordered across links; each therefore
// carries all it needs to be understood alone, or a sequence that tells the
// receiver what is missing.
package wire

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A Message goes from one node to another.
//
//sumtype:decl
type Message interface{ isMessage() }

// A Manager is a node that takes part in consensus, and where it is reached.
type Manager struct {
	ID   state.NodeID
	Addr string // host:port
}

// Hello opens a worker's session with the leader: who it is and what it has. The
// leader answers with a full [Assign].
type Hello struct {
	Session uint64 // minted by the worker; later messages quote it
	Addr    string
	// ManagerAddr is where a node is reached that is ready to take part in
	// consensus, or does already; "" for a worker.
	ManagerAddr string
	// Certificate is the version in the certificate that the node has.
	Certificate uint64
	Description swarm.NodeDescription
	// DataPath is the IP address that traffic between containers goes by; "" is Addr.
	// It came later: see [Append].
	DataPath string
}

// Heartbeat says that the worker lives, that it has taken in assignments up to
// Sequence, and that it has sent so many reports in the session. Index is how far
// a manager has come in the log.
type Heartbeat struct {
	Session  uint64
	Sequence uint64
	Reports  uint64
	Index    uint64
	// Applied is the newest assignment whose tables the node's network follows.
	Applied uint64
}

// Applied says, at once, what the next [Heartbeat] would of the node's network.
type Applied struct {
	Session  uint64
	Sequence uint64
}

// Report tells the leader what became of tasks. Number counts the reports of a
// session, from 1.
type Report struct {
	Session  uint64
	Number   uint64
	Statuses []Status
}

// A Status is one task's status as its agent sees it.
type Status struct {
	Task   state.TaskID
	Status state.TaskStatus
}

// Assign tells a worker what its tasks are. Full means that there are no others;
// otherwise it is a difference to Sequence-1 of the same session.
type Assign struct {
	Session  uint64
	Sequence uint64
	Term     uint64 // the leader's: a worker that has heard of a later one takes nothing from it
	Full     bool
	// Manager is the role that the node is to have.
	Manager bool
	// Certificate is the version that its certificate must have at least.
	Certificate uint64
	// Managers are all that there are, as a worker must know them; none is no news.
	Managers []Manager
	// Period is the time within which the leader wants to hear from the worker,
	// in nanoseconds.
	Period int64
	Tasks  []Assignment
	// Keep are tasks that have ended: their containers stay, for logs.
	Keep []state.TaskID
	// Gone are tasks that the swarm has forgotten: their containers go.
	Gone []state.TaskID
	// Tables are news of the networks; nil is none.
	Tables *Tables
}

// An Assignment is a task with what it is made from.
type Assignment struct {
	Task     *state.Task
	Template *state.Template
}

// Quit says that the node leaves the swarm of its own will.
type Quit struct{ Session uint64 }

// Bye ends a session: the leader does not, or no longer, know the worker or the
// session, and the worker must say Hello again. Without a session it is a call to
// a worker that has none with this leader.
//
// Leader says to whom, "" where the sender does not know: a manager that does not
// lead answers a Hello so, too. Addr is where that leader is reached, as far as the
// sender knows: a worker may know an address that it has no more. Term is the
// leader's, 0 where another speaks of it.
type Bye struct {
	Session uint64
	Leader  state.NodeID
	Addr    string // host:port
	Term    uint64
	// Removed says that the leader knows of no such node.
	Removed bool
}

func (Hello) isMessage()     {}
func (Heartbeat) isMessage() {}
func (Report) isMessage()    {}
func (Applied) isMessage()   {}
func (Assign) isMessage()    {}
func (Quit) isMessage()      {}
func (Bye) isMessage()       {}
