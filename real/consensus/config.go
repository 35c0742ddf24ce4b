package consensus

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// Config says what a log is made of. Node, Records, Values, Snapshots, Post,
// Freeze and Fatal are required.
type Config struct {
	Node state.NodeID

	// Where the log lives: the parts of a disk.Storage, which the caller closes
	// after the log.
	Records   Records
	Values    Values
	Snapshots Snapshots

	// Transport carries raft's messages to other managers; nil is for a swarm of
	// one manager. Peers are named by their node IDs, whatever their addresses.
	Transport raft.Transport
	// Address returns where a node can be reached, for a [Transport], and "" where
	// that is not known; nil leaves it to Transport to find nodes by their IDs.
	Address func(state.NodeID) string

	// Post takes events in order. It may block for as long as the engine is
	// busy. It is called from several goroutines, never from a caller's own.
	Post func(engine.Event)
	// Freeze returns the store as it is when everything posted before the call
	// has been applied, and nothing after; nil if there is no engine any more.
	Freeze func() *state.Snapshot
	// Fatal is called at most once, when the log cannot go on. The process must
	// end. Nothing is acknowledged after it.
	Fatal func(error)
	// Logger is where raft's own messages go; nil discards them.
	Logger *slog.Logger

	Timing Timing
	// SnapshotEntries is how many entries after the last snapshot make a new one
	// due; 0 is 10,000, as Docker shows.
	SnapshotEntries uint64
	// SnapshotBytes is how many bytes of entries do; 0 is 64 MiB.
	SnapshotBytes int64
	// SnapshotInterval is how often, up to twice as long, it is looked whether a
	// snapshot is due; 0 is 30 s.
	SnapshotInterval time.Duration
	// TrailingEntries are kept before a snapshot, for followers that are a little
	// behind; 0 is 500, as Docker shows.
	TrailingEntries uint64

	// Unguarded is for the simulator only.
	Unguarded Unguarded
}

// Timing holds raft's timeouts; 0 is the default. They must be larger than the
// longest sync of a healthy disk, since heartbeats wait for the disk too.
type Timing struct {
	Heartbeat time.Duration // without one for so long, up to twice, a follower stands for election: 1 s
	Election  time.Duration // how long, up to twice, a candidate waits for votes: 1 s
	Lease     time.Duration // without a quorum for so long a leader steps down: 500 ms
	Commit    time.Duration // how late, at most, followers of a quiet leader learn that an entry is committed: 250 ms, up to twice
	Write     time.Duration // a leader whose disk takes longer steps down: 5 s
}

// Records are the entries of the log, as real/disk's Log has them.
type Records interface {
	Bounds() (first, last uint64)
	Read(index uint64) ([]byte, error)
	Append(first uint64, records [][]byte) error
	DropAfter(index uint64) error
	DropBefore(index uint64) error
}

// Values are small values that are set together, durably, as real/disk's Stable
// has them.
type Values interface {
	Get(key string) []byte
	Set(values map[string][]byte) error
}

// Snapshots are whole states, as real/disk's Snapshots has them. Names sort by
// age. Close of what Create returns makes a snapshot durable.
type Snapshots interface {
	List() []string // newest first
	Create(name string, about []byte) (io.WriteCloser, error)
	Abort(name string) error
	About(name string) (about []byte, size int64, err error)
	Open(name string) (about []byte, size int64, body io.ReadCloser, err error)
}

// Unguarded turns guards off, each the one in the file of its name, so that a
// simulator can be shown to find what they guard against.
type Unguarded struct {
	Heartbeat bool // #695
	Pipeline  bool // #614, #612
	Vote      bool // #661
	Livelock  bool // #697
	Transfer  bool // #696
	Stall     bool // #503, #666
	Notify    bool // nomad#6977, vault#8547
	Barrier   bool // Elected before all of the log is delivered
}

// Limits and defaults.
const (
	snapshotEntriesDefault  = 10_000
	snapshotBytesDefault    = 64 << 20
	snapshotIntervalDefault = 30 * time.Second
	trailingEntriesDefault  = 500
	heartbeatDefault        = time.Second
	electionDefault         = time.Second
	leaseDefault            = 500 * time.Millisecond
	commitDefault           = 250 * time.Millisecond
	writeDefault            = 5 * time.Second
	appendEntriesMax        = 512 // entries that share a sync, a message, a batch applied
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	orElse(&c.SnapshotEntries, snapshotEntriesDefault)
	orElse(&c.SnapshotBytes, snapshotBytesDefault)
	orElse(&c.SnapshotInterval, snapshotIntervalDefault)
	orElse(&c.TrailingEntries, trailingEntriesDefault)
	orElse(&c.Timing.Heartbeat, heartbeatDefault)
	orElse(&c.Timing.Election, electionDefault)
	orElse(&c.Timing.Lease, leaseDefault)
	orElse(&c.Timing.Commit, commitDefault)
	orElse(&c.Timing.Write, writeDefault)
	return c
}

func orElse[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func (c Config) check() error {
	switch {
	case c.Node == "":
		return errors.New("the log needs the node's ID")
	case c.Records == nil || c.Values == nil || c.Snapshots == nil:
		return errors.New("the log needs a place for its records, values and snapshots")
	case c.Post == nil || c.Freeze == nil || c.Fatal == nil:
		return errors.New("the log needs Post, Freeze and Fatal")
	}
	return nil
}

// raftConfig is what the library is told. The defaults of its own that are left
// are those that it recommends.
func (c Config) raftConfig(notify chan<- bool, restarted bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.Node)
	rc.HeartbeatTimeout = c.Timing.Heartbeat
	rc.ElectionTimeout = max(c.Timing.Election, c.Timing.Heartbeat)
	rc.LeaderLeaseTimeout = min(c.Timing.Lease, c.Timing.Heartbeat)
	rc.CommitTimeout = c.Timing.Commit
	rc.MaxAppendEntries = appendEntriesMax
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false
	rc.TrailingLogs = c.TrailingEntries
	rc.SnapshotInterval = c.SnapshotInterval
	rc.SnapshotThreshold = c.SnapshotEntries
	rc.NotifyCh = notify
	rc.Logger = newLogger(c.Logger)
	// Within one process the engine already has what the snapshot holds.
	rc.NoSnapshotRestoreOnStart = restarted
	rc.NoLegacyTelemetry = true
	return rc
}
