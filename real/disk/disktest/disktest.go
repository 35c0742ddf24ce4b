// Package disktest is a file system in memory whose power can be cut at every
// call that changes something, for tests of what must survive that.
//
// An [FS] counts those calls. [FS.CutAt] names the one during which the power
// goes: it fails with [ErrPower], as does everything after it, and
// [FS.Restart] returns the file system as the next process finds it. What had
// been synced is there. Of each write, cut, creation, renaming and removal since
// then chance decides, one by one, whether it reached the disk, and of a write,
// which of its sectors did; one that did not is missing, or zeros, or
// rubbish. That is more than real disks do, and all that they are allowed to.
//
// It is for tests only.
package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/swarmd/swarmd/real/disk"
)

// ErrPower is what every call returns once the power is gone.
var ErrPower = errors.New("the power is gone")

// An Op is a call that changes something.
type Op struct {
	Number int    // from 1
	Kind   string // create, write, truncate, sync, rename, remove, syncdir, mkdir
	Name   string
}

// String is the operation as a person would say it.
func (o Op) String() string { return fmt.Sprintf("%d: %s %s", o.Number, o.Kind, filepath.Base(o.Name)) }

// An FS is a file system in memory. Make one with [New].
type FS struct {
	// Before, if set, is called before each operation, without locks held: it may
	// wait. An error of it becomes the operation's, which then does nothing. It
	// must be set before the FS is used.
	Before func(Op) error

	mu    sync.Mutex
	ops   int
	cutAt int // 0 is never
	dead  bool
	dirs  map[string]*directory
}

// New returns an empty file system.
func New() *FS { return &FS{dirs: map[string]*directory{"/": newDirectory(), ".": newDirectory()}} }

// Ops is how many operations there were.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// CutAt has the power go during operation number op.
func (f *FS) CutAt(op int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = op
}

// Cut has the power go now.
func (f *FS) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// Restart cuts the power, if it is not gone yet, and returns what the next
// process finds. The same seed gives the same.
func (f *FS) Restart(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	chance := rand.New(rand.NewPCG(seed, 0))
	next := New()
	settled := map[*inode]*inode{}
	for _, name := range sortedKeys(f.dirs) {
		next.dirs[name] = f.dirs[name].settle(chance, settled)
	}
	return next
}

// begin counts an operation. Its caller holds the lock after it, and carries the
// operation out even if the power goes during it: Restart decides what of it was.
func (f *FS) begin(kind, name string) error {
	f.mu.Lock()
	if f.dead {
		return ErrPower
	}
	f.ops++
	if f.Before != nil {
		op := Op{f.ops, kind, name}
		f.mu.Unlock()
		err := f.Before(op)
		f.mu.Lock()
		if err != nil {
			return err
		}
	}
	if f.dead {
		return ErrPower
	}
	return nil
}

// end says whether the power went during the operation.
func (f *FS) end() error {
	if f.cutAt != 0 && f.ops >= f.cutAt {
		f.dead = true
		return ErrPower
	}
	return nil
}

func (f *FS) dir(name string) (*directory, string, error) {
	d := f.dirs[filepath.Dir(name)]
	if d == nil {
		return nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return d, filepath.Base(name), nil
}

func (f *FS) find(name string) (*inode, error) {
	d, base, err := f.dir(name)
	if err != nil {
		return nil, err
	}
	node := d.current[base]
	if node == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return node, nil
}

// Create implements [disk.FS].
func (f *FS) Create(name string) (disk.File, error) {
	err := f.begin("create", name)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d, base, err := f.dir(name)
	if err != nil {
		return nil, err
	}
	if d.current[base] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	node := &inode{}
	d.change(map[string]*inode{base: node})
	return &file{fs: f, name: name, node: node}, f.end()
}

// Append implements [disk.FS].
func (f *FS) Append(name string) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrPower
	}
	node, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, node: node, at: int64(len(node.current))}, nil
}

// Open implements [disk.FS].
func (f *FS) Open(name string) (disk.Reader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrPower
	}
	node, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return &reader{fs: f, node: node}, nil
}

// Rename implements [disk.FS]. Both names are in one directory.
func (f *FS) Rename(from, to string) error {
	err := f.begin("rename", to)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	node, err := f.find(from)
	if err != nil {
		return err
	}
	d, base, err := f.dir(to)
	if err != nil {
		return err
	}
	d.change(map[string]*inode{base: node, filepath.Base(from): nil})
	return f.end()
}

// Remove implements [disk.FS].
func (f *FS) Remove(name string) error {
	err := f.begin("remove", name)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := f.find(name); err != nil {
		return err
	}
	d, base, err := f.dir(name)
	if err != nil {
		return err
	}
	d.change(map[string]*inode{base: nil})
	return f.end()
}

// SyncDir implements [disk.FS].
func (f *FS) SyncDir(name string) error {
	err := f.begin("syncdir", name)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	d := f.dirs[name]
	if d == nil {
		return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
	}
	if err := f.end(); err != nil {
		return err
	}
	d.pending = nil
	d.durable = cloneMap(d.current)
	return nil
}

// List implements [disk.FS].
func (f *FS) List(name string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrPower
	}
	d := f.dirs[name]
	if d == nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: fs.ErrNotExist}
	}
	return sortedKeys(d.current), nil
}

// MkdirAll implements [disk.FS].
func (f *FS) MkdirAll(name string) error {
	err := f.begin("mkdir", name)
	defer f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f.end(); err != nil {
		return err
	}
	for ; f.dirs[name] == nil; name = filepath.Dir(name) {
		f.dirs[name] = newDirectory()
	}
	return nil
}

// Content returns what a file holds, as a process would read it.
func (f *FS) Content(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(node.current), nil
}

// SetContent makes content all that a file holds, durably: damage, done by
// something else than the code under test.
func (f *FS) SetContent(name string, content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.dir(name)
	if err != nil {
		return err
	}
	node := &inode{durable: slices.Clone(content), current: slices.Clone(content)}
	d.current[base], d.durable[base] = node, node
	return nil
}

// A file is open for writing.
type file struct {
	fs   *FS
	name string
	node *inode
	at   int64
}

// Write implements [disk.File].
func (w *file) Write(p []byte) (int, error) {
	err := w.fs.begin("write", w.name)
	defer w.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	w.node.change(change{at: w.at, data: slices.Clone(p)})
	w.at += int64(len(p))
	if err := w.fs.end(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Truncate implements [disk.File].
func (w *file) Truncate(size int64) error {
	err := w.fs.begin("truncate", w.name)
	defer w.fs.mu.Unlock()
	if err != nil {
		return err
	}
	w.node.change(change{cut: true, at: size})
	w.at = size
	return w.fs.end()
}

// Sync implements [disk.File].
func (w *file) Sync() error {
	err := w.fs.begin("sync", w.name)
	defer w.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.fs.end(); err != nil {
		return err
	}
	w.node.pending = nil
	w.node.durable = slices.Clone(w.node.current)
	return nil
}

// Close implements [disk.File].
func (*file) Close() error { return nil }

// A reader is open for reading.
type reader struct {
	fs   *FS
	node *inode
}

// ReadAt implements [disk.Reader].
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	if r.fs.dead {
		return 0, ErrPower
	}
	if off >= int64(len(r.node.current)) {
		return 0, io.EOF
	}
	n := copy(p, r.node.current[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size implements [disk.Reader].
func (r *reader) Size() (int64, error) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	if r.fs.dead {
		return 0, ErrPower
	}
	return int64(len(r.node.current)), nil
}

// Close implements [disk.Reader].
func (*reader) Close() error { return nil }

// Copy returns a file system with the same files, as processes see them.
func (f *FS) Copy() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := New()
	for _, dir := range sortedKeys(f.dirs) {
		d := newDirectory()
		for _, name := range sortedKeys(f.dirs[dir].current) {
			node := f.dirs[dir].current[name]
			d.current[name] = &inode{current: slices.Clone(node.current), durable: slices.Clone(node.current)}
			d.durable[name] = d.current[name]
		}
		next.dirs[dir] = d
	}
	return next
}
