package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// Recover makes the log in cfg, which must not run, one whose only voter is this
// node, for when the other managers are lost: all that is in it counts for
// committed, whether it was or not. It is durable when Recover returns; [Log.Start] runs
// it. What others have committed and this node does not have is lost.
func Recover(cfg Config) error {
	l, err := newLog(cfg)
	if err != nil {
		return err
	}
	defer l.stopWriter()
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(cfg.Node), Address: raft.ServerAddress(cfg.Node)}
	whole := &recovered{store: state.NewStore()}
	err = raft.RecoverCluster(l.cfg.raftConfig(nil, false), whole, l.logs, l.stable, l.snaps, l.transport(), raft.Configuration{Servers: []raft.Server{self}})
	if err = errors.Join(whole.err, err); err != nil {
		return fmt.Errorf("recover the log of node %s: %w", cfg.Node, err)
	}
	return nil
}

// recovered is an FSM without an engine: it holds what the log comes to.
type recovered struct {
	store *state.Store
	err   error
}

// Apply implements raft.FSM. An entry that was decided on another state than the
// one it meets does nothing, as it does in the engine.
func (r *recovered) Apply(l *raft.Log) any {
	entry, err := state.DecodeEntry(l.Data)
	switch {
	case r.err != nil:
	case err != nil:
		r.err = fmt.Errorf("entry %d cannot be read: %w", l.Index, err)
	case entry.Base != r.store.Index():
		r.store.Apply(l.Index, nil)
	default:
		r.store.Apply(l.Index, entry.Changes)
	}
	return nil
}

// Snapshot implements raft.FSM.
func (r *recovered) Snapshot() (raft.FSMSnapshot, error) {
	if r.err != nil {
		return nil, r.err
	}
	return frozenState{r.store.Freeze()}, nil
}

// Restore implements raft.FSM.
func (r *recovered) Restore(body io.ReadCloser) error {
	store, err := state.Restore(body)
	if err != nil {
		r.err = fmt.Errorf("read the snapshot: %w", err)
		return r.err
	}
	r.store = store
	return nil
}
