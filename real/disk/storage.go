package disk

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Storage is what a member's log needs of the disk.
type Storage struct {
	Log       *Log
	Stable    *Stable
	Snapshots *Snapshots
}

// StorageOptions are what may be chosen about a storage.
type StorageOptions struct {
	Log LogOptions
	// SnapshotsKept is how many snapshots are kept; 0 is two.
	SnapshotsKept int
}

// OpenStorage opens the storage in dir, and makes an empty one if there is none.
func OpenStorage(fsys FS, dir string, o StorageOptions) (*Storage, error) {
	logDir, snapshotDir := filepath.Join(dir, "log"), filepath.Join(dir, "snapshots")
	for _, d := range []string{logDir, snapshotDir} {
		if err := fsys.MkdirAll(d); err != nil {
			return nil, fmt.Errorf("open the storage in %s: %w", dir, err)
		}
	}
	stable, err := OpenStable(fsys, filepath.Join(dir, "stable"))
	if err != nil {
		return nil, err
	}
	snapshots, err := OpenSnapshots(fsys, snapshotDir, o.SnapshotsKept)
	if err != nil {
		return nil, err
	}
	log, err := OpenLog(fsys, logDir, o.Log)
	if err != nil {
		return nil, err
	}
	return &Storage{Log: log, Stable: stable, Snapshots: snapshots}, nil
}

// Empty says whether nothing is stored.
func (s *Storage) Empty() bool {
	_, last := s.Log.Bounds()
	s.Stable.mu.Lock()
	defer s.Stable.mu.Unlock()
	return last == 0 && len(s.Stable.values) == 0 && len(s.Snapshots.List()) == 0
}

// Clear removes all that is stored, durably. The log goes first: a crash leaves
// nothing that could be taken for a whole storage.
func (s *Storage) Clear() error {
	_, last := s.Log.Bounds()
	return errors.Join(s.Log.DropBefore(last+1), s.Snapshots.Clear(), s.Stable.Clear())
}

// Close lets go of the files.
func (s *Storage) Close() error { return s.Log.Close() }
