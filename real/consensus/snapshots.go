package consensus

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// snapshots is raft's SnapshotStore on [Snapshots].
type snapshots struct {
	store  Snapshots
	fatal  func(error)
	opened atomic.Uint64 // index of the snapshot opened last
}

// about describes a snapshot in its file.
type about struct {
	Index              uint64 `json:"index"`
	Term               uint64 `json:"term"`
	Configuration      []byte `json:"configuration"` // as raft encodes it
	ConfigurationIndex uint64 `json:"configurationIndex"`
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	description, err := json.Marshal(about{
		Index: index, Term: term,
		Configuration: raft.EncodeConfiguration(configuration), ConfigurationIndex: configurationIndex,
	})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%020d-%020d", index, term)
	body, err := s.store.Create(name, description)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{WriteCloser: body, name: name, of: s, closed: sync.OnceValue(body.Close)}, nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	var metas []*raft.SnapshotMeta
	for _, name := range s.store.List() {
		description, size, err := s.store.About(name)
		if err != nil {
			return nil, err
		}
		meta, err := snapshotMeta(name, description, size)
		if err != nil {
			return nil, err
		}
		metas = append(metas, meta)
	}
	return metas, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(name string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	description, size, body, err := s.store.Open(name)
	if err != nil {
		return nil, nil, err
	}
	meta, err := snapshotMeta(name, description, size)
	if err != nil {
		_ = body.Close()
		return nil, nil, err
	}
	s.opened.Store(meta.Index)
	return meta, body, nil
}

// newest returns the last entry that the newest snapshot covers, 0 if there is
// no snapshot.
func (s *snapshots) newest() (index, term uint64) {
	names := s.store.List()
	if len(names) == 0 {
		return 0, 0
	}
	if _, err := fmt.Sscanf(names[0], "%020d-%020d", &index, &term); err != nil {
		return 0, 0
	}
	return index, term
}

func snapshotMeta(name string, description []byte, size int64) (*raft.SnapshotMeta, error) {
	a, configuration, err := decodeAbout(description)
	if err != nil {
		return nil, fmt.Errorf("the description of snapshot %s: %w", name, err)
	}
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: name, Index: a.Index, Term: a.Term, Size: size,
		Configuration: configuration, ConfigurationIndex: a.ConfigurationIndex,
	}, nil
}

func decodeAbout(description []byte) (a about, configuration raft.Configuration, err error) {
	if err := json.Unmarshal(description, &a); err != nil {
		return a, configuration, err
	}
	// The library panics on bytes that it did not write.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the configuration in it cannot be read: %v", r)
		}
	}()
	return a, raft.DecodeConfiguration(a.Configuration), nil
}

type snapshotSink struct {
	io.WriteCloser
	name   string
	of     *snapshots
	closed func() error
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return s.name }

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error { return s.of.store.Abort(s.name) }

// Close implements raft.SnapshotSink. The library closes what Persist has closed.
func (s *snapshotSink) Close() error {
	err := s.closed()
	if err != nil {
		s.of.fatal(err)
	}
	return err
}
