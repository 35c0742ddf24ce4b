//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A DirLock keeps other processes from using a directory.
type DirLock struct{ file *os.File }

// LockDir takes the directory, which must exist, for this process, until
// [DirLock.Unlock] or its end. It does not wait: if another process has the
// directory, the error says which.
func LockDir(dir string) (*DirLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(file, 32))
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another swarmd (process %s) uses %s: stop it, or give this one another directory with --data",
				strings.TrimSpace(string(holder)), dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	// Who holds it is for people only; the lock does not depend on it.
	err = errors.Join(file.Truncate(0), writeAtStart(file, strconv.Itoa(os.Getpid())+"\n"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return &DirLock{file}, nil
}

// Unlock gives the directory back. The lock's file stays.
func (l *DirLock) Unlock() error { return l.file.Close() }

func writeAtStart(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
