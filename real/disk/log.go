package disk

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
)

// segmentBytesMax is the size beyond which a segment gets a successor.
const segmentBytesMax = 16 << 20

// ErrNoEntry says that the log does not hold the entry asked for.
var ErrNoEntry = errors.New("the log has no such entry")

// A Log is an append-only sequence of entries with consecutive indices, in
// segment files of one directory. What an entry means is the caller's business.
//
// One caller at a time may change it; any number may read meanwhile, and never
// wait for the disk to sync.
type Log struct {
	fs        FS
	dir       string
	bytesMax  int64
	logger    *slog.Logger
	writing   sync.Mutex // held by those who change the log
	file      File       // of the newest segment, for writing; nil if there is none
	failed    error      // why the log refuses everything
	buffer    []byte
	mu        sync.RWMutex // guards what follows
	segments  []*segment
	firstKept uint64 // entries before it are dropped, if not all from the disk
}

// LogOptions are what may be chosen about a log.
type LogOptions struct {
	// SegmentBytesMax is the size in bytes beyond which a segment gets a
	// successor; 0 is 16 MiB.
	SegmentBytesMax int64
	// Logger is told what is cut off when the log is opened; nil discards that.
	Logger *slog.Logger
}

// OpenLog opens the log in dir, which must exist. What a crash left unfinished
// at its end is cut off; any other damage is a [CorruptError].
func OpenLog(fsys FS, dir string, o LogOptions) (*Log, error) {
	l := &Log{fs: fsys, dir: dir, bytesMax: o.SegmentBytesMax, logger: o.Logger}
	if l.bytesMax == 0 {
		l.bytesMax = segmentBytesMax
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

// Bounds returns the first and the last index; both are 0 of an empty log.
func (l *Log) Bounds() (first, last uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.segments) == 0 {
		return 0, 0
	}
	next := l.segments[len(l.segments)-1].next()
	first = max(l.segments[0].first(), l.firstKept)
	if first >= next {
		return 0, 0
	}
	return first, next - 1
}

// Read returns an entry, or [ErrNoEntry].
func (l *Log) Read(index uint64) ([]byte, error) {
	first, last := l.Bounds()
	if index < first || index > last || index == 0 {
		return nil, fmt.Errorf("%w: %d, it has %d to %d", ErrNoEntry, index, first, last)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, v := range slices.Backward(l.segments) {
		if s := v; index >= s.first() && index < s.next() {
			return s.read(index)
		}
	}
	return nil, fmt.Errorf("%w: %d", ErrNoEntry, index)
}

// Append adds entries, the first of which has the index first: the one after
// the last, or any but 0 in an empty log. When it returns nil they are durable;
// they share one sync. After any other outcome the log must be opened anew; a
// crash leaves those up to some entry of them.
func (l *Log) Append(first uint64, entries [][]byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.checkAppend(first, entries); err != nil || len(entries) == 0 {
		return err
	}
	if err := l.makeRoom(first); err != nil {
		return l.fail(err)
	}
	s := l.newest()
	b := l.buffer[:0]
	added := make([]position, len(entries))
	for i, payload := range entries {
		added[i] = position{offset: s.end + int64(len(b)), length: uint32(len(payload))}
		b = s.appendEntry(b, first+uint64(i), payload)
	}
	if _, err := l.file.Write(b); err != nil {
		return l.fail(fmt.Errorf("write %s: %w", s.name, err))
	}
	if err := l.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("sync %s: %w", s.name, err))
	}
	l.mu.Lock()
	s.records = append(s.records, added...)
	s.end += int64(len(b))
	s.marked = false
	l.mu.Unlock()
	s.synced = s.end
	l.keepBuffer(b)
	if err := l.mark(); err != nil {
		_ = l.fail(err) // what was appended is durable; what comes next is refused
	}
	return nil
}

// DropAfter removes the entries after index, durably: all of them if index is
// before the first. A crash leaves those up to some entry after index.
func (l *Log) DropAfter(index uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed != nil {
		return l.failed
	}
	first, last := l.Bounds()
	if index >= last {
		return nil
	}
	if index < first {
		index = 0 // what is dropped already goes too
	}
	if err := l.dropAfter(index); err != nil {
		return l.fail(err)
	}
	return nil
}

// DropBefore removes the entries before index. Their space is given back a
// segment at a time: after the log is opened anew some may be there again.
func (l *Log) DropBefore(index uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if _, last := l.Bounds(); index > last {
		if err := l.dropAfter(0); err != nil {
			return l.fail(err)
		}
		return nil
	}
	l.mu.Lock()
	l.firstKept = max(l.firstKept, index)
	l.mu.Unlock()
	// Oldest first and one by one, so that whatever a crash undoes, no gap is left.
	for len(l.segments) > 1 && l.segments[0].next() <= index {
		if err := l.removeSegment(0); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

// Close lets go of the files. It does not sync: nothing is unsynced.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed == nil {
		l.failed = errors.New("the log is closed")
	}
	return l.closeFiles()
}

func (l *Log) checkAppend(first uint64, entries [][]byte) error {
	if l.failed != nil {
		return l.failed
	}
	if _, last := l.Bounds(); first == 0 || last != 0 && first != last+1 {
		return fmt.Errorf("append to the log in %s: entry %d cannot follow entry %d", l.dir, first, last)
	}
	for i, payload := range entries {
		if len(payload) > recordBytesMax {
			return fmt.Errorf("append to the log in %s: entry %d has %d bytes, %d at most are allowed",
				l.dir, first+uint64(i), len(payload), recordBytesMax)
		}
	}
	return nil
}

// fail makes err the answer to everything from now on.
func (l *Log) fail(err error) error {
	l.failed = fmt.Errorf("the log in %s refuses writes until swarmd is started again, because one failed: %w", l.dir, err)
	return l.failed
}

// makeRoom makes the newest segment one that entry first can be appended to.
func (l *Log) makeRoom(first uint64) error {
	if s := l.newest(); s != nil {
		switch {
		case s.next() != first: // the log is empty, and what comes leaves a gap
			if err := l.dropAfter(0); err != nil {
				return err
			}
		case s.end < l.bytesMax || len(s.records) == 0:
			return nil
		default: // its marker must be durable before it has a successor
			if err := l.file.Sync(); err != nil {
				return fmt.Errorf("sync %s: %w", s.name, err)
			}
		}
	}
	return l.createSegment(first)
}

func (l *Log) createSegment(first uint64) error {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	s := &segment{
		name:   segmentName(l.dir, first),
		header: segmentHeader{first: first, salt: binary.LittleEndian.Uint64(random[:])},
		end:    segmentHeaderBytes,
		synced: segmentHeaderBytes,
	}
	file, err := l.fs.Create(s.name)
	if err != nil {
		return err
	}
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file = file
	if _, err := file.Write(s.header.encode()); err != nil {
		return fmt.Errorf("write %s: %w", s.name, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.name, err)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("sync %s: %w", l.dir, err)
	}
	if s.reader, err = l.fs.Open(s.name); err != nil {
		return err
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	return nil
}

// mark writes the proof that all before it is durable. It is not synced itself:
// lost, it is missed only if the disk also damages the entries before it.
func (l *Log) mark() error {
	s := l.newest()
	if s == nil || s.marked {
		return nil
	}
	b := recordHeader{marker: true, index: s.next(), synced: s.synced}.append(nil, s.header.salt, s.end)
	if _, err := l.file.Write(b); err != nil {
		return fmt.Errorf("write %s: %w", s.name, err)
	}
	s.end += int64(len(b))
	s.marked = true
	return nil
}

// dropAfter removes what comes after index, newest first and step by step, so
// that whatever a crash undoes, what is left is a prefix.
func (l *Log) dropAfter(index uint64) error {
	for {
		s := l.newest()
		if s == nil {
			l.mu.Lock()
			l.firstKept = 0
			l.mu.Unlock()
			return nil
		}
		if s.first() <= index {
			break
		}
		if err := l.removeSegment(len(l.segments) - 1); err != nil {
			return err
		}
	}
	return l.cut(index)
}

// cut removes what comes after index from the newest segment, which has index.
func (l *Log) cut(index uint64) error {
	s := l.newest()
	keep := int(index - s.first() + 1)
	if keep < len(s.records) {
		l.mu.Lock()
		s.end = s.records[keep].offset
		s.records = s.records[:keep]
		l.mu.Unlock()
		s.marked = false
	}
	return l.truncateAndMark()
}

// truncateAndMark makes the file of the newest segment end where its records do.
func (l *Log) truncateAndMark() error {
	s := l.newest()
	if err := l.file.Truncate(s.end); err != nil {
		return fmt.Errorf("truncate %s: %w", s.name, err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.name, err)
	}
	s.synced = s.end
	return l.mark()
}

// removeSegment removes the file of a segment, durably; the one before the
// newest becomes the newest if that is removed.
func (l *Log) removeSegment(i int) error {
	s := l.segments[i]
	newest := i == len(l.segments)-1
	l.mu.Lock()
	l.segments = append(l.segments[:i:i], l.segments[i+1:]...)
	l.mu.Unlock()
	_ = s.reader.Close()
	if newest {
		_ = l.file.Close()
		l.file = nil
	}
	if err := l.fs.Remove(s.name); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("sync %s: %w", l.dir, err)
	}
	if before := l.newest(); newest && before != nil {
		file, err := l.fs.Append(before.name)
		if err != nil {
			return err
		}
		l.file = file
	}
	return nil
}

func (l *Log) newest() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

// bufferKeptBytes is how much room for encoding is kept between appends.
const bufferKeptBytes = 1 << 20

func (l *Log) keepBuffer(b []byte) {
	if cap(b) <= bufferKeptBytes {
		l.buffer = b
	} else {
		l.buffer = nil
	}
}

// open reads all segments and mends the tail.
func (l *Log) open() error {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return fmt.Errorf("open the log in %s: %w", l.dir, err)
	}
	var bases []string
	for _, name := range names {
		if _, ok := segmentFirst(name); ok {
			bases = append(bases, name)
		}
	}
	for i, base := range bases {
		name := filepath.Join(l.dir, base)
		s, size, err := scanSegment(l.fs, name, i == len(bases)-1)
		if err != nil {
			return err
		}
		if s == nil {
			l.logger.Warn("a crash left a file of the log without its header: it is removed", "file", name, "bytes", size)
			if err := l.fs.Remove(name); err != nil {
				return err
			}
			if err := l.fs.SyncDir(l.dir); err != nil {
				return fmt.Errorf("sync %s: %w", l.dir, err)
			}
			continue
		}
		if before := l.newest(); before != nil && before.next() != s.first() {
			_ = s.reader.Close()
			return &CorruptError{File: name, Reason: fmt.Sprintf("it begins with entry %d, but the one before it ends before entry %d",
				s.first(), before.next())}
		}
		if size > s.end {
			l.logger.Warn("a crash left an entry unfinished at the end of the log: it is cut off",
				"file", name, "offset", s.end, "bytes", size-s.end, "last", s.next()-1)
		}
		l.segments = append(l.segments, s)
	}
	s := l.newest()
	if s == nil {
		return nil
	}
	if l.file, err = l.fs.Append(s.name); err != nil {
		return err
	}
	// What was read may only be in the kernel's memory yet: it is synced before
	// anybody relies on it.
	return l.truncateAndMark()
}

func (l *Log) closeFiles() error {
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.reader.Close())
	}
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	l.file = nil
	return errors.Join(errs...)
}
