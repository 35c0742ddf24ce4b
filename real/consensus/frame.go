package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// A frame is one message of raft's, or the answer to one.
//
// It begins with 34 bytes that are at the same place in all frames, so that who
// watches a network can tell elections from the rest: kind, flags, and, little
// endian, the number of the call, the term, and the index and term of a log's
// last entry (of the one before those sent, in appends).
type frame struct {
	number   uint64
	answer   bool
	body     any   // a request or a response of the library's, by pointer
	failure  error // of an answer; it then has no body
	snapshot []byte
}

// The first byte of a frame. Never reuse a number.
const (
	frameAppend   = 1
	frameVote     = 2
	framePreVote  = 3
	frameSnapshot = 4
	frameTimeout  = 5
)

// The flags of a frame.
const (
	flagAnswer  = 1 << 0
	flagFailed  = 1 << 1
	flagYes     = 1 << 2 // granted, or successful
	flagSpecial = 1 << 3 // of a vote: leadership is handed over; of an append's answer: do not wait before the next
)

const frameHeaderBytes = 34

var (
	errFrameShort = errors.New("it ends too early, or too late")
	errFrameKind  = errors.New("it is of a kind that this build does not know")
)

// encode is the frame as it is sent.
func (m frame) encode() []byte {
	b := make([]byte, frameHeaderBytes, 128)
	binary.LittleEndian.PutUint64(b[2:], m.number)
	if m.answer {
		b[1] = flagAnswer
	}
	if m.failure != nil {
		b[1] |= flagFailed
		return append(b, m.failure.Error()...)
	}
	switch q := m.body.(type) {
	case *raft.AppendEntriesRequest:
		b = appendEntries(b, q)
	case *raft.AppendEntriesResponse:
		head(b, frameAppend, q.Term, q.LastLog, 0, q.Success, q.NoRetryBackoff)
		b = appendHeader(b, q.RPCHeader)
	case *raft.RequestVoteRequest:
		head(b, frameVote, q.Term, q.LastLogIndex, q.LastLogTerm, false, q.LeadershipTransfer)
		b = appendBytes(appendHeader(b, q.RPCHeader), q.Candidate) //nolint:staticcheck // the library still reads it
	case *raft.RequestVoteResponse:
		head(b, frameVote, q.Term, 0, 0, q.Granted, false)
		b = appendHeader(b, q.RPCHeader)
	case *raft.RequestPreVoteRequest:
		head(b, framePreVote, q.Term, q.LastLogIndex, q.LastLogTerm, false, false)
		b = appendHeader(b, q.RPCHeader)
	case *raft.RequestPreVoteResponse:
		head(b, framePreVote, q.Term, 0, 0, q.Granted, false)
		b = appendHeader(b, q.RPCHeader)
	case *raft.InstallSnapshotRequest:
		head(b, frameSnapshot, q.Term, q.LastLogIndex, q.LastLogTerm, false, false)
		b = appendSnapshot(b, q, m.snapshot)
	case *raft.InstallSnapshotResponse:
		head(b, frameSnapshot, q.Term, 0, 0, q.Success, false)
		b = appendHeader(b, q.RPCHeader)
	case *raft.TimeoutNowRequest:
		head(b, frameTimeout, 0, 0, 0, false, false)
		b = appendHeader(b, q.RPCHeader)
	case *raft.TimeoutNowResponse:
		head(b, frameTimeout, 0, 0, 0, true, false)
		b = appendHeader(b, q.RPCHeader)
	default:
		return frame{number: m.number, answer: m.answer, failure: fmt.Errorf("there is no frame for %T", m.body)}.encode()
	}
	return b
}

// head fills in what all frames have at the same place.
func head(b []byte, kind byte, term, index, logTerm uint64, yes, special bool) {
	b[0] = kind
	if yes {
		b[1] |= flagYes
	}
	if special {
		b[1] |= flagSpecial
	}
	binary.LittleEndian.PutUint64(b[10:], term)
	binary.LittleEndian.PutUint64(b[18:], index)
	binary.LittleEndian.PutUint64(b[26:], logTerm)
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

func appendHeader(b []byte, h raft.RPCHeader) []byte {
	b = append(b, byte(h.ProtocolVersion))
	return appendBytes(appendBytes(b, h.ID), h.Addr)
}

func appendEntries(b []byte, q *raft.AppendEntriesRequest) []byte {
	head(b, frameAppend, q.Term, q.PrevLogEntry, q.PrevLogTerm, false, false)
	b = appendBytes(appendHeader(b, q.RPCHeader), q.Leader) //nolint:staticcheck // the library still reads it
	b = binary.AppendUvarint(b, q.LeaderCommitIndex)
	b = binary.AppendUvarint(b, uint64(len(q.Entries)))
	for _, e := range q.Entries {
		b = append(b, byte(e.Type))
		b = binary.AppendUvarint(b, e.Index)
		b = binary.AppendUvarint(b, e.Term)
		b = appendBytes(appendBytes(b, e.Extensions), e.Data)
	}
	return b
}

func appendSnapshot(b []byte, q *raft.InstallSnapshotRequest, body []byte) []byte {
	b = append(appendHeader(b, q.RPCHeader), byte(q.SnapshotVersion))
	b = appendBytes(appendBytes(b, q.Leader), q.Peers)
	b = appendBytes(b, q.Configuration)
	b = binary.AppendUvarint(b, q.ConfigurationIndex)
	b = binary.AppendUvarint(b, uint64(q.Size))
	return appendBytes(b, body)
}

// decodeFrame reads a frame; what is in it shares memory with b.
func decodeFrame(b []byte) (frame, error) {
	if len(b) < frameHeaderBytes || len(b) > frameBytesMax {
		return frame{}, errFrameShort
	}
	flags := b[1]
	m := frame{number: binary.LittleEndian.Uint64(b[2:]), answer: flags&flagAnswer != 0}
	r := frameReader{rest: b[frameHeaderBytes:]}
	if flags&flagFailed != 0 {
		m.failure = errors.New(string(r.rest))
		return m, nil
	}
	h := frameHead{
		term: binary.LittleEndian.Uint64(b[10:]), index: binary.LittleEndian.Uint64(b[18:]), logTerm: binary.LittleEndian.Uint64(b[26:]),
		yes: flags&flagYes != 0, special: flags&flagSpecial != 0, RPCHeader: r.header(),
	}
	if m.answer {
		m.body = h.response(b[0])
	} else {
		m.body, m.snapshot = h.request(b[0], &r)
	}
	switch {
	case m.body == nil:
		return m, errFrameKind
	case r.bad || len(r.rest) > 0:
		return m, errFrameShort
	}
	return m, nil
}

type frameHead struct {
	term, index, logTerm uint64
	yes, special         bool
	raft.RPCHeader
}

func (h frameHead) response(kind byte) any {
	switch kind {
	case frameAppend:
		return &raft.AppendEntriesResponse{RPCHeader: h.RPCHeader, Term: h.term, LastLog: h.index, Success: h.yes, NoRetryBackoff: h.special}
	case frameVote:
		return &raft.RequestVoteResponse{RPCHeader: h.RPCHeader, Term: h.term, Granted: h.yes}
	case framePreVote:
		return &raft.RequestPreVoteResponse{RPCHeader: h.RPCHeader, Term: h.term, Granted: h.yes}
	case frameSnapshot:
		return &raft.InstallSnapshotResponse{RPCHeader: h.RPCHeader, Term: h.term, Success: h.yes}
	case frameTimeout:
		return &raft.TimeoutNowResponse{RPCHeader: h.RPCHeader}
	default:
		return nil
	}
}

func (h frameHead) request(kind byte, r *frameReader) (body any, snapshot []byte) {
	switch kind {
	case frameAppend:
		q := &raft.AppendEntriesRequest{RPCHeader: h.RPCHeader, Term: h.term, PrevLogEntry: h.index, PrevLogTerm: h.logTerm}
		q.Leader = r.bytes() //nolint:staticcheck // as it was sent
		q.LeaderCommitIndex, q.Entries = r.uvarint(), r.entries()
		return q, nil
	case frameVote:
		return &raft.RequestVoteRequest{
			RPCHeader: h.RPCHeader, Term: h.term, LastLogIndex: h.index, LastLogTerm: h.logTerm, LeadershipTransfer: h.special,
			Candidate: r.bytes(), //nolint:staticcheck // as it was sent
		}, nil
	case framePreVote:
		return &raft.RequestPreVoteRequest{RPCHeader: h.RPCHeader, Term: h.term, LastLogIndex: h.index, LastLogTerm: h.logTerm}, nil
	case frameSnapshot:
		q := &raft.InstallSnapshotRequest{RPCHeader: h.RPCHeader, Term: h.term, LastLogIndex: h.index, LastLogTerm: h.logTerm}
		q.SnapshotVersion = raft.SnapshotVersion(r.byte())
		q.Leader, q.Peers, q.Configuration = r.bytes(), r.bytes(), r.bytes()
		q.ConfigurationIndex, q.Size = r.uvarint(), int64(r.uvarint())
		return q, r.bytes()
	case frameTimeout:
		return &raft.TimeoutNowRequest{RPCHeader: h.RPCHeader}, nil
	default:
		return nil, nil
	}
}

// A frameReader takes values off rest; bad says that there were not enough.
type frameReader struct {
	rest []byte
	bad  bool
}

func (r *frameReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *frameReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// bytes takes a byte string; an empty one is nil.
func (r *frameReader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	if n == 0 {
		return nil
	}
	return v
}

func (r *frameReader) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(r.byte()), ID: r.bytes(), Addr: r.bytes()}
}

func (r *frameReader) entries() []*raft.Log {
	count := r.uvarint()
	if count > uint64(len(r.rest)) { // each has five bytes at least
		r.bad = true
		return nil
	}
	list := make([]raft.Log, count)
	logs := make([]*raft.Log, count)
	for i := range list {
		e := &list[i]
		e.Type = raft.LogType(r.byte())
		e.Index, e.Term, e.Extensions, e.Data = r.uvarint(), r.uvarint(), r.bytes(), r.bytes()
		logs[i] = e
	}
	return logs
}
