package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// machine is raft's FSM: it tells the engine what is committed. The library
// calls it from one goroutine at a time.
type machine struct {
	post      func(engine.Event)
	freeze    func() *state.Snapshot
	fatal     func(error)
	snapshots *snapshots
	running   func() bool // what comes now does not come from the start
	installed func()      // told of snapshots that did not; nil if that guard is off

	delivered uint64                // index of what was posted last
	broken    bool                  // an entry could not be read; nothing after it is posted
	unread    atomic.Pointer[error] // why a snapshot could not be
}

// ApplyBatch implements raft.BatchingFSM. Entries that the engine has already,
// since before raft was started again within this process, are left out.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		if l.Type != raft.LogCommand || l.Index <= m.delivered || m.broken {
			continue
		}
		entry, err := state.DecodeEntry(l.Data)
		if err != nil {
			m.broken = true
			m.fatal(fmt.Errorf("entry %d of the log, which is committed, cannot be read: %w", l.Index, err))
			break
		}
		m.post(engine.Committed{Index: l.Index, Entry: entry})
		m.delivered = l.Index
	}
	return make([]any, len(logs))
}

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken {
		return nil, errors.New("an entry could not be read")
	}
	frozen := m.freeze()
	if frozen == nil {
		return nil, errors.New("the engine has stopped")
	}
	return frozenState{frozen}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(body io.ReadCloser) error {
	defer body.Close()
	store, err := state.Restore(body)
	if err != nil {
		// The library would try an older snapshot: see Log.start.
		err = fmt.Errorf("read the snapshot: %w", err)
		m.unread.Store(&err)
		if m.running() {
			m.fatal(err)
		}
		return err
	}
	m.delivered = m.snapshots.opened.Load()
	m.post(engine.Restored{Store: store})
	if m.running() && m.installed != nil {
		m.installed()
	}
	return nil
}

// frozenState is written beside the loop that goes on changing the store.
type frozenState struct{ *state.Snapshot }

// Persist implements raft.FSMSnapshot.
func (f frozenState) Persist(sink raft.SnapshotSink) error {
	if _, err := f.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (frozenState) Release() {}
