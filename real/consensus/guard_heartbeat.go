package consensus

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// transport is what raft is given for a transport. Raft knows nodes by their IDs
// only, as names and as addresses, so that a manager's address may change without
// an entry in the log; Config.Address says where they are.
//
// It is also two guards. hashicorp/raft#695: the library handles heartbeats on
// the goroutine that received them, beside its main loop, and so changes term and
// state under a leader's feet; the leader then writes entries of a term that it
// never won, and replicas differ for ever. Here the library cannot register that
// handler: heartbeats take the main queue.
//
// It hides Close of what it wraps: the library would close it when it restarts.
type transport struct {
	raft.Transport // the one wrapped
	node           state.NodeID
	address        func(state.NodeID) string
	unguarded      Unguarded
}

// SetHeartbeatHandler implements raft.Transport.
func (t transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	if t.unguarded.Heartbeat {
		t.Transport.SetHeartbeatHandler(handle)
	}
}

// LocalAddr implements raft.Transport.
func (t transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.node) }

// EncodePeer implements raft.Transport.
func (t transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (t transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// AppendEntries implements raft.Transport.
func (t transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	return t.Transport.AppendEntries(id, t.where(id, to), q, a)
}

// RequestVote implements raft.Transport.
func (t transport) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return t.Transport.RequestVote(id, t.where(id, to), q, a)
}

// RequestPreVote implements raft.WithPreVote.
func (t transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	inner, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("the transport does not carry pre-votes")
	}
	return inner.RequestPreVote(id, t.where(id, to), q, a)
}

// InstallSnapshot implements raft.Transport.
func (t transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, body io.Reader) error {
	return t.Transport.InstallSnapshot(id, t.where(id, to), q, a, body)
}

// TimeoutNow implements raft.Transport.
func (t transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return t.Transport.TimeoutNow(id, t.where(id, to), q, a)
}

// where is a node's address for the transport. The one in the log's configuration
// is what is left when nobody knows a newer one.
func (t transport) where(id raft.ServerID, otherwise raft.ServerAddress) raft.ServerAddress {
	if t.address == nil {
		return otherwise
	}
	if known := t.address(state.NodeID(id)); known != "" {
		otherwise = raft.ServerAddress(known)
	}
	return joinAddress(id, otherwise)
}
