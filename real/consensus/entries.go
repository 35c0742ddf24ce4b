package consensus

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// entries is raft's LogStore on [Records].
//
// It does not say that it is monotonic (it cannot hold gaps): for such stores the
// library drops the whole log when a snapshot is installed, entries after the
// snapshot included, which this follower may have promised to hold. Instead,
// when an append leaves a gap, everything before it is dropped, and only if a
// snapshot covers the gap.
type entries struct {
	records   Records
	snapshots *snapshots
	fatal     func(error)
	park      func()       // see Log.park
	refuse    atomic.Bool  // the next append fails, so that the leader steps down
	unsnapped atomic.Int64 // bytes appended since they were last counted
}

var errResigned = errors.New("this manager steps down")

// FirstIndex implements raft.LogStore.
func (e *entries) FirstIndex() (uint64, error) {
	first, _ := e.records.Bounds()
	return first, nil
}

// LastIndex implements raft.LogStore.
func (e *entries) LastIndex() (uint64, error) {
	_, last := e.records.Bounds()
	return last, nil
}

// GetLog implements raft.LogStore.
func (e *entries) GetLog(index uint64, into *raft.Log) error {
	if first, last := e.records.Bounds(); index < first || index > last || index == 0 {
		return raft.ErrLogNotFound
	}
	b, err := e.records.Read(index)
	if err != nil {
		if first, last := e.records.Bounds(); index < first || index > last {
			return raft.ErrLogNotFound // dropped meanwhile
		}
		e.fatal(err)
		e.park()
		return err
	}
	l, err := decodeEntry(index, b)
	if err != nil {
		err = fmt.Errorf("entry %d of the log: %w", index, err)
		e.fatal(err)
		e.park()
		return err
	}
	*into = l
	return nil
}

// StoreLog implements raft.LogStore.
func (e *entries) StoreLog(l *raft.Log) error { return e.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (e *entries) StoreLogs(logs []*raft.Log) error {
	if e.refuse.CompareAndSwap(true, false) {
		return errResigned
	}
	if len(logs) == 0 {
		return nil
	}
	first, records, err := encode(logs)
	if err != nil {
		e.fatal(err)
		return err
	}
	return e.append(first, records)
}

// append writes records, durably; any failure is fatal.
func (e *entries) append(first uint64, records [][]byte) error {
	err := e.makeRoom(first)
	if err == nil {
		err = e.records.Append(first, records)
	}
	if err != nil {
		e.fatal(err)
		return err
	}
	var size int64
	for _, r := range records {
		size += int64(len(r))
	}
	e.unsnapped.Add(size)
	return nil
}

// makeRoom makes the log one that first can follow.
func (e *entries) makeRoom(first uint64) error {
	_, last := e.records.Bounds()
	switch covered, _ := e.snapshots.newest(); {
	case last == 0 || first == last+1:
		return nil
	case first <= last:
		return e.records.DropAfter(first - 1)
	case covered < first-1:
		return fmt.Errorf("entry %d cannot follow entry %d of the log: the newest snapshot covers entries to %d only", first, last, covered)
	default:
		return e.records.DropBefore(last + 1)
	}
}

// DeleteRange implements raft.LogStore. Of entries dropped from the start, the
// one at which the newest snapshot was taken is kept: a leader asks for its term
// to know that the next may follow.
func (e *entries) DeleteRange(from, to uint64) error {
	first, last := e.records.Bounds()
	var err error
	switch covered, _ := e.snapshots.newest(); {
	case last == 0 || to < first || from > last:
		return nil
	case from > first && to < last:
		err = fmt.Errorf("entries %d to %d cannot be dropped from the middle of the log, which has %d to %d", from, to, first, last)
	case from > first:
		err = e.records.DropAfter(from - 1)
	case covered >= first:
		err = e.records.DropBefore(min(to+1, covered))
	default:
		err = e.records.DropBefore(to + 1)
	}
	if err != nil {
		e.fatal(err)
	}
	return err
}

func encode(logs []*raft.Log) (first uint64, records [][]byte, err error) {
	first = logs[0].Index
	records = make([][]byte, len(logs))
	size := 0
	for _, l := range logs {
		size += 20 + len(l.Extensions) + len(l.Data)
	}
	b := make([]byte, 0, size)
	for i, l := range logs {
		if l.Index != first+uint64(i) {
			return 0, nil, fmt.Errorf("entries to append are not consecutive: %d comes where %d should", l.Index, first+uint64(i))
		}
		at := len(b)
		b = appendEntry(b, l)
		records[i] = b[at:len(b):len(b)]
	}
	return first, records, nil
}
