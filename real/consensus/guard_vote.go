package consensus

import (
	"encoding/binary"
	"errors"
)

// The library's names for the two parts of a vote.
const (
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
)

var errVoteOutOfOrder = errors.New("a vote's candidate was to be stored without its term")

// voteStable makes a vote one durable record.
//
// hashicorp/raft#661: the library writes the term of a vote and then, apart, for
// whom it was. A crash between the two leaves the new term beside the candidate
// of an earlier vote, who is afterwards granted the vote again without a look at
// its log, and may lead without entries that are committed. Here the term waits
// in memory for the candidate, and the two are set together. A crash before that
// loses a vote that nobody has been told of.
//
// The library votes from its main loop only, so the term that waits needs no lock.
type voteStable struct {
	stable
	waiting *uint64
	before  func() error // what a vote waits for; nil is nothing
}

// SetUint64 implements raft.StableStore.
func (v *voteStable) SetUint64(key []byte, value uint64) error {
	if string(key) != keyVoteTerm {
		return v.stable.SetUint64(key, value)
	}
	v.waiting = &value
	return nil
}

// Set implements raft.StableStore.
func (v *voteStable) Set(key, value []byte) error {
	if string(key) != keyVoteCandidate {
		return v.stable.Set(key, value)
	}
	if v.waiting == nil {
		return errVoteOutOfOrder
	}
	term := binary.LittleEndian.AppendUint64(nil, *v.waiting)
	v.waiting = nil
	if v.before != nil {
		if err := v.before(); err != nil {
			return err
		}
	}
	return v.set(map[string][]byte{keyVoteTerm: term, keyVoteCandidate: value})
}
