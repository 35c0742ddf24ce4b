package engine

import (
	"cmp"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// An Event is something that happened: an answer from the world, or a request
// made of it. Events are facts, named in the past tense.
//
//sumtype:decl
type Event interface{ isEvent() }

// An Identity is what a node keeps of its membership across restarts.
type Identity struct {
	Node    state.NodeID
	Cluster state.ClusterID
	Addr    string // advertised, host:port
	Manager bool
	// DataPath is the IP address that traffic between containers goes by; "" is that
	// of Addr.
	DataPath string
}

// dataPath is the IP address that traffic between containers goes by.
func (id Identity) dataPath() string { return cmp.Or(id.DataPath, host(id.Addr)) }

// Started is the first event of a process.
type Started struct {
	// Identity is what was saved, zero when the node is in no swarm.
	Identity Identity
	// Locked says that what a manager has on disk must be unlocked first.
	Locked bool
	// Managers are those that a worker may turn to, as it last knew them.
	Managers []wire.Manager
	Seed     entropy.Seed
	// Description is the node as it sees itself.
	Description swarm.NodeDescription
	Offset      time.Duration // see ClockAdjusted
	// Mesh says that the node's network carries published ports to tasks of other
	// nodes. Without it they lead to its own tasks alone.
	Mesh bool
}

// Woken says that the time that the node asked for has come.
type Woken struct{}

// ClockAdjusted says that wall time is now the monotonic time of Step plus
// Offset. Told at the start, and when the offset has moved by a second or more.
type ClockAdjusted struct{ Offset time.Duration }

// Called is an API call. Forwarded says that another manager has passed it on to
// this one because it takes it for the leader; it is not passed on again.
type Called struct {
	Request   RequestID
	Call      control.Call
	Forwarded bool
}

// ForwardReturned answers [Forward]: what the leader said, or, where nothing was
// heard of it, a failure that says so.
type ForwardReturned struct {
	Request RequestID
	Answer  control.Answer
}

// AuthorityCreated answers [CreateAuthority].
type AuthorityCreated struct {
	Cluster   state.ClusterID
	Cert, Key []byte // PEM
	Digest    string // of the certificate, in base 36, 50 digits
	// NodeKey is a key for this node, PEM, and NodeDigest the SHA-256 of its public
	// half.
	NodeKey    []byte
	NodeDigest []byte
	Err        error
}

// RootMade answers [MakeRoot]: with the root, or with why it cannot be made.
type RootMade struct {
	Request RequestID
	Root    control.Root
	Failed  *control.Failed
}

// Certified says which certificate this node has by now, however it has come by it.
type Certified struct{ Certificate membership.Certificate }

// Renewed answers [Renew], after [Certified] if there is another certificate.
type Renewed struct{ Err error }

// Refounded answers [Refound]: the log is ready, and about to run.
type Refounded struct {
	Identity Identity
	Err      error
}

// Elected says that this manager leads for Term, and that everything committed
// before that term has been delivered. Voters are the managers that take part in
// consensus, with a vote or, so far, without.
type Elected struct {
	Term   uint64
	Voters []membership.Member
}

// VoterChanged answers [ChangeVoter].
type VoterChanged struct {
	membership.Member
	Err error
}

// Joined answers [Join]: this node is a member of the swarm that Identity names,
// or Err says why not. Managers are those that it may turn to.
type Joined struct {
	Identity Identity
	Managers []wire.Manager
	Err      error
}

// Unlocked answers [Unlock]: the node is unlocked, and its log runs, or Err says
// why not. Managers are those that it may turn to.
type Unlocked struct {
	Managers []wire.Manager
	Err      error
}

// RoleChanged answers [ChangeRole].
type RoleChanged struct {
	Identity Identity
	Err      error
}

// Deposed says that this manager no longer leads. What it proposed may yet commit.
type Deposed struct{}

// LeaderChanged says who leads, "" when nobody is known to.
type LeaderChanged struct{ Leader state.NodeID }

// Committed delivers one entry of the replicated log. An entry without a
// proposal (of the log's own) has neither ID nor changes.
type Committed struct {
	Index uint64
	Entry state.Entry
}

// Restored says that the store is now the one given, from a snapshot.
type Restored struct{ Store *state.Store }

// Verified answers [Verify]: this manager led when it was asked, if Err is nil.
type Verified struct {
	ID  VerifyID
	Err error
}

// Left answers [Leave]: this node is in no swarm.
type Left struct{}

// Received is a message from another node.
type Received struct {
	From    state.NodeID
	Message wire.Message
}

// ContainersFound lists the containers of ours that are on the node. It comes
// once after Started, and again whenever the runtime had been lost.
type ContainersFound struct{ Containers []agent.Found }

// ImagePulled answers [PullImage].
type ImagePulled struct {
	Task state.TaskID
	Err  error
}

// ContainerCreated answers [CreateContainer].
type ContainerCreated struct {
	Task state.TaskID
	// Health is the image's own health check, nil when it has none; it is used
	// where the service's spec says nothing of health.
	Health *container.HealthConfig
	Err    error
}

// ContainerStarted answers [StartContainer].
type ContainerStarted struct {
	Task state.TaskID
	PID  int
	Err  error
}

// ContainerProbed answers [ProbeContainer].
type ContainerProbed struct {
	Task    state.TaskID
	Healthy bool
	Output  string
}

// ContainerExited says that a container's process has ended, whoever ended it;
// it also answers [StopContainer].
type ContainerExited struct {
	Task state.TaskID
	Code int
	OOM  bool
	Err  error // why it could not be stopped
}

// ContainerRemoved answers [RemoveContainer].
type ContainerRemoved struct {
	Task state.TaskID
	Err  error
}

// NetworkApplied answers [ApplyNetwork]. Failed names the endpoints that could
// not be made; Err says why the rest could not.
type NetworkApplied struct {
	Generation uint64
	Failed     map[state.TaskID]string
	Err        error
}

func (Started) isEvent()          {}
func (Woken) isEvent()            {}
func (ClockAdjusted) isEvent()    {}
func (Called) isEvent()           {}
func (ForwardReturned) isEvent()  {}
func (AuthorityCreated) isEvent() {}
func (RootMade) isEvent()         {}
func (Certified) isEvent()        {}
func (Renewed) isEvent()          {}
func (Refounded) isEvent()        {}
func (Elected) isEvent()          {}
func (Deposed) isEvent()          {}
func (VoterChanged) isEvent()     {}
func (Joined) isEvent()           {}
func (Unlocked) isEvent()         {}
func (RoleChanged) isEvent()      {}
func (LeaderChanged) isEvent()    {}
func (Committed) isEvent()        {}
func (Restored) isEvent()         {}
func (Verified) isEvent()         {}
func (Left) isEvent()             {}
func (Received) isEvent()         {}
func (ContainersFound) isEvent()  {}
func (ImagePulled) isEvent()      {}
func (ContainerCreated) isEvent() {}
func (ContainerStarted) isEvent() {}
func (ContainerProbed) isEvent()  {}
func (ContainerExited) isEvent()  {}
func (ContainerRemoved) isEvent() {}
func (NetworkApplied) isEvent()   {}
