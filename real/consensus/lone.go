package consensus

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// lone is the transport of a swarm of one manager: nobody calls, and whoever is
// called cannot be reached.
type lone struct{}

var errLone = errors.New("this manager has no transport to other managers")

// Consumer implements raft.Transport.
func (lone) Consumer() <-chan raft.RPC { return nil }

// LocalAddr implements raft.Transport.
func (lone) LocalAddr() raft.ServerAddress { return "" }

// AppendEntriesPipeline implements raft.Transport.
func (lone) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, errLone
}

// AppendEntries implements raft.Transport.
func (lone) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	return errLone
}

// RequestVote implements raft.Transport.
func (lone) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	return errLone
}

// RequestPreVote implements raft.WithPreVote.
func (lone) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return errLone
}

// InstallSnapshot implements raft.Transport.
func (lone) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest, *raft.InstallSnapshotResponse, io.Reader) error {
	return errLone
}

// TimeoutNow implements raft.Transport.
func (lone) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	return errLone
}

// EncodePeer implements raft.Transport.
func (lone) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (lone) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (lone) SetHeartbeatHandler(func(raft.RPC)) {}
