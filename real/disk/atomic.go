package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// temporarySuffix marks a file that is being written. One that is found at the
// start is what a crash left behind.
const temporarySuffix = ".tmp"

// A CorruptError says that a file is not what was written.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

// Error names the file, the offset and what is wrong there.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s; it must be restored or this node must leave the swarm and join again",
		e.File, e.Offset, e.Reason)
}

// replaceFile makes data the whole content of a file, durably: after a crash the
// file is as it was or as it is to be.
func replaceFile(fsys FS, name string, data []byte) error {
	temporary := name + temporarySuffix
	if err := removeIfExists(fsys, temporary); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := writeFile(fsys, temporary, data); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

func writeFile(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// readFile returns the whole of a file of at most bytesMax bytes.
func readFile(fsys FS, name string, bytesMax int64) ([]byte, error) {
	r, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	size, err := r.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if size > bytesMax {
		return nil, &CorruptError{File: name, Offset: bytesMax, Reason: fmt.Sprintf("it is %d bytes long, %d at most are allowed", size, bytesMax)}
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

func removeIfExists(fsys FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeAll removes the files of dir whose names match, then syncs dir.
func removeAll(fsys FS, dir string, match func(name string) bool) error {
	names, err := fsys.List(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, name := range names {
		if !match(name) {
			continue
		}
		if err := removeIfExists(fsys, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// readFull is ReadAt that treats a short read as an error.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
