package consensus

import "github.com/hashicorp/raft"

// AppendEntriesPipeline implements raft.Transport: there is no pipelining.
//
// hashicorp/raft#614 and #612: a pipelined follower that stalls wedges the
// goroutine that replicates to it, which then never sends anything again. Without
// pipelining each message is answered before the next is sent; the library
// provides for transports that cannot do better.
func (t transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.unguarded.Pipeline {
		return t.Transport.AppendEntriesPipeline(id, t.where(id, to))
	}
	return nil, raft.ErrPipelineReplicationNotSupported
}
