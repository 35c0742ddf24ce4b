package consensus

import (
	"encoding/binary"
	"errors"

	"github.com/hashicorp/raft"
)

// entryFormat is the first byte of every record: how the rest is to be read.
const entryFormat = 1

var errBadEntry = errors.New("it is not an entry of this version of swarmd")

// appendEntry encodes what raft stores: format 1, type 1, term 8 little endian,
// length of the extensions uvarint, extensions, data. The index is the record's;
// the time of writing, which raft uses for a metric only, is left out.
func appendEntry(b []byte, l *raft.Log) []byte {
	b = append(b, entryFormat, byte(l.Type))
	b = binary.LittleEndian.AppendUint64(b, l.Term)
	b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
	b = append(b, l.Extensions...)
	return append(b, l.Data...)
}

// decodeEntry reads an entry; its data are a part of b.
func decodeEntry(index uint64, b []byte) (raft.Log, error) {
	if len(b) < 11 || b[0] != entryFormat || raft.LogType(b[1]) > raft.LogConfiguration {
		return raft.Log{}, errBadEntry
	}
	l := raft.Log{Index: index, Type: raft.LogType(b[1]), Term: binary.LittleEndian.Uint64(b[2:])}
	n, width := binary.Uvarint(b[10:])
	if width <= 0 || n > uint64(len(b)-10-width) {
		return raft.Log{}, errBadEntry
	}
	rest := b[10+width:]
	if n > 0 {
		l.Extensions = rest[:n:n]
	}
	if rest = rest[n:]; len(rest) > 0 {
		l.Data = rest
	}
	return l, nil
}
