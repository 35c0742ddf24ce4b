package logwriter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The descriptors that the shim gives its log writer.
const (
	stdoutFD = 3
	stderrFD = 4
	readyFD  = 5
)

// lineBytesMax is how much of a line goes into one record, as in Docker.
const lineBytesMax = 16 << 10

// Run is the log writer's process. The first argument names the file of its
// [Config]. It returns the exit code when nobody can write any more.
//
// Whatever happens, what the container writes is taken in: a container must not
// fail for its log.
func Run(args []string) int {
	// The shim ends us by closing what we read; a signal would cut the log off.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	stdout, stderr, ready := os.NewFile(stdoutFD, "stdout"), os.NewFile(stderrFD, "stderr"), os.NewFile(readyFD, "ready")
	w, err := open(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "log writer:", err)
		w = nil
	}
	_ = ready.Close() // tells the shim to go on
	w.copyAll(stdout, stderr)
	if err != nil || w.close() != nil {
		return 1
	}
	return 0
}

func open(args []string) (*writer, error) {
	if len(args) < 1 {
		return nil, errors.New("the file with the log's configuration must be named")
	}
	c, err := load(args[0])
	if err != nil {
		return nil, err
	}
	return create(c)
}

// A writer appends to a log. A nil writer takes everything in and keeps nothing.
type writer struct {
	config     Config
	attributes []byte
	lock       *os.File // locked while the log may grow

	mu   sync.Mutex
	file *os.File
	size int64
}

func create(c Config) (*writer, error) {
	lock, err := os.OpenFile(lockPath(c.Path), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot make the log's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another log writer has %s: %w", c.Path, err), lock.Close())
	}
	w := &writer{config: c, attributes: encodeAttributes(c.Attributes), lock: lock}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return w, nil
}

func lockPath(path string) string { return path + ".lock" }

func (w *writer) open() error {
	file, err := os.OpenFile(w.config.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open the log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot look at the log: %w", err), file.Close())
	}
	w.file, w.size = file, info.Size()
	return nil
}

func (w *writer) close() error { return errors.Join(w.file.Close(), w.lock.Close()) }

// copyAll copies both streams until both have ended.
func (w *writer) copyAll(stdout, stderr io.Reader) {
	var both sync.WaitGroup
	both.Go(func() { w.copy(stdout, false) })
	both.Go(func() { w.copy(stderr, true) })
	both.Wait()
}

// copy makes records of a stream. Records are written together as long as there
// is more to read at once.
func (w *writer) copy(stream io.Reader, isStderr bool) {
	in := bufio.NewReaderSize(stream, lineBytesMax)
	var records []byte
	for {
		text, err := in.ReadSlice('\n')
		if w != nil && len(text) > 0 {
			records = appendRecord(records, Line{Stderr: isStderr, At: time.Now(), Text: text}, w.attributes)
		}
		ended := err != nil && !errors.Is(err, bufio.ErrBufferFull)
		if len(records) > 0 && (ended || in.Buffered() == 0 || len(records) > 4*lineBytesMax) {
			w.append(records)
			records = records[:0]
		}
		if ended {
			return
		}
	}
}

// append writes whole records, into as many files as they need. What cannot be
// written is lost.
func (w *writer) append(records []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(records) > 0 {
		part := records
		if limit := w.config.SizeMax; limit > 0 {
			part = fitting(records, limit-w.size)
			if part == nil && w.size > 0 {
				w.rotate()
				part = fitting(records, limit)
			}
			if part == nil { // one record is larger than a file may be
				part = records[:bytes.IndexByte(records, '\n')+1]
			}
		}
		w.write(part)
		records = records[len(part):]
	}
}

// fitting is the beginning of records that has at most room bytes, nil if the
// first record has more.
func fitting(records []byte, room int64) []byte {
	if int64(len(records)) <= room {
		return records
	}
	if room <= 0 {
		return nil
	}
	end := bytes.LastIndexByte(records[:room], '\n') + 1
	if end == 0 {
		return nil
	}
	return records[:end]
}

func (w *writer) write(records []byte) {
	n, err := w.file.Write(records)
	w.size += int64(n)
	if err != nil && n > 0 {
		// A torn record would spoil the next one.
		w.size -= int64(n)
		_ = w.file.Truncate(w.size)
	}
}

// rotate begins a new file. When that is not possible the old one is emptied,
// since the limit must hold.
func (w *writer) rotate() {
	path := w.config.Path
	for i := w.config.FilesMax - 1; i > 0; i-- {
		_ = os.Rename(numbered(path, i-1), numbered(path, i))
	}
	if w.config.FilesMax == 1 {
		_ = os.Remove(path)
	}
	old := w.file
	if err := w.open(); err != nil {
		w.size = 0
		_ = old.Truncate(0)
		return
	}
	_ = old.Close()
}

// numbered is the name of the i-th newest file of a log.
func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}
