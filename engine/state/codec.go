package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"

	"github.com/swarmd/swarmd/engine/invariant"
)

// Objects are encoded as fields: a tag (number<<1 | form) and a value, either an
// unsigned varint or a length and so many bytes. Zero values are left out. Fields
// come in the order of their numbers; those that a decoder does not know it
// keeps, and an encoder writes them back at the end, so that an older manager
// that rewrites an object loses nothing of it.
const (
	formUint  = 0
	formBytes = 1
)

// errEncoding says that bytes are no encoding of an object.
var errEncoding = errors.New("malformed encoding")

// An encoder appends fields to b.
type encoder struct{ b []byte }

func (e *encoder) uint(field int, v uint64) {
	if v != 0 {
		e.b = binary.AppendUvarint(e.b, uint64(field)<<1|formUint)
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *encoder) bool(field int, v bool) {
	if v {
		e.uint(field, 1)
	}
}

// wall writes a time; before 1970 it is kept as it is by two's complement.
func (e *encoder) wall(field int, w Wall) { e.uint(field, uint64(w)) }

func (e *encoder) int(field int, v int) { e.uint(field, uint64(v)<<1^uint64(int64(v)>>63)) }

func (e *encoder) text(field int, s string) {
	if s != "" {
		e.b = binary.AppendUvarint(e.b, uint64(field)<<1|formBytes)
		e.b = binary.AppendUvarint(e.b, uint64(len(s)))
		e.b = append(e.b, s...)
	}
}

func (e *encoder) bytes(field int, p []byte) {
	if len(p) > 0 {
		e.b = binary.AppendUvarint(e.b, uint64(field)<<1|formBytes)
		e.b = binary.AppendUvarint(e.b, uint64(len(p)))
		e.b = append(e.b, p...)
	}
}

// json writes a value of one of Docker's types; skip leaves it out.
func (e *encoder) json(field int, v any, skip bool) {
	if skip {
		return
	}
	data, err := json.Marshal(v)
	invariant.Check(err == nil, "an object cannot be written as JSON: %v", err)
	e.bytes(field, data)
}

func (e *encoder) meta(m *Meta) {
	e.uint(1, m.Version)
	e.wall(2, m.Created)
	// The time of the last change is near that of the creation: as a difference
	// it is a byte or five instead of ten.
	e.int(3, int(m.Updated-m.Created))
}

// A decoder takes fields off b.
type decoder struct {
	b     []byte
	raw   []byte // the present field, tag and all
	field int
	num   uint64
	data  []byte
	err   error
}

// next moves to the next field, and reports whether there is one.
func (d *decoder) next() bool {
	if d.err != nil || len(d.b) == 0 {
		return false
	}
	start := d.b
	tag := d.uvarint()
	v := d.uvarint()
	if d.err != nil || tag>>1 == 0 || tag>>1 > math.MaxInt32 {
		d.err = errEncoding
		return false
	}
	d.field, d.data, d.num = int(tag>>1), nil, v
	if tag&1 == formBytes {
		if v > uint64(len(d.b)) {
			d.err = errEncoding
			return false
		}
		d.num, d.data, d.b = 0, d.b[:v:v], d.b[v:]
	}
	d.raw = start[:len(start)-len(d.b)]
	return true
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err = errEncoding
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int { return int(int64(d.num>>1) ^ -int64(d.num&1)) }

func (d *decoder) json(v any) {
	if err := json.Unmarshal(d.data, v); err != nil {
		d.err = err
	}
}

func (d *decoder) meta(m *Meta) bool {
	switch d.field {
	case 1:
		m.Version = d.num
	case 2:
		m.Created = Wall(d.num)
		m.Updated = m.Created
	case 3:
		m.Updated = m.Created + Wall(d.int())
	default:
		return false
	}
	return true
}

// fields decodes b: set takes in one field and reports whether it knows it. The
// fields that it does not are returned.
func fields(b []byte, set func(d *decoder) bool) (rest []byte, err error) {
	d := decoder{b: b}
	for d.next() {
		if !set(&d) {
			rest = append(rest, d.raw...)
		}
	}
	return rest, d.err
}
