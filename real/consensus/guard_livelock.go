package consensus

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// installsMax is how many snapshots may be installed without an append between.
const installsMax = 2

// livelock notices a follower that is sent snapshot after snapshot.
//
// hashicorp/raft#697: a follower whose log differs from the leader's takes the
// leader's snapshot, keeps its log, and answers by that log when asked for the
// snapshot's last entry; so it refuses every append, and is sent the next
// snapshot, for ever. When the log does differ from a snapshot that came, raft is
// stopped, the log (nothing else) is dropped, and raft starts again from the
// snapshot. It is started again, too, when two have come and no entry.
type livelock struct {
	installs atomic.Int32
	diverges func() bool
	noticed  func() // must not block
}

// installed counts a snapshot that a leader has sent.
func (w *livelock) installed() {
	if w.installs.Add(1) >= installsMax || w.diverges() {
		w.noticed()
	}
}

// appended forgets the snapshots counted: entries come in.
func (w *livelock) appended() { w.installs.Store(0) }

// watched is a LogStore that tells a livelock watchdog of appends.
type watched struct {
	raft.LogStore
	watchdog *livelock
}

// StoreLogs implements raft.LogStore.
func (w watched) StoreLogs(logs []*raft.Log) error {
	err := w.LogStore.StoreLogs(logs)
	if err == nil {
		w.watchdog.appended()
	}
	return err
}

// StoreLog implements raft.LogStore.
func (w watched) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// diverges says whether the log cannot be what led to the newest snapshot: its
// entry at the snapshot's index is of another term. Everything after such an
// entry was never committed, and everything before is in the snapshot: the log
// can go.
func (e *entries) diverges() (bool, error) {
	index, term := e.snapshots.newest()
	first, last := e.records.Bounds()
	if index == 0 || index < first || index > last {
		return false, nil
	}
	var l raft.Log
	if err := e.GetLog(index, &l); err != nil {
		return false, err
	}
	return l.Term != term, nil
}

// drop empties the log.
func (e *entries) drop() error {
	_, last := e.records.Bounds()
	return e.records.DropBefore(last + 1)
}
