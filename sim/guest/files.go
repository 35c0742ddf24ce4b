//go:build wasip1

package main

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	swarmdisk "github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/sim/gate"
)

// A fileSystem is the host's disk, for real/disk. What takes time, which only syncs
// do, holds up the goroutine that asks and no other, as a system call does.
type fileSystem struct {
	mu      sync.Mutex
	waiting map[uint64]chan gate.Errno
}

// synced takes in what came of a sync.
func (f *fileSystem) synced(ticket uint64, result gate.Errno) {
	f.mu.Lock()
	done := f.waiting[ticket]
	delete(f.waiting, ticket)
	f.mu.Unlock()
	if done != nil {
		done <- result
	}
}

// wait waits for what a sync comes to; 0 is that it is done.
func (f *fileSystem) wait(name string, result int64) error {
	if result <= 0 {
		_, err := settled("sync", name, result)
		return err
	}
	done := make(chan gate.Errno, 1)
	f.mu.Lock()
	f.waiting[uint64(result)] = done
	f.mu.Unlock()
	_, err := settled("sync", name, -int64(<-done))
	return err
}

// settled is what a call has returned, or why it failed.
func settled(op, name string, result int64) (int64, error) {
	if result >= 0 {
		return result, nil
	}
	err := error(gate.Errno(-result))
	switch gate.Errno(-result) {
	case gate.NotExist:
		err = fs.ErrNotExist
	case gate.Exist:
		err = fs.ErrExist
	case gate.OK, gate.IO, gate.NoSpace, gate.Invalid:
	}
	return 0, &fs.PathError{Op: op, Path: name, Err: err}
}

func (f *fileSystem) open(call uint32, op, name string) (*file, error) {
	handle, err := settled(op, name, disk(call, 0, name, nil, 0))
	if err != nil {
		return nil, err
	}
	return &file{f, name, uint32(handle)}, nil
}

// Create implements [swarmdisk.FS].
func (f *fileSystem) Create(name string) (swarmdisk.File, error) {
	return f.open(gate.DiskCreate, "create", name)
}

// Append implements [swarmdisk.FS].
func (f *fileSystem) Append(name string) (swarmdisk.File, error) {
	return f.open(gate.DiskAppend, "open", name)
}

// Open implements [swarmdisk.FS].
func (f *fileSystem) Open(name string) (swarmdisk.Reader, error) {
	return f.open(gate.DiskOpen, "open", name)
}

// Rename implements [swarmdisk.FS].
func (f *fileSystem) Rename(from, to string) error {
	_, err := settled("rename", to, disk(gate.DiskRename, 0, from+"\x00"+to, nil, 0))
	return err
}

// Remove implements [swarmdisk.FS].
func (f *fileSystem) Remove(name string) error {
	_, err := settled("remove", name, disk(gate.DiskRemove, 0, name, nil, 0))
	return err
}

// SyncDir implements [swarmdisk.FS].
func (f *fileSystem) SyncDir(dir string) error {
	return f.wait(dir, disk(gate.DiskSyncDir, 0, dir, nil, 0))
}

// List implements [swarmdisk.FS].
func (f *fileSystem) List(dir string) ([]string, error) {
	for names := make([]byte, 4096); ; names = make([]byte, 2*len(names)) {
		n, err := settled("list", dir, disk(gate.DiskList, 0, dir, names, 0))
		if err != nil {
			return nil, err
		}
		if n <= int64(len(names)) {
			return strings.FieldsFunc(string(names[:n]), func(c rune) bool { return c == 0 }), nil
		}
	}
}

// MkdirAll implements [swarmdisk.FS].
func (f *fileSystem) MkdirAll(dir string) error {
	_, err := settled("mkdir", dir, disk(gate.DiskMkdirAll, 0, dir, nil, 0))
	return err
}

type file struct {
	of     *fileSystem
	name   string
	handle uint32
}

// Write implements [swarmdisk.File].
func (f *file) Write(p []byte) (int, error) {
	if _, err := settled("write", f.name, disk(gate.DiskWrite, f.handle, "", p, 0)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Truncate implements [swarmdisk.File].
func (f *file) Truncate(size int64) error {
	_, err := settled("truncate", f.name, disk(gate.DiskTruncate, f.handle, "", nil, size))
	return err
}

// Sync implements [swarmdisk.File].
func (f *file) Sync() error { return f.of.wait(f.name, disk(gate.DiskSync, f.handle, "", nil, 0)) }

// Close implements [swarmdisk.File] and [swarmdisk.Reader].
func (f *file) Close() error {
	_, err := settled("close", f.name, disk(gate.DiskClose, f.handle, "", nil, 0))
	return err
}

// ReadAt implements [swarmdisk.Reader].
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	n, err := settled("read", f.name, disk(gate.DiskRead, f.handle, "", p, offset))
	if err == nil && int(n) < len(p) {
		err = io.EOF
	}
	return int(n), err
}

// Size implements [swarmdisk.Reader].
func (f *file) Size() (int64, error) {
	return settled("stat", f.name, disk(gate.DiskSize, f.handle, "", nil, 0))
}

var _ swarmdisk.FS = (*fileSystem)(nil)

// errUnguarded says that a guard cannot be turned off in this build.
func errUnguarded(name string) error {
	return fmt.Errorf("guard %q cannot be turned off: build the guest with -tags unguarded", name)
}
