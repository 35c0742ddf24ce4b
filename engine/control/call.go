// Package control admits API calls to the swarm and answers them.
//
// Every call is a value of the sealed sum [Call], every answer one of [Answer].
// A call that writes is admitted by [Admit], which checks it and writes to a
// draft; a call that reads is answered by [Read] from committed state. Where
// Docker has a text for an error, the text is Docker's.
package control

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A Call is one request to the swarm through the API.
//
//sumtype:decl
type Call interface{ isCall() }

// Filters restrict a listing: values under one key are alternatives, keys must
// all match. Known keys depend on the listing.
type Filters map[string][]string

// Calls about the swarm itself.
type (
	// SwarmInit makes this node the first manager of a new swarm. It is answered
	// by [Created] with the node's ID.
	SwarmInit struct {
		ListenAddr, AdvertiseAddr string // host:port, as resolved by the API
		DataPathAddr              string
		DataPathPort              uint32
		ForceNewCluster           bool
		Spec                      swarm.Spec
		Availability              swarm.NodeAvailability
		DefaultAddrPool           []netip.Prefix
		SubnetSize                uint32
	}
	// SwarmJoin makes this node a member of the swarm that the token names. It is
	// answered by [Done] once the node is in session with the leader.
	SwarmJoin struct {
		ListenAddr, AdvertiseAddr string // host:port, as resolved by the API
		DataPathAddr              string
		RemoteAddrs               []string // host:port
		JoinToken                 string
		Availability              swarm.NodeAvailability
	}
	// SwarmLeave takes this node out of the swarm.
	SwarmLeave struct{ Force bool }
	// SwarmInspect is answered by [Swarm].
	SwarmInspect struct{}
	// SwarmUpdate replaces the swarm's spec.
	SwarmUpdate struct {
		Version                                   uint64
		Spec                                      swarm.Spec
		RotateWorker, RotateManager, RotateUnlock bool
		// Root is what the leader has had made of a call that asks for a new root.
		Root *Root
	}
	// SwarmUnlock unlocks this node, a manager, with the key that [UnlockKey] says.
	SwarmUnlock struct{ Key string }
	// SwarmUnlockKey is answered by [UnlockKey].
	SwarmUnlockKey struct{}
	// Info asks who this node is; it is answered by [NodeInfo], on any node, in
	// any state, without asking anybody else.
	Info struct{}
)

// Roots are what nodes trust, and have certificates of.
type Roots struct {
	Cert   []byte // PEM: the swarm's
	Next   []byte // PEM: the one that is to take its place; nil if there is none
	Former []byte // PEM: the one before it
	// Version is what the certificate of a node that is up to date has at least.
	Version uint64
}

// A Root is a root certificate that a swarm is to have.
type Root struct {
	Cert, Key []byte // PEM; the key is a secret
	Digest    string // base 36, 50 digits
	// Old is the root before it, and Cross this one as Old signs it.
	Old, Cross []byte // PEM
}

// Calls about nodes. Ref is an ID, a hostname or an unambiguous prefix of an ID.
type (
	// NodeList is answered by [Nodes].
	NodeList struct{ Filters Filters }
	// NodeInspect is answered by [Nodes] with one node.
	NodeInspect struct{ Ref string }
	// NodeUpdate replaces a node's spec.
	NodeUpdate struct {
		Ref     string
		Version uint64
		Spec    swarm.NodeSpec
	}
	// NodeRemove forgets a node.
	NodeRemove struct {
		Ref   string
		Force bool
	}
)

// Calls that nodes make, not people. They are answered by [Admitted]; the manager
// that was asked then signs.
type (
	// NodeJoin asks for membership. Secret is the last part of a join token; Key
	// is a digest of the node's public key: who asks twice with one key is the
	// same node.
	NodeJoin struct {
		Secret       string
		Key          []byte
		Addr         string // advertised, host:port
		Availability swarm.NodeAvailability
	}
	// NodeRenew asks for a new certificate of a member, in the role that it has
	// by now. The node is the one that the connection is authenticated as.
	NodeRenew struct {
		Node state.NodeID
		Key  []byte
		Held []byte // digest of the key that the connection is authenticated with
	}
)

// Calls about services. Ref is an ID, a name or an unambiguous prefix of an ID.
type (
	// ServiceCreate is answered by [Created].
	ServiceCreate struct {
		Spec         swarm.ServiceSpec
		RegistryAuth string
	}
	// ServiceUpdate replaces a service's spec, or returns to the previous one.
	ServiceUpdate struct {
		Ref          string
		Version      uint64
		Spec         swarm.ServiceSpec
		RegistryAuth string
		AuthFrom     string // "", "spec" or "previous-spec"
		Rollback     string // "" or "previous"
	}
	// ServiceRemove removes a service; its tasks stop in their own time.
	ServiceRemove struct{ Ref string }
	// ServiceInspect is answered by [Services] with one service.
	ServiceInspect struct{ Ref string }
	// ServiceList is answered by [Services].
	ServiceList struct {
		Filters Filters
		Status  bool // count tasks
	}
)

// Calls about tasks.
type (
	// TaskList is answered by [Tasks].
	TaskList struct{ Filters Filters }
	// TaskInspect is answered by [Tasks] with one task.
	TaskInspect struct{ Ref string }
	// LogSources asks where the logs of a service, or of a task, are. It is
	// answered by [Sources]; the bytes do not pass through the engine.
	LogSources struct {
		Ref  string
		Task bool // Ref names a task
	}
)

// Calls about networks. Ref is an ID, a name or an unambiguous prefix of an ID.
type (
	// NetworkCreate is answered by [Created].
	NetworkCreate struct{ Spec swarm.NetworkSpec }
	// NetworkRemove removes a network that nothing uses.
	NetworkRemove struct{ Ref string }
	// NetworkInspect is answered by [Networks] with one network.
	NetworkInspect struct{ Ref string }
	// NetworkList is answered by [Networks].
	NetworkList struct{}
)

func (SwarmInit) isCall()      {}
func (SwarmJoin) isCall()      {}
func (NodeJoin) isCall()       {}
func (NodeRenew) isCall()      {}
func (SwarmLeave) isCall()     {}
func (SwarmInspect) isCall()   {}
func (SwarmUpdate) isCall()    {}
func (SwarmUnlock) isCall()    {}
func (SwarmUnlockKey) isCall() {}
func (Info) isCall()           {}
func (NodeList) isCall()       {}
func (NodeInspect) isCall()    {}
func (NodeUpdate) isCall()     {}
func (NodeRemove) isCall()     {}
func (ServiceCreate) isCall()  {}
func (ServiceUpdate) isCall()  {}
func (ServiceRemove) isCall()  {}
func (ServiceInspect) isCall() {}
func (ServiceList) isCall()    {}
func (TaskList) isCall()       {}
func (TaskInspect) isCall()    {}
func (LogSources) isCall()     {}
func (NetworkCreate) isCall()  {}
func (NetworkRemove) isCall()  {}
func (NetworkInspect) isCall() {}
func (NetworkList) isCall()    {}

// An Answer is what a call comes to. The objects in it are frozen: they may be
// read outside the engine's loop, for ever.
//
//sumtype:decl
type Answer interface{ isAnswer() }

// A Peer is a manager, and where it is reached.
type Peer struct {
	Node state.NodeID
	Addr string // host:port
}

// Answers.
type (
	// Failed refuses a call, or says that its outcome is not known.
	Failed struct {
		Kind    Kind
		Message string // Docker's text where Docker has one
	}
	// Done says that a call without a result has taken effect.
	Done struct{ Warnings []string }
	// Created names the object that a call made.
	Created struct {
		ID       string
		Warnings []string
	}
	// Admitted says what a node's certificate is to say, and what to sign it with.
	Admitted struct {
		Node     state.NodeID
		Cluster  state.ClusterID
		Manager  bool
		Version  uint64 // of the store, when this was so
		RootCert []byte // PEM: what to trust, the swarm's own root first
		// The root that signs, and those that there have been, crossed. The key is
		// a secret that stays with managers.
		IssuerCert, IssuerKey, Crossed []byte // PEM
		Expiry                         time.Duration
		Managers                       []Peer
		// UnlockKey and its version are a manager's to lock itself with; a secret
		// that stays with managers.
		UnlockKey     []byte
		UnlockVersion uint64
	}
	// Swarm is the swarm.
	Swarm struct{ Cluster *state.Cluster }
	// UnlockKey is the key that unlocks a locked manager, "" when there is none.
	UnlockKey struct{ Key string }
	// NodeInfo is what a node knows of itself.
	NodeInfo struct {
		NodeID, NodeAddr string
		State            swarm.LocalNodeState
		Manager          bool
		Error            string
		Managers         []swarm.Peer
		ManagerCount     int
		NodeCount        int
		Cluster          *state.Cluster // on a manager
	}
	// Nodes are nodes, by ID. Leader is the leading one.
	Nodes struct {
		Nodes  []*state.Node
		Leader state.NodeID
		Roots  Roots
	}
	// Services are services, by ID; Counts, if asked for, is parallel to them.
	Services struct {
		Services []*state.Service
		Counts   []swarm.ServiceStatus
	}
	// Tasks are tasks, by ID, each with what it was made from; the slices are parallel.
	// Networks are those that any of the tasks is on, by ID.
	Tasks struct {
		Tasks     []*state.Task
		Templates []*state.Template
		Networks  []*state.Network
	}
	// Networks are networks, by ID. Used, of a listing, says of each whether a service
	// is on it.
	Networks struct {
		Networks []*state.Network
		Used     []bool
	}
	// Sources are the tasks whose logs were asked for, each with what it was made
	// from, and whether their service uses a terminal.
	Sources struct {
		Tasks     []*state.Task
		Templates []*state.Template
		TTY       bool
	}
)

func (Failed) isAnswer()    {}
func (Done) isAnswer()      {}
func (Created) isAnswer()   {}
func (Admitted) isAnswer()  {}
func (Swarm) isAnswer()     {}
func (UnlockKey) isAnswer() {}
func (NodeInfo) isAnswer()  {}
func (Nodes) isAnswer()     {}
func (Services) isAnswer()  {}
func (Tasks) isAnswer()     {}
func (Sources) isAnswer()   {}
func (Networks) isAnswer()  {}

// A Kind says what sort of failure a [Failed] is; real/api maps it to a status.
type Kind uint8

// The kinds of failure, with the HTTP status that Docker gives each.
const (
	Invalid       Kind = iota // 400
	Unauthorized              // 401
	Forbidden                 // 403
	NotFound                  // 404
	Conflict                  // 409
	Internal                  // 500: what Docker calls Unknown, such as "update out of sequence"
	Unimplemented             // 501
	Unavailable               // 503: not a manager, not in a swarm, locked
)

// An Event tells subscribers of a change to an object, in Docker's terms
// (semantics of `docker events`, scope swarm).
type Event struct {
	Index      uint64     // of the log entry that made the change
	At         state.Wall // when the leader decided it
	Type       string     // node, service, …
	Action     string     // create, update, remove
	ID         string
	Attributes map[string]string
}
