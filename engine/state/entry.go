package state

import (
	"encoding/binary"
	"fmt"
)

// A ProposalID names a proposal: Seq counts within the life of one leader.
type ProposalID struct{ Term, Seq uint64 }

// An Entry is what one proposal carries through the log.
type Entry struct {
	Proposal ProposalID
	// Base is the index of the store that the changes were decided on. An entry
	// that meets a store of another index does nothing.
	Base    uint64
	Changes []Change
}

// Limits of an entry.
const (
	IDMax        = 256      // bytes of an object's identifier
	ObjectMax    = 16 << 20 // bytes of an object
	entryVersion = 1
)

// Append appends the encoding of the entry to b.
func (e Entry) Append(b []byte) []byte {
	b = append(b, entryVersion)
	b = binary.AppendUvarint(b, e.Proposal.Term)
	b = binary.AppendUvarint(b, e.Proposal.Seq)
	b = binary.AppendUvarint(b, e.Base)
	b = binary.AppendUvarint(b, uint64(len(e.Changes)))
	for _, c := range e.Changes {
		b = appendKey(b, c.Key)
		if c.Data == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(c.Data))+1)
		b = append(b, c.Data...)
	}
	return b
}

// DecodeEntry decodes what [Entry.Append] wrote. The changes share memory with b.
func DecodeEntry(b []byte) (Entry, error) {
	bad := func(what string) (Entry, error) {
		return Entry{}, fmt.Errorf("log entry of %d bytes: %s", len(b), what)
	}
	if len(b) == 0 || b[0] != entryVersion {
		return bad("not of a known version")
	}
	r := reader{b: b[1:]}
	e := Entry{Proposal: ProposalID{r.uvarint(), r.uvarint()}, Base: r.uvarint()}
	count := r.uvarint()
	if r.bad || count > uint64(len(r.b)) { // a change has three bytes at least
		return bad("truncated")
	}
	e.Changes = make([]Change, 0, count)
	for range count {
		key, data := r.object()
		if r.bad {
			return bad(fmt.Sprintf("change %d is malformed", len(e.Changes)))
		}
		e.Changes = append(e.Changes, Change{key, data})
	}
	if len(r.b) > 0 {
		return bad("bytes after its end")
	}
	return e, nil
}

// A reader takes values off b; bad says that there were not enough.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// object takes a key and its data, nil for a deletion.
func (r *reader) object() (Key, []byte) {
	kind := r.take(1)
	size := r.uvarint()
	if size > IDMax {
		r.bad = true
	}
	id := r.take(size)
	length := r.uvarint()
	if r.bad || length > ObjectMax {
		r.bad = true
		return Key{}, nil
	}
	key := Key{Kind(kind[0]), string(id)}
	if length == 0 {
		return key, nil
	}
	data := r.take(length - 1)
	if data == nil {
		data = []byte{}
	}
	return key, data
}
