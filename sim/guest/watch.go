//go:build wasip1

package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	swarmdisk "github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/sim/gate"
)

// What is watched here is what the log has on disk, so that oracles know of it when
// it is durable, and before anybody acts on it.

// entryHeaderBytes of a record are format, type and term, as real/consensus writes
// them.
const entryHeaderBytes = 10

type records struct{ *swarmdisk.Log }

// Append implements [consensus.Records].
func (r records) Append(first uint64, entries [][]byte) error {
	if err := r.Log.Append(first, entries); err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint64([]byte{gate.FromAppended}, first)
	for _, e := range entries {
		b = gate.AppendRecord(b, record(e))
	}
	tellWhole(b)
	return nil
}

// DropAfter implements [consensus.Records].
func (r records) DropAfter(index uint64) error {
	err := r.Log.DropAfter(index)
	if err == nil {
		tellNumber(gate.FromCut, index)
	}
	return err
}

// DropBefore implements [consensus.Records].
func (r records) DropBefore(index uint64) error {
	err := r.Log.DropBefore(index)
	if err == nil {
		tellNumber(gate.FromDropped, index)
	}
	return err
}

func record(entry []byte) gate.Record {
	var r gate.Record
	if len(entry) >= entryHeaderBytes {
		r.Term = binary.LittleEndian.Uint64(entry[2:])
	}
	h := fnv.New64a()
	_, _ = h.Write(entry) // a hash never fails
	r.Hash = h.Sum64()
	return r
}

func tellNumber(kind byte, n uint64) { tellWhole(binary.LittleEndian.AppendUint64([]byte{kind}, n)) }

// The library's names for what it stores.
const (
	keyTerm          = "CurrentTerm"
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
)

type values struct{ *swarmdisk.Stable }

// Set implements [consensus.Values].
func (v values) Set(set map[string][]byte) error {
	if err := v.Stable.Set(set); err != nil {
		return err
	}
	if term := set[keyTerm]; len(term) == 8 {
		tell(gate.FromTerm, term)
	}
	if term := set[keyVoteTerm]; len(term) == 8 || set[keyVoteCandidate] != nil {
		tell(gate.FromVote, append(append([]byte{}, v.Get(keyVoteTerm)...), v.Get(keyVoteCandidate)...))
	}
	return nil
}

type snapshots struct{ *swarmdisk.Snapshots }

// Create implements [consensus.Snapshots].
func (s snapshots) Create(name string, about []byte) (io.WriteCloser, error) {
	w, err := s.Snapshots.Create(name, about)
	return snapshotWriter{w, name}, err
}

type snapshotWriter struct {
	io.WriteCloser
	name string
}

// Close implements io.Closer.
func (w snapshotWriter) Close() error {
	err := w.WriteCloser.Close()
	if err == nil {
		tellSnapshot(w.name)
	}
	return err
}

// tellSnapshot tells of the snapshot of that name, which says what it covers.
func tellSnapshot(name string) {
	var index, term uint64
	if _, err := fmt.Sscanf(name, "%020d-%020d", &index, &term); err == nil {
		tellWhole(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{gate.FromSnapshot}, index), term))
	}
}

// tellOpened tells of what is on disk when the log is about to run.
func tellOpened(s *swarmdisk.Storage) error {
	first, last := s.Log.Bounds()
	b := binary.LittleEndian.AppendUint64([]byte{gate.FromOpened}, first)
	for i := first; i <= last && first != 0; i++ {
		e, err := s.Log.Read(i)
		if err != nil {
			return err
		}
		b = gate.AppendRecord(b, record(e))
	}
	tellWhole(b)
	if term := s.Stable.Get(keyTerm); len(term) == 8 {
		tell(gate.FromTerm, term)
	}
	if term := s.Stable.Get(keyVoteTerm); len(term) == 8 {
		tell(gate.FromVoteFound, append(append([]byte{}, term...), s.Stable.Get(keyVoteCandidate)...))
	}
	if names := s.Snapshots.List(); len(names) > 0 {
		tellSnapshot(names[0])
	}
	return nil
}
