package logwriter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Options restrict what of a log is read.
type Options struct {
	Stdout, Stderr bool
	Follow         bool
	Tail           int // records of the end, -1 for all
	Since, Until   time.Time
}

// Limits of reading.
const (
	followPeriod   = 50 * time.Millisecond // between looks for more
	writerPatience = 5 * time.Second       // for the writer, after the container has ended
	recordBytesMax = 1 << 20               // longer ones are passed over
	tailChunkBytes = 64 << 10
)

// errEnough ends reading before the log's end.
var errEnough = errors.New("no more of the log is wanted")

// Read hands the lines of a log to emit, oldest first. With Follow it goes on
// until ended is closed and all that had been written is read, or until ctx ends
// or Until has passed. An error of emit ends it and is returned. A log that is
// not there is empty.
func Read(ctx context.Context, path string, o Options, ended <-chan struct{}, emit func(Line) error) error {
	files, err := openFiles(path)
	if err != nil {
		return err
	}
	r := reader{path: path, options: o, emit: emit, files: files}
	defer func() { r.close() }()
	if err := r.seekTail(); err != nil {
		return err
	}
	err = r.read(ctx, ended)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// A reader reads the files of a log one after the other.
type reader struct {
	path    string
	options Options
	emit    func(Line) error
	files   []*os.File // oldest first; the first is being read
	in      *bufio.Reader
	partial []byte // of a record whose end has not been written yet
	skip    bool   // what is left of a record that is too long
}

func (r *reader) close() {
	for _, f := range r.files {
		_ = f.Close()
	}
}

// openFiles opens the files of a log, oldest first. It begins with the newest,
// so that a rotation meanwhile shows a file twice rather than not at all.
func openFiles(path string) ([]*os.File, error) {
	var files []*os.File
	for i := range filesMax {
		f, err := os.Open(numbered(path, i))
		if errors.Is(err, os.ErrNotExist) {
			if i == 0 { // perhaps just between a rename and the new file
				continue
			}
			break
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot open the log: %w", err), closeAll(files))
		}
		if len(files) > 0 && sameFile(f, files[len(files)-1]) {
			_ = f.Close()
			continue
		}
		files = append(files, f)
	}
	slices.Reverse(files)
	return files, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// seekTail goes to the record from which there are as many as wanted.
func (r *reader) seekTail() error {
	wanted := r.options.Tail
	if wanted < 0 {
		return nil
	}
	for i, v := range slices.Backward(r.files) {
		offset, found, err := tailOffset(v, wanted)
		if err != nil {
			return fmt.Errorf("cannot read the log: %w", err)
		}
		if _, err := v.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("cannot read the log: %w", err)
		}
		if wanted -= found; wanted > 0 {
			continue
		}
		_ = closeAll(r.files[:i])
		r.files = r.files[i:]
		return nil
	}
	return nil
}

// tailOffset is where the last n records of a file begin, and how many there are.
// What follows the last newline is no record yet.
func tailOffset(f *os.File, n int) (offset int64, found int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	chunk := make([]byte, tailChunkBytes)
	newlines := 0
	for end := info.Size(); end > 0; {
		begin := max(0, end-tailChunkBytes)
		part := chunk[:end-begin]
		if _, err := f.ReadAt(part, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for i, p := range slices.Backward(part) {
			if p != '\n' {
				continue
			}
			// The newline before the first record wanted ends the one before it.
			if newlines == n {
				return begin + int64(i) + 1, n, nil
			}
			newlines++
		}
		end = begin
	}
	return 0, newlines, nil
}

// read reads to the end of the log, or follows it.
func (r *reader) read(ctx context.Context, ended <-chan struct{}) error {
	var deadline time.Time // after which the writer is not waited for
	for {
		// Asked before reading: then all that was written is read after it.
		done := !r.options.Follow
		if !done && isClosed(ended) {
			if deadline.IsZero() {
				deadline = time.Now().Add(writerPatience)
			}
			done = !beingWritten(r.path) || time.Now().After(deadline)
		}
		if err := r.readFiles(ctx); err != nil {
			return err
		}
		if done {
			return nil
		}
		if u := r.options.Until; !u.IsZero() && time.Now().After(u) {
			return nil
		}
		if err := wait(ctx, ended, deadline.IsZero()); err != nil {
			return err
		}
		if err := r.refresh(); err != nil {
			return err
		}
	}
}

// wait passes the time until there may be more. A context that ends is no error:
// who follows is not interested any more.
func wait(ctx context.Context, ended <-chan struct{}, running bool) error {
	if !running {
		ended = nil
	}
	timer := time.NewTimer(followPeriod)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return errEnough
	case <-ended:
	case <-timer.C:
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// beingWritten reports whether a log has a writer.
func beingWritten(path string) bool {
	lock, err := os.Open(lockPath(path))
	if err != nil {
		return false
	}
	defer lock.Close() //nolint:errcheck // only read
	return unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// readFiles reads what there is, and leaves the newest file open.
func (r *reader) readFiles(ctx context.Context) error {
	for len(r.files) > 0 {
		if r.in == nil {
			r.in = bufio.NewReaderSize(r.files[0], tailChunkBytes)
		}
		if err := r.readFile(ctx); err != nil {
			return err
		}
		if len(r.files) == 1 {
			return nil
		}
		_ = r.files[0].Close()
		r.files = r.files[1:]
		r.in, r.partial, r.skip = nil, nil, false
	}
	return nil
}

// readFile reads the first file to its present end.
func (r *reader) readFile(ctx context.Context) error {
	for {
		part, err := r.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("cannot read the log: %w", err)
		}
		if !r.skip {
			r.partial = append(r.partial, part...)
		}
		switch {
		case err == nil:
			if !r.skip {
				if err := r.take(r.partial); err != nil {
					return err
				}
			}
			r.partial, r.skip = r.partial[:0], false
		case len(r.partial) > recordBytesMax:
			r.partial, r.skip = nil, true
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if ctx.Err() != nil {
			return errEnough
		}
	}
}

// take hands a record on if it is wanted. One that cannot be read is passed over.
func (r *reader) take(record []byte) error {
	l, err := decodeRecord(bytes.TrimSuffix(record, []byte("\n")))
	if err != nil {
		return nil //nolint:nilerr // the disk was full, or somebody has edited the file
	}
	if o := r.options; !o.Until.IsZero() && l.At.After(o.Until) {
		return errEnough
	}
	if o := r.options; l.Stderr && !o.Stderr || !l.Stderr && !o.Stdout || l.At.Before(o.Since) {
		return nil
	}
	return r.emit(l)
}

// refresh opens the files that have been begun since.
func (r *reader) refresh() error {
	if len(r.files) > 0 {
		newest, err := os.Stat(r.path)
		if err != nil {
			return nil //nolint:nilerr // just between a rename and the new file
		}
		if info, err := r.files[0].Stat(); err == nil && os.SameFile(info, newest) {
			return nil
		}
	}
	files, err := openFiles(r.path)
	if err != nil || len(r.files) == 0 {
		r.files = files
		return err
	}
	// Those before the one being read have been read; if it is not among them,
	// all of them are newer.
	known := math.MinInt
	for i, f := range files {
		if sameFile(f, r.files[0]) {
			known = i
		}
	}
	if known >= 0 {
		_ = closeAll(files[:known+1])
		files = files[known+1:]
	}
	r.files = append(r.files, files...)
	return nil
}
