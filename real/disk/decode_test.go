package disk

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Bytes that pass for a segment's header are what that header encodes to.
func FuzzSegmentHeader(f *testing.F) {
	f.Add(segmentHeader{first: 7, salt: 1 << 63}.encode())
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, wrong := parseSegmentHeader(b); wrong == "" && !bytes.Equal(h.encode(), b[:segmentHeaderBytes]) {
			t.Errorf("%x is taken for %+v", b, h)
		}
		if len(b) < segmentHeaderBytes {
			return
		}
		b = bytes.Clone(b) // past the checksum
		binary.LittleEndian.PutUint32(b[8:], checksum(0, b[12:segmentHeaderBytes]))
		if h, wrong := parseSegmentHeader(b); wrong == "" && !bytes.Equal(h.encode(), b[:segmentHeaderBytes]) {
			t.Errorf("%x is taken for %+v", b, h)
		}
	})
}

// The same of a record's header; and nothing in it may be out of bounds.
func FuzzRecordHeader(f *testing.F) {
	f.Add(recordHeader{payloadCRC: 1, length: 2, index: 3, synced: 32}.append(nil, 5, 64), uint64(5), int64(64))
	f.Add(recordHeader{marker: true, index: 3, synced: 64}.append(nil, 5, 64), uint64(5), int64(64))
	f.Fuzz(func(t *testing.T, b []byte, salt uint64, offset int64) {
		check := func(b []byte) {
			h, wrong := parseRecordHeader(b, salt, offset)
			if wrong != "" {
				return
			}
			if !bytes.Equal(h.append(nil, salt, offset), b[:recordHeaderBytes]) {
				t.Errorf("%x is taken for %+v", b, h)
			}
			if h.length > recordBytesMax || h.synced < segmentHeaderBytes || h.synced > offset {
				t.Errorf("out of bounds: %+v at %d", h, offset)
			}
		}
		check(b)
		if len(b) < recordHeaderBytes {
			return
		}
		b = bytes.Clone(b) // past the checksum
		binary.LittleEndian.PutUint32(b[4:], checksum(recordSeed(salt, offset, binary.LittleEndian.Uint32(b)), b[8:recordHeaderBytes]))
		check(b)
	})
}

// Values that can be decoded are encoded to the same bytes, if their keys were in
// order; a damaged count or length is refused before anything is allocated by it.
func FuzzStable(f *testing.F) {
	f.Add(encodeStable(nil))
	f.Add(encodeStable(map[string][]byte{"a": {1}, "bc": nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			values, wrong := decodeStable(b)
			if wrong != "" {
				return
			}
			if again, wrong := decodeStable(encodeStable(values)); wrong != "" || len(again) != len(values) {
				t.Errorf("%v does not survive: %s", values, wrong)
			}
		}
		check(b)
		if len(b) < 16 {
			return
		}
		b = append([]byte(stableMagic), b[8:]...) // past the checksum
		binary.LittleEndian.PutUint32(b[8:], checksum(0, b[12:]))
		check(b)
	})
}

// An identity that can be decoded is one that can be saved, and is then the same.
func FuzzIdentity(f *testing.F) {
	for _, id := range []Identity{{Node: "n", Cluster: "c"}, {Node: "n\u2028<&>", Cluster: "c", Addr: "[::1]:2377", Manager: true}} {
		b, err := encodeIdentity(id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"node":"n","cluster":"c","checksum":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity(b)
		if err != nil {
			return
		}
		encoded, err := encodeIdentity(id)
		if err != nil {
			t.Fatalf("%+v was read but cannot be saved: %v", id, err)
		}
		if again, err := decodeIdentity(encoded); err != nil || again != id {
			t.Errorf("%+v comes back as %+v, %v", id, again, err)
		}
	})
}
