package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A snapshot file is a header, the body and a footer, all numbers little endian:
//
//	header: magic 8 | length of the caller's description 4 | description
//	footer: length of the body 8 | CRC-32C of all that comes before 4
const (
	snapshotMagic        = "swarmsn1"
	snapshotSuffix       = ".snapshot"
	snapshotHeaderBytes  = 12
	snapshotFooterBytes  = 12
	snapshotAboutMax     = 1 << 20 // bytes of a description
	snapshotNameBytesMax = 128
	snapshotsKept        = 2
	snapshotBufferBytes  = 256 << 10
)

// Snapshots are whole states of something, each with a name and a description
// of its own. Names sort by age: a later snapshot's name must be greater.
type Snapshots struct {
	fs   FS
	dir  string
	keep int

	mu       sync.Mutex
	failed   error
	unended  map[string]*snapshotWriter
	finished []string // oldest first
}

// OpenSnapshots opens the snapshots in dir, which must exist, and removes what a
// crash left of one that was being written. Of the finished ones keep are kept,
// 0 meaning two.
func OpenSnapshots(fsys FS, dir string, keep int) (*Snapshots, error) {
	if keep == 0 {
		keep = snapshotsKept
	}
	s := &Snapshots{fs: fsys, dir: dir, keep: keep, unended: map[string]*snapshotWriter{}}
	unfinished := func(name string) bool { return strings.HasSuffix(name, snapshotSuffix+temporarySuffix) }
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w", dir, err)
	}
	if slices.ContainsFunc(names, unfinished) {
		if err := removeAll(fsys, dir, unfinished); err != nil {
			return nil, fmt.Errorf("open the snapshots in %s: %w", dir, err)
		}
	}
	for _, base := range names {
		if name, ok := strings.CutSuffix(base, snapshotSuffix); ok {
			s.finished = append(s.finished, name)
		}
	}
	return s, nil
}

// List returns the names of the finished snapshots, newest first.
func (s *Snapshots) List() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Clone(s.finished)
	slices.Reverse(names)
	return names
}

// Create begins a snapshot; what is written to it is its body. Close makes it
// durable and only then lets it be seen; [Snapshots.Abort] gives it up.
func (s *Snapshots) Create(name string, about []byte) (io.WriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkCreate(name, about); err != nil {
		return nil, err
	}
	temporary := s.file(name) + temporarySuffix
	if err := removeIfExists(s.fs, temporary); err != nil {
		return nil, s.fail(err)
	}
	file, err := s.fs.Create(temporary)
	if err != nil {
		return nil, s.fail(err)
	}
	w := &snapshotWriter{owner: s, name: name, file: file, buffer: bufio.NewWriterSize(file, snapshotBufferBytes)}
	s.unended[name] = w
	header := append([]byte(snapshotMagic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(header[8:], uint32(len(about)))
	w.write(append(header, about...))
	return w, nil
}

// Abort gives up a snapshot that has not been closed. It is no error if there is
// none of that name.
func (s *Snapshots) Abort(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.unended[name]
	if w == nil {
		return nil
	}
	delete(s.unended, name)
	w.err = errors.New("the snapshot was given up")
	_ = w.file.Close()
	return removeIfExists(s.fs, s.file(name)+temporarySuffix)
}

// About returns the description of a snapshot and the length of its body in
// bytes, without reading the body.
func (s *Snapshots) About(name string) (about []byte, size int64, err error) {
	r, err := s.fs.Open(s.file(name))
	if err != nil {
		return nil, 0, fmt.Errorf("open snapshot %s: %w", name, err)
	}
	defer r.Close() //nolint:errcheck // only read
	frame, err := s.readFrame(name, r)
	return frame.about, frame.size, err
}

// Open returns the description and the body of a snapshot. All of it is read and
// checked before anything is returned; damage is a [CorruptError].
func (s *Snapshots) Open(name string) (about []byte, size int64, body io.ReadCloser, err error) {
	r, err := s.fs.Open(s.file(name))
	if err != nil {
		return nil, 0, nil, fmt.Errorf("open snapshot %s: %w", name, err)
	}
	frame, err := s.readFrame(name, r)
	if err == nil {
		err = s.checkBody(name, r, frame)
	}
	if err != nil {
		return nil, 0, nil, errors.Join(err, r.Close())
	}
	section := io.NewSectionReader(r, frame.bodyAt, frame.size)
	return frame.about, frame.size, snapshotBody{bufio.NewReaderSize(section, snapshotBufferBytes), r}, nil
}

// Clear removes all snapshots, durably.
func (s *Snapshots) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	err := removeAll(s.fs, s.dir, func(name string) bool {
		return strings.HasSuffix(name, snapshotSuffix) || strings.HasSuffix(name, snapshotSuffix+temporarySuffix)
	})
	if err != nil {
		return s.fail(err)
	}
	s.finished = nil
	return nil
}

func (s *Snapshots) checkCreate(name string, about []byte) error {
	if s.failed != nil {
		return s.failed
	}
	if len(about) > snapshotAboutMax {
		return fmt.Errorf("create snapshot %s: its description has %d bytes, %d at most are allowed", name, len(about), snapshotAboutMax)
	}
	valid := func(c rune) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' }
	if name == "" || len(name) > snapshotNameBytesMax || strings.ContainsFunc(name, func(c rune) bool { return !valid(c) }) {
		return fmt.Errorf("create snapshot %q: the name must be of at most %d digits, lower-case letters and hyphens", name, snapshotNameBytesMax)
	}
	if s.unended[name] != nil {
		return fmt.Errorf("create snapshot %s: it is being written already", name)
	}
	return nil
}

func (s *Snapshots) file(name string) string { return filepath.Join(s.dir, name+snapshotSuffix) }

func (s *Snapshots) fail(err error) error {
	s.failed = fmt.Errorf("the snapshots in %s refuse writes until swarmd is started again, because one failed: %w", s.dir, err)
	return s.failed
}

// publish lets a snapshot be seen whose file is complete and synced.
func (s *Snapshots) publish(name string) error {
	if s.failed != nil {
		return s.failed
	}
	if err := s.fs.Rename(s.file(name)+temporarySuffix, s.file(name)); err != nil {
		return s.fail(err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.fail(err)
	}
	s.finished = slices.DeleteFunc(s.finished, func(n string) bool { return n == name })
	s.finished = append(s.finished, name)
	slices.Sort(s.finished)
	for len(s.finished) > s.keep {
		oldest := s.finished[0]
		s.finished = s.finished[1:]
		if err := removeIfExists(s.fs, s.file(oldest)); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

// A snapshotFrame is what surrounds the body.
type snapshotFrame struct {
	about  []byte
	bodyAt int64
	size   int64
	crc    uint32
}

func (s *Snapshots) readFrame(name string, r Reader) (f snapshotFrame, err error) {
	corrupt := func(offset int64, reason string) (snapshotFrame, error) {
		return snapshotFrame{}, &CorruptError{File: s.file(name), Offset: offset, Reason: reason}
	}
	total, err := r.Size()
	if err != nil {
		return f, fmt.Errorf("open snapshot %s: %w", name, err)
	}
	var head [snapshotHeaderBytes]byte
	var foot [snapshotFooterBytes]byte
	if total < snapshotHeaderBytes+snapshotFooterBytes {
		return corrupt(total, "the snapshot is cut short")
	}
	if err := errors.Join(readFull(r, head[:], 0), readFull(r, foot[:], total-snapshotFooterBytes)); err != nil {
		return f, fmt.Errorf("open snapshot %s: %w", name, err)
	}
	length := int64(binary.LittleEndian.Uint32(head[8:]))
	if string(head[:8]) != snapshotMagic {
		return corrupt(0, "it is not a snapshot")
	}
	f.bodyAt = snapshotHeaderBytes + length
	f.size = int64(binary.LittleEndian.Uint64(foot[:]))
	f.crc = binary.LittleEndian.Uint32(foot[8:])
	if length > snapshotAboutMax || f.size != total-f.bodyAt-snapshotFooterBytes {
		return corrupt(total-snapshotFooterBytes, "the snapshot has not the length that it should have")
	}
	f.about = make([]byte, length)
	if err := readFull(r, f.about, snapshotHeaderBytes); err != nil {
		return snapshotFrame{}, fmt.Errorf("open snapshot %s: %w", name, err)
	}
	return f, nil
}

func (s *Snapshots) checkBody(name string, r Reader, f snapshotFrame) error {
	end := f.bodyAt + f.size + snapshotFooterBytes - 4
	b := make([]byte, min(snapshotBufferBytes, end))
	var crc uint32
	for at := int64(0); at < end; {
		part := b[:min(int64(len(b)), end-at)]
		if err := readFull(r, part, at); err != nil {
			return fmt.Errorf("open snapshot %s: %w", name, err)
		}
		crc = checksum(crc, part)
		at += int64(len(part))
	}
	if crc != f.crc {
		return &CorruptError{File: s.file(name), Offset: f.bodyAt, Reason: "the snapshot has a wrong checksum"}
	}
	return nil
}

// A snapshotWriter writes one snapshot to its temporary file.
type snapshotWriter struct {
	owner  *Snapshots
	name   string
	file   File
	buffer *bufio.Writer
	size   int64 // of the body
	crc    uint32
	err    error
}

// Write appends to the body.
func (w *snapshotWriter) Write(p []byte) (int, error) {
	w.write(p)
	if w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	return len(p), nil
}

// Close makes the snapshot durable and visible, or gives it up if anything of it
// could not be written.
func (w *snapshotWriter) Close() error {
	s := w.owner
	if w.err == nil {
		b := binary.LittleEndian.AppendUint64(nil, uint64(w.size))
		w.write(b)
		w.write(binary.LittleEndian.AppendUint32(nil, w.crc))
	}
	if w.err == nil {
		w.err = w.buffer.Flush()
	}
	if w.err == nil {
		w.err = w.file.Sync()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unended[w.name] != w {
		return fmt.Errorf("close snapshot %s: %w", w.name, errors.Join(fs.ErrClosed, w.err))
	}
	delete(s.unended, w.name)
	closed := w.file.Close()
	if w.err != nil {
		return s.fail(errors.Join(w.err, closed, removeIfExists(s.fs, s.file(w.name)+temporarySuffix)))
	}
	w.err = fs.ErrClosed
	return s.publish(w.name)
}

func (w *snapshotWriter) write(p []byte) {
	if w.err != nil {
		return
	}
	_, w.err = w.buffer.Write(p)
	w.crc = checksum(w.crc, p)
}

type snapshotBody struct {
	io.Reader
	file Reader
}

func (b snapshotBody) Close() error { return b.file.Close() }
