package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A segment file is a header and records one after the other. All numbers are
// little endian, all checksums CRC-32C.
//
//	segment: magic 8 | crc 4 of what follows | version 4 | first index 8 | salt 8
//	record:  magic 4 | crc 4 | payload crc 4 | length 4 | index 8 | synced 8 | payload
//
// A record's crc covers its header and begins with the segment's salt and the
// record's own offset, so that a record which strayed here from elsewhere is not
// taken for one of ours, and that no payload can hold what looks like a record.
//
// synced is the offset up to which the file had been synced when the record was
// written; that is how a damaged record (something later proves that it had been
// durable) is told from a torn one.
const (
	segmentMagic       = "swarmwal"
	segmentVersion     = 1
	segmentHeaderBytes = 32
	recordHeaderBytes  = 32
	entryMagic         = 0x6c617773 // an entry
	markerMagic        = 0x6b72616d // nothing but the proof that all before it is durable
	recordBytesMax     = 64 << 20   // payload
)

type segmentHeader struct{ first, salt uint64 }

func (h segmentHeader) encode() []byte {
	b := []byte(segmentMagic)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, segmentVersion)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint64(b, h.salt)
	binary.LittleEndian.PutUint32(b[8:], checksum(0, b[12:]))
	return b
}

// parseSegmentHeader returns what is wrong with the header, "" if nothing is.
func parseSegmentHeader(b []byte) (h segmentHeader, wrong string) {
	if len(b) < segmentHeaderBytes {
		return h, "the segment's header is cut short"
	}
	b = b[:segmentHeaderBytes]
	switch {
	case string(b[:8]) != segmentMagic:
		return h, "it is not a segment of the log"
	case binary.LittleEndian.Uint32(b[8:]) != checksum(0, b[12:]):
		return h, "the segment's header has a wrong checksum"
	case binary.LittleEndian.Uint32(b[12:]) != segmentVersion:
		return h, "the segment was written by another version of swarmd"
	}
	return segmentHeader{first: binary.LittleEndian.Uint64(b[16:]), salt: binary.LittleEndian.Uint64(b[24:])}, ""
}

type recordHeader struct {
	marker     bool
	payloadCRC uint32
	length     uint32
	index      uint64
	synced     int64
}

func (h recordHeader) append(b []byte, salt uint64, offset int64) []byte {
	at := len(b)
	magic := uint32(entryMagic)
	if h.marker {
		magic = markerMagic
	}
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, h.payloadCRC)
	b = binary.LittleEndian.AppendUint32(b, h.length)
	b = binary.LittleEndian.AppendUint64(b, h.index)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.synced))
	binary.LittleEndian.PutUint32(b[at+4:], checksum(recordSeed(salt, offset, magic), b[at+8:]))
	return b
}

// parseRecordHeader reads the header that is at offset, or says what is wrong
// with it.
func parseRecordHeader(b []byte, salt uint64, offset int64) (h recordHeader, wrong string) {
	if len(b) < recordHeaderBytes {
		return h, "a record's header is cut short"
	}
	b = b[:recordHeaderBytes]
	magic := binary.LittleEndian.Uint32(b)
	h = recordHeader{
		marker:     magic == markerMagic,
		payloadCRC: binary.LittleEndian.Uint32(b[8:]),
		length:     binary.LittleEndian.Uint32(b[12:]),
		index:      binary.LittleEndian.Uint64(b[16:]),
		synced:     int64(binary.LittleEndian.Uint64(b[24:])),
	}
	switch {
	case magic != entryMagic && magic != markerMagic:
		return recordHeader{}, "no record begins here"
	case binary.LittleEndian.Uint32(b[4:]) != checksum(recordSeed(salt, offset, magic), b[8:]):
		return recordHeader{}, "a record's header has a wrong checksum"
	case h.length > recordBytesMax || h.synced < segmentHeaderBytes || h.synced > offset:
		return recordHeader{}, "a record's header is out of bounds"
	}
	return h, ""
}

// appendEntry appends the record of a payload to b, which is what the segment is
// to hold after its end.
func (s *segment) appendEntry(b []byte, index uint64, payload []byte) []byte {
	h := recordHeader{payloadCRC: checksum(0, payload), length: uint32(len(payload)), index: index, synced: s.synced}
	b = h.append(b, s.header.salt, s.end+int64(len(b)))
	return append(b, payload...)
}

// laterProof says whether rest, which begins at offset base, holds a record that
// was written after everything up to the damaged offset had been synced.
func laterProof(rest []byte, base int64, salt uint64, damaged int64) bool {
	for _, magic := range []uint32{markerMagic, entryMagic} {
		pattern := binary.LittleEndian.AppendUint32(nil, magic)
		for at := 0; ; at++ {
			i := bytes.Index(rest[at:], pattern)
			if i < 0 {
				break
			}
			at += i
			if h, wrong := parseRecordHeader(rest[at:], salt, base+int64(at)); wrong == "" && h.synced > damaged {
				return true
			}
		}
	}
	return false
}

func recordSeed(salt uint64, offset int64, magic uint32) uint32 {
	var b [20]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	binary.LittleEndian.PutUint64(b[8:], uint64(offset))
	binary.LittleEndian.PutUint32(b[16:], magic)
	return checksum(0, b[:])
}

func checksum(seed uint32, b []byte) uint32 {
	return crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), b)
}
