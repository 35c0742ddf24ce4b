package gate

import (
	"encoding/binary"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// The first byte of a message to a guest, which its length precedes, 4 bytes
// little endian.
const (
	ToRaft   = 1 // a frame of raft's: length of the sender's ID, the ID, the frame
	ToEvent  = 2 // an event, as AppendEvent writes it
	ToSynced = 3 // the disk has done what it was asked: ticket 8 bytes, an Errno
	// ToHandOver asks the log to have another manager lead: its ID.
	ToHandOver = 4
)

// The first byte of a message from a guest.
const (
	FromRaft     = 1  // a frame of raft's: length of the receiver's ID, the ID, the frame
	FromStep     = 2  // see Step
	FromAnswer   = 3  // the caller of a request has its answer: number 8 bytes
	FromSaved    = 4  // the identity, in JSON, is on disk
	FromFounded  = 5  // the log is on disk, as Boot.Found has it
	FromOpened   = 6  // the log runs: first index 8 bytes, Records of it
	FromAppended = 7  // entries are on disk: first index 8 bytes, Records
	FromCut      = 8  // those after an index are gone: 8 bytes
	FromDropped  = 9  // those before an index are
	FromTerm     = 10 // the newest term that is known is on disk: 8 bytes
	FromSnapshot = 11 // a snapshot is on disk: index 8 bytes, term 8 bytes
	FromLine     = 12 // a line of the log that people read
	FromFailed   = 13 // the process ends for a reason
	FromVote     = 14 // a vote is on disk, or half of one: term 8 bytes, the candidate
	// FromVoteFound is the vote that was on disk when the process began.
	FromVoteFound = 15
)

// A Boot is all that a guest is told when it begins, as its first argument.
type Boot struct {
	Identity    engine.Identity
	Locked      bool
	Managers    []wire.Manager
	Seed        entropy.Seed
	Description swarm.NodeDescription
	// Found, if set, has the guest make its log first: that of a swarm whose voters
	// and first entries are these.
	Found *Found
	// Joins has it make an empty one, that of a manager that joins.
	Joins bool
	// Timing of the log, and when it takes snapshots.
	Heartbeat, Election, Lease, Commit, Write time.Duration
	SnapshotEntries, TrailingEntries          uint64
	SnapshotInterval                          time.Duration
	SegmentBytes                              int64
	// Unguarded names guards that are off, for a guest that was built so that it
	// can do without them.
	Unguarded []string
	// Verbose has the guest send what people read.
	Verbose bool
}

// Found is how a log begins.
type Found struct {
	Voters  []state.NodeID
	Entries [][]byte // as state.Entry is encoded
}

// A Record is what a message says of an entry of the log.
type Record struct {
	Term uint64
	Hash uint64 // of all of it
}

const recordBytes = 16

// AppendRecord encodes a record.
func AppendRecord(b []byte, r Record) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, r.Term), r.Hash)
}

// Records reads records, to the end.
func Records(b []byte) []Record {
	list := make([]Record, 0, len(b)/recordBytes)
	for ; len(b) >= recordBytes; b = b[recordBytes:] {
		list = append(list, Record{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])})
	}
	return list
}

// A Step is one of the guest's engine: what it took in, and what its driver has
// handed to its ports.
type Step struct {
	Wake   int64 // in the clock of engine steps, since 1970; 0 is never
	Posted bool  // the event is the first of those posted that was not stepped yet
	Event  engine.Event
	// Called is the number of the call, if the event is that; it was posted too.
	Called  uint64
	Effects []engine.Effect
}

// How a step says which event it took in.
const (
	eventIsPosted = 0
	eventIsCalled = 1
	eventIsHere   = 2
)

// AppendStep encodes a step.
func AppendStep(b []byte, s Step) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(append(b, FromStep), uint64(s.Wake))
	var err error
	switch {
	case s.Posted:
		b = append(b, eventIsPosted)
	case s.Called != 0:
		b = binary.AppendUvarint(append(b, eventIsCalled), s.Called)
	default:
		if b, err = sized(append(b, eventIsHere), func(b []byte) ([]byte, error) { return AppendEvent(b, s.Event) }); err != nil {
			return nil, err
		}
	}
	for _, f := range s.Effects {
		if b, err = sized(b, func(b []byte) ([]byte, error) { return AppendEffect(b, f) }); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// sized appends what is encoded with its length, 4 bytes little endian, before it.
func sized(b []byte, encode func([]byte) ([]byte, error)) ([]byte, error) {
	at := len(b)
	b, err := encode(append(b, 0, 0, 0, 0))
	if err == nil {
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	return b, err
}

// DecodeStep reads what follows the first byte of an encoded step. What it returns
// shares memory with b.
func DecodeStep(b []byte) (Step, error) {
	var s Step
	if len(b) < 9 {
		return s, errShort
	}
	s.Wake = int64(binary.LittleEndian.Uint64(b))
	how, b := b[8], b[9:]
	switch how {
	case eventIsPosted:
		s.Posted = true
	case eventIsCalled:
		number, n := binary.Uvarint(b)
		if n <= 0 {
			return s, errShort
		}
		s.Called, b = number, b[n:]
	default:
		data, rest, err := unsized(b)
		if err != nil {
			return s, err
		}
		if s.Event, err = DecodeEvent(data); err != nil {
			return s, err
		}
		b = rest
	}
	for len(b) > 0 {
		data, rest, err := unsized(b)
		if err != nil {
			return s, err
		}
		f, err := DecodeEffect(data)
		if err != nil {
			return s, err
		}
		s.Effects, b = append(s.Effects, f), rest
	}
	return s, nil
}

func unsized(b []byte) (data, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n : 4+n], b[4+n:], nil
}
