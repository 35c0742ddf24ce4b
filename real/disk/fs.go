package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// An FS is the file system as far as this package needs it. Names are paths.
// Files are made readable by their owner only.
type FS interface {
	// Create makes an empty file to be written from its start; it fails with
	// fs.ErrExist if there is one. The entry is durable after SyncDir.
	Create(name string) (File, error)
	// Append opens an existing file to be written at its end.
	Append(name string) (File, error)
	// Open opens a file to be read. It stays readable if it is removed.
	Open(name string) (Reader, error)
	// Rename puts a file in the place of another, atomically.
	Rename(from, to string) error
	// Remove removes a file; one that is missing is fs.ErrNotExist.
	Remove(name string) error
	// SyncDir makes what was created, renamed and removed in dir durable.
	SyncDir(dir string) error
	// List returns the names of the files in dir, sorted, without directories.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and those above it, durably.
	MkdirAll(dir string) error
}

// A File is open for writing at its end.
type File interface {
	io.Writer
	// Truncate cuts the file to size bytes; the next write goes there.
	Truncate(size int64) error
	// Sync returns when everything written and cut is durable.
	Sync() error
	Close() error
}

// A Reader is open for reading.
type Reader interface {
	io.ReaderAt
	Size() (int64, error)
	Close() error
}

// OS is the operating system's file system.
type OS struct{}

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// Create implements [FS].
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Append implements [FS].
func (OS) Append(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

// Open implements [FS].
func (OS) Open(name string) (Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osReader{f}, nil
}

// Rename implements [FS].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements [FS].
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// List implements [FS].
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// MkdirAll implements [FS].
func (o OS) MkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

type osFile struct{ *os.File }

// Truncate also moves to the new end, as [File] asks.
func (f osFile) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

type osReader struct{ *os.File }

func (r osReader) Size() (int64, error) {
	info, err := r.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
