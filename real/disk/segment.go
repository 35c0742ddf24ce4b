package disk

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

const segmentSuffix = ".log"

// A segment is one file of the log.
type segment struct {
	name    string
	header  segmentHeader
	reader  Reader
	records []position
	end     int64 // where the next record goes
	synced  int64 // how much of it is durable; after it there is a marker at most
	marked  bool  // the last record is a marker
}

// A position is where an entry's record is.
type position struct {
	offset int64
	length uint32 // of the payload
}

func (s *segment) first() uint64 { return s.header.first }

// next is the index of the entry that would be appended.
func (s *segment) next() uint64 { return s.header.first + uint64(len(s.records)) }

// read returns the payload of an entry that the segment has.
func (s *segment) read(index uint64) ([]byte, error) {
	at := s.records[index-s.header.first]
	b := make([]byte, recordHeaderBytes+int(at.length))
	if err := readFull(s.reader, b, at.offset); err != nil {
		return nil, fmt.Errorf("read entry %d of %s: %w", index, s.name, err)
	}
	h, wrong := parseRecordHeader(b, s.header.salt, at.offset)
	payload := b[recordHeaderBytes:]
	switch {
	case wrong != "":
	case h.index != index || int(h.length) != len(payload):
		wrong = fmt.Sprintf("entry %d is not what was written", index)
	case checksum(0, payload) != h.payloadCRC:
		wrong = fmt.Sprintf("entry %d has a wrong checksum", index)
	}
	if wrong != "" {
		return nil, &CorruptError{File: s.name, Offset: at.offset, Reason: wrong}
	}
	return payload, nil
}

// scanSegment reads a whole segment. Of the newest segment a torn tail is left
// out: end is then less than the file's size, which the caller must cut. Such a
// segment can be torn as a whole: then nil is returned.
func scanSegment(fsys FS, name string, newest bool) (s *segment, size int64, err error) {
	reader, err := fsys.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("open the log: %w", err)
	}
	defer func() {
		if s == nil {
			_ = reader.Close()
		}
	}()
	size, err = reader.Size()
	if err != nil {
		return nil, 0, fmt.Errorf("open the log: %w", err)
	}
	data := make([]byte, size)
	if err := readFull(reader, data, 0); size > 0 && err != nil {
		return nil, size, fmt.Errorf("open the log: read %s: %w", name, err)
	}
	header, wrong := parseSegmentHeader(data)
	if wrong != "" && newest && size <= segmentHeaderBytes {
		return nil, size, nil // its making was cut short; nothing can be in it yet
	}
	if first, ok := segmentFirst(filepath.Base(name)); wrong == "" && (!ok || first != header.first) {
		wrong = fmt.Sprintf("it begins with entry %d, unlike its name", header.first)
	}
	if wrong != "" {
		return nil, size, &CorruptError{File: name, Reason: wrong}
	}
	found := &segment{name: name, header: header, reader: reader, end: segmentHeaderBytes, synced: segmentHeaderBytes}
	if wrong := found.scan(data); wrong != "" && (!newest || laterProof(data[found.end:], found.end, header.salt, found.end)) {
		return nil, size, &CorruptError{File: name, Offset: found.end, Reason: wrong}
	}
	if !newest && !found.marked {
		return nil, size, &CorruptError{File: name, Offset: found.end, Reason: "it ends too early"}
	}
	return found, size, nil
}

// scan takes in the records of data, the whole file. It stops at the first that
// is not as it was written, and says what is wrong with it.
func (s *segment) scan(data []byte) (wrong string) {
	for s.end < int64(len(data)) {
		rest := data[s.end:]
		h, wrong := parseRecordHeader(rest, s.header.salt, s.end)
		if wrong != "" {
			return wrong
		}
		rest = rest[recordHeaderBytes:]
		switch {
		case h.index != s.next():
			return fmt.Sprintf("entry %d is where %d should be", h.index, s.next())
		case int64(h.length) > int64(len(rest)):
			return fmt.Sprintf("entry %d is cut short", h.index)
		case checksum(0, rest[:h.length]) != h.payloadCRC:
			return fmt.Sprintf("entry %d has a wrong checksum", h.index)
		}
		s.marked = h.marker
		if !h.marker {
			s.records = append(s.records, position{offset: s.end, length: h.length})
		}
		s.end += recordHeaderBytes + int64(h.length)
	}
	return ""
}

func segmentName(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// segmentFirst returns the first index that a file's name tells.
func segmentFirst(base string) (uint64, bool) {
	digits, ok := strings.CutSuffix(base, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil
}
