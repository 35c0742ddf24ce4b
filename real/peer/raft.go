package peer

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// raftWaitingMax is how many connections of the log may wait to be taken.
const raftWaitingMax = 64

// A Raft is the byte streams between managers that a log's transport is made of.
type Raft struct {
	peers   *Peers
	waiting chan net.Conn
	closing chan struct{}
	once    sync.Once
}

// raftQueue is where connections of the log go: to the log that runs, if one does.
type raftQueue struct {
	mu      sync.Mutex
	current *Raft
}

func newRaftQueue() *raftQueue { return &raftQueue{} }

// Raft returns the byte streams for a log that is about to run. There is one at a
// time: the last.
func (p *Peers) Raft() *Raft {
	r := &Raft{peers: p, waiting: make(chan net.Conn, raftWaitingMax), closing: make(chan struct{})}
	p.raft.mu.Lock()
	defer p.raft.mu.Unlock()
	p.raft.current = r
	return r
}

// offer hands a connection to the log. It reports whether there is one that takes it.
func (q *raftQueue) offer(conn net.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current == nil {
		return false
	}
	select {
	case q.current.waiting <- conn:
		return true
	default:
		return false
	}
}

// Accept waits for the next connection from another manager.
func (r *Raft) Accept() (net.Conn, error) {
	select {
	case conn := <-r.waiting:
		return conn, nil
	case <-r.closing:
		return nil, net.ErrClosed
	}
}

// Close ends Accept, and whatever waits for it.
func (r *Raft) Close() error {
	r.once.Do(func() {
		q := r.peers.raft
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.current == r {
			q.current = nil
		}
		close(r.closing)
		for {
			select {
			case conn := <-r.waiting:
				_ = conn.Close() // nobody takes it
			default:
				return
			}
		}
	})
	return nil
}

// Addr is nothing that could be dialled: nodes are named by their IDs.
func (r *Raft) Addr() net.Addr { return raftAddr{} }

type raftAddr struct{}

// Network names the kind of the address.
func (raftAddr) Network() string { return "swarm" }

// String is the address.
func (raftAddr) String() string { return protocolRaft }

// Dial connects to a manager.
func (r *Raft) Dial(node state.NodeID, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.peers.ctx, timeout)
	defer cancel()
	conn, _, err := r.peers.dial(ctx, addr, protocolRaft, node)
	if err != nil {
		return nil, err
	}
	return conn, nil
}
