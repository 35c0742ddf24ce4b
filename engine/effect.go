package engine

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// An Effect is something that the driver must do. Effects are orders, named in
// the imperative.
//
//sumtype:decl
type Effect interface{ isEffect() }

// A RequestID names an API call that awaits its reply.
type RequestID uint64

// A VerifyID names a request to confirm leadership.
type VerifyID uint64

// Reply answers an API call. Nothing answers it.
type Reply struct {
	Request RequestID
	Answer  control.Answer
}

// Forward passes an API call on to the manager that leads. The driver bounds how
// long it waits. Answered by [ForwardReturned].
type Forward struct {
	Request RequestID
	To      state.NodeID
	Call    control.Call
}

// Publish tells subscribers what has changed. Nothing answers it.
type Publish struct{ Events []control.Event }

// CreateAuthority asks for a new root certificate. Answered by [AuthorityCreated].
type CreateAuthority struct{ Cluster state.ClusterID }

// MakeRoot asks for another root certificate for the swarm, or for the one that is
// given to be looked at, and for the old one to sign it. Answered by [RootMade].
type MakeRoot struct {
	Request RequestID
	Root    control.NewRoot
}

// Renew asks for another certificate for this node, in the role that it has.
// Answered by [Renewed].
type Renew struct{}

// Trust says what has changed about whom certificates are worth what they say.
// Connections whose other end is worth less than before are to end. Nothing
// answers it.
type Trust struct{ Change membership.RosterChange }

// Refound asks for the log to be made one whose only voter is this node, with all
// that is in it, committed or not, and for Addr to be saved. Answered by
// [Refounded], and then by [Elected].
type Refound struct{ Addr string }

// Bootstrap asks for a certificate of this node, signed by the root that was
// created, for a log whose only voter it is, and then for Identity to be saved:
// from then on the node is a member. Answered by [Elected].
type Bootstrap struct {
	Identity                   Identity
	RootCert, RootKey, NodeKey []byte // PEM
}

// Join asks one of the managers at Remotes for membership: the driver makes a key,
// has it certified against Token by a manager whose root the token names, and
// saves the certificate and the identity. A node that joins as a manager opens an
// empty log too. Answered by [Joined].
type Join struct {
	Remotes      []string // host:port
	Token        string
	Addr         string // advertised, host:port
	DataPath     string // the IP address that traffic between containers goes by; "" is that of Addr
	Availability swarm.NodeAvailability
}

// ChangeRole asks for a certificate of the other role, and for the log to be
// opened, empty, or closed and forgotten. Answered by [RoleChanged].
type ChangeRole struct{ Manager bool }

// Lock asks a manager for the keys that it keeps on disk to be encrypted with Key,
// or, without one, to be left open. One that is older, by Version, than what they
// are encrypted with already is of no interest. Nothing answers it.
type Lock struct {
	Key     []byte
	Version uint64
}

// Unlock asks for the keys on disk to be decrypted with Key, and for the log to
// run. Answered by [Unlocked].
type Unlock struct{ Key []byte }

// ChangeVoter asks the log that this node leads to give a manager a standing.
// Answered by [VoterChanged], or by [Deposed].
type ChangeVoter struct{ membership.Change }

// Reach says which managers the driver should keep in touch with, and remember
// across restarts. Nothing answers it.
type Reach struct{ Managers []wire.Manager }

// Leave asks for the log, the identity and whatever else makes this node a
// member to be forgotten, durably. Answered by [Left].
type Leave struct{}

// Propose asks for an entry to be replicated. Answered by [Committed] or, its
// outcome unknown, by [Deposed].
type Propose struct{ Entry state.Entry }

// Verify asks whether this manager leads still. Answered by [Verified], or by
// [Deposed].
type Verify struct{ ID VerifyID }

// Send sends a message; it may be lost. Nothing answers it.
type Send struct {
	To      state.NodeID
	Message wire.Message
}

// PullImage asks for an image. Answered by [ImagePulled].
type PullImage struct{ agent.Pull }

// CreateContainer asks for a container. Answered by [ContainerCreated].
type CreateContainer struct{ agent.Create }

// StartContainer asks for a container to run. Answered by [ContainerStarted].
type StartContainer struct{ agent.Start }

// ProbeContainer asks for a health check. Answered by [ContainerProbed].
type ProbeContainer struct{ agent.Probe }

// StopContainer asks for a container to stop. Answered by [ContainerExited].
type StopContainer struct{ agent.Stop }

// RemoveContainer asks for a container to be gone. Answered by [ContainerRemoved].
type RemoveContainer struct{ agent.Remove }

// ApplyNetwork asks for the node's network to be as planned. A newer plan
// overtakes an older one that has not been applied; the older one then gets no
// answer of its own: the newer one's Generation answers for both. Answered by
// [NetworkApplied].
type ApplyNetwork struct{ Plan netplan.Plan }

func (Reply) isEffect()           {}
func (Forward) isEffect()         {}
func (Publish) isEffect()         {}
func (CreateAuthority) isEffect() {}
func (MakeRoot) isEffect()        {}
func (Renew) isEffect()           {}
func (Trust) isEffect()           {}
func (Refound) isEffect()         {}
func (Bootstrap) isEffect()       {}
func (Join) isEffect()            {}
func (ChangeRole) isEffect()      {}
func (Lock) isEffect()            {}
func (Unlock) isEffect()          {}
func (ChangeVoter) isEffect()     {}
func (Reach) isEffect()           {}
func (Leave) isEffect()           {}
func (Propose) isEffect()         {}
func (Verify) isEffect()          {}
func (Send) isEffect()            {}
func (PullImage) isEffect()       {}
func (CreateContainer) isEffect() {}
func (StartContainer) isEffect()  {}
func (ProbeContainer) isEffect()  {}
func (StopContainer) isEffect()   {}
func (RemoveContainer) isEffect() {}
func (ApplyNetwork) isEffect()    {}
