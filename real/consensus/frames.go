package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// frameBytesMax is how large a frame may be; a snapshot goes in one.
const frameBytesMax = 256 << 20

// Frames is a transport over whatever takes a message to a node that is named by
// its ID, which may lose it, repeat it, and bring it late: the simulator's
// network. Production uses [Transport].
//
// Each message of raft's and each answer is one frame, written by hand, since
// encoding takes most of the time of a swarm that is simulated.
type Frames struct {
	node state.NodeID
	send func(to state.NodeID, frame []byte)
	log  *slog.Logger

	requests chan raft.RPC
	closed   chan struct{}
	serving  sync.WaitGroup

	mu        sync.Mutex
	heartbeat func(raft.RPC) // nil while #695 is guarded against
	number    uint64
	waiting   map[uint64]chan frame
}

var errFrameLost = errors.New("the manager has not answered in time")

// NewFrames makes a transport for a node, for Config.Transport. send must not block
// and may keep what it is given. The numbers of calls begin anywhere, so that an
// answer to an earlier life of the node is no answer to this one.
func NewFrames(node state.NodeID, send func(to state.NodeID, frame []byte), logger *slog.Logger) *Frames {
	return &Frames{
		node: node, send: send, log: logger,
		requests: make(chan raft.RPC), closed: make(chan struct{}),
		number: rand.Uint64(), waiting: make(map[uint64]chan frame),
	}
}

// Receive takes in a frame that has come from a node. It does not block.
func (f *Frames) Receive(from state.NodeID, b []byte) {
	m, err := decodeFrame(b)
	if err != nil {
		f.log.Warn("a frame cannot be read", "from", from, "bytes", len(b), "error", err)
		return
	}
	if m.answer {
		f.mu.Lock()
		answer := f.waiting[m.number]
		delete(f.waiting, m.number)
		f.mu.Unlock()
		if answer != nil { // else it is late, or has come before
			answer <- m
		}
		return
	}
	f.serving.Go(func() { f.serve(from, m) })
}

// Close ends what is under way.
func (f *Frames) Close() error {
	close(f.closed)
	f.serving.Wait()
	return nil
}

// serve has raft answer a request.
func (f *Frames) serve(from state.NodeID, m frame) {
	answer := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: m.body, RespChan: answer}
	if q, ok := m.body.(*raft.InstallSnapshotRequest); ok {
		rpc.Reader = io.LimitReader(bytes.NewReader(m.snapshot), q.Size)
	}
	f.mu.Lock()
	heartbeat := f.heartbeat
	f.mu.Unlock()
	if heartbeat != nil && isHeartbeat(m.body) {
		heartbeat(rpc)
	} else {
		select {
		case f.requests <- rpc:
		case <-f.closed:
			return
		}
	}
	select {
	case a := <-answer:
		f.send(from, frame{number: m.number, answer: true, body: a.Response, failure: a.Error}.encode())
	case <-f.closed:
	}
}

// isHeartbeat is how the library's own transport tells a heartbeat.
func isHeartbeat(body any) bool {
	q, ok := body.(*raft.AppendEntriesRequest)
	return ok && q.Term != 0 && q.PrevLogEntry == 0 && q.PrevLogTerm == 0 && len(q.Entries) == 0 && q.LeaderCommitIndex == 0
}

// call sends a request and waits for its answer.
func (f *Frames) call(to raft.ServerID, m frame) (any, error) {
	answer := make(chan frame, 1)
	f.mu.Lock()
	f.number++
	m.number = f.number
	f.waiting[m.number] = answer
	f.mu.Unlock()
	f.send(state.NodeID(to), m.encode())
	patience := time.NewTimer(messagePeriod)
	defer patience.Stop()
	select {
	case a := <-answer:
		return a.body, a.failure
	case <-patience.C:
	case <-f.closed:
	}
	f.mu.Lock()
	delete(f.waiting, m.number)
	f.mu.Unlock()
	return nil, errFrameLost
}

func callFor[A any](f *Frames, to raft.ServerID, m frame, into *A) error {
	body, err := f.call(to, m)
	if err != nil {
		return err
	}
	a, ok := body.(*A)
	if !ok {
		return fmt.Errorf("the answer is a %T", body)
	}
	*into = *a
	return nil
}

// Consumer implements raft.Transport.
func (f *Frames) Consumer() <-chan raft.RPC { return f.requests }

// LocalAddr implements raft.Transport.
func (f *Frames) LocalAddr() raft.ServerAddress { return raft.ServerAddress(f.node) }

// AppendEntriesPipeline implements raft.Transport.
func (f *Frames) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport.
func (f *Frames) AppendEntries(id raft.ServerID, _ raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	return callFor(f, id, frame{body: q}, a)
}

// RequestVote implements raft.Transport.
func (f *Frames) RequestVote(id raft.ServerID, _ raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return callFor(f, id, frame{body: q}, a)
}

// RequestPreVote implements raft.WithPreVote.
func (f *Frames) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	return callFor(f, id, frame{body: q}, a)
}

// InstallSnapshot implements raft.Transport.
func (f *Frames) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, body io.Reader) error {
	snapshot, err := io.ReadAll(io.LimitReader(body, frameBytesMax))
	if err != nil {
		return err
	}
	return callFor(f, id, frame{body: q, snapshot: snapshot}, a)
}

// TimeoutNow implements raft.Transport.
func (f *Frames) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return callFor(f, id, frame{body: q}, a)
}

// EncodePeer implements raft.Transport.
func (f *Frames) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (f *Frames) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (f *Frames) SetHeartbeatHandler(handle func(raft.RPC)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heartbeat = handle
}
