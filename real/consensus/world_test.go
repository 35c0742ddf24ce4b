package consensus

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// A member is one manager's log on a disk in memory, with what an engine would
// have made of what was posted: its store, and a look at the contract.
type member struct {
	id        state.NodeID
	disk      *disktest.FS
	unguarded Unguarded
	tune      func(*Config)

	bootstrapped bool

	storage *disk.Storage
	log     *Log

	mu      sync.Mutex
	changed *sync.Cond
	store   *state.Store
	events  []engine.Event // of this life
	leading bool
	term    uint64
	index   uint64
	faults  []string
	fatal   []error
}

func newMember(t *testing.T, id state.NodeID) *member {
	t.Helper()
	m := &member{id: id, disk: disktest.New(), store: state.NewStore()}
	m.changed = sync.NewCond(&m.mu)
	t.Cleanup(m.close)
	return m
}

// config is quick, so that tests are; a snapshot is due every few entries.
func (m *member) config() Config {
	c := Config{
		Node: m.id, Records: m.storage.Log, Values: m.storage.Stable, Snapshots: m.storage.Snapshots,
		Post: m.post, Freeze: m.freeze, Fatal: m.failed, Unguarded: m.unguarded,
		Timing: Timing{
			Heartbeat: 100 * time.Millisecond, Election: 100 * time.Millisecond, Lease: 60 * time.Millisecond,
			Commit: 5 * time.Millisecond, Write: 2 * time.Second,
		},
		SnapshotEntries: 4, TrailingEntries: 2, SnapshotInterval: 5 * time.Millisecond,
	}
	if m.tune != nil {
		m.tune(&c)
	}
	return c
}

// openStorage begins another life.
func (m *member) openStorage() error {
	m.mu.Lock()
	m.store, m.events, m.leading, m.index, m.fatal = state.NewStore(), nil, false, 0, nil
	m.mu.Unlock()
	storage, err := disk.OpenStorage(m.disk, "/data", disk.StorageOptions{Log: disk.LogOptions{SegmentBytesMax: 1 << 10}})
	m.storage = storage
	return err
}

// open makes a swarm of one if there is none, and runs the log. What a crash left
// of one whose making was never acknowledged is cleared, as the daemon does with
// a storage that no identity goes with.
func (m *member) open() error {
	if err := m.openStorage(); err != nil {
		return err
	}
	if !m.bootstrapped {
		if err := m.storage.Clear(); err != nil {
			return err
		}
		if err := Bootstrap(m.config()); err != nil {
			return err
		}
		m.bootstrapped = true
	}
	return m.run()
}

func (m *member) run() error {
	log, err := New(m.config())
	if err == nil {
		err = log.Start()
	}
	if err == nil {
		m.log = log
	}
	return err
}

func (m *member) close() {
	if m.log != nil {
		_ = m.log.Close() // it has no error to tell
		m.log = nil
	}
}

// post is what a driver does: events in order, to an engine that keeps a store.
func (m *member) post(e engine.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.changed.Broadcast()
	fault := func(format string, args ...any) { m.faults = append(m.faults, fmt.Sprintf(format, args...)) }
	m.events = append(m.events, e)
	switch e := e.(type) {
	case engine.Committed:
		if e.Index <= m.index {
			fault("index %d is committed after %d", e.Index, m.index)
		}
		m.index = e.Index
		changes := e.Entry.Changes
		if e.Entry.Base != m.store.Index() {
			changes = nil
		}
		m.store.Apply(e.Index, changes)
	case engine.Restored:
		m.store, m.index = e.Store, e.Store.Index()
	case engine.Elected:
		if m.leading || e.Term <= m.term {
			fault("elected for term %d, leading %v, after term %d", e.Term, m.leading, m.term)
		}
		m.leading, m.term = true, e.Term
	case engine.Deposed:
		if !m.leading {
			fault("deposed without having been elected")
		}
		m.leading = false
	default:
	}
}

func (m *member) freeze() *state.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store.Freeze()
}

func (m *member) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fatal = append(m.fatal, err)
	m.changed.Broadcast()
}

// await waits until what it is given holds, looking again after every event. A
// test that waits for ever is ended by the test's own limit.
func (m *member) await(holds func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !holds() {
		m.changed.Wait()
	}
}

// awaitLeading waits for leadership, or for the end.
func (m *member) awaitLeading() error {
	m.await(func() bool { return m.leading || len(m.fatal) > 0 })
	return errors.Join(m.fatal...)
}

// propose proposes an entry that puts one object, and waits until it is committed.
// It makes it again after losing leadership, as the engine does with its causes.
func (m *member) propose(n int) error {
	for {
		if err := m.awaitLeading(); err != nil {
			return err
		}
		m.mu.Lock()
		id := state.ProposalID{Term: m.term, Seq: uint64(n)}
		e := state.Entry{Proposal: id, Base: m.store.Index(), Changes: []state.Change{object(n)}}
		from := len(m.events)
		m.mu.Unlock()
		m.log.Propose(e)
		committed, deposed := false, false
		m.await(func() bool {
			for _, e := range m.events[from:] {
				switch e := e.(type) {
				case engine.Committed:
					committed = committed || e.Entry.Proposal == id
				case engine.Deposed:
					deposed = true
				default:
				}
			}
			return committed || deposed || len(m.fatal) > 0
		})
		if committed {
			return nil
		}
		if !deposed {
			return errors.Join(m.fatal...)
		}
	}
}

// object is a change of a kind that the store keeps as it is.
func object(n int) state.Change {
	return state.Change{Key: state.Key{Kind: 200, ID: fmt.Sprint(n)}, Data: fmt.Appendf(nil, "object %d", n)}
}

// want is the hash of a store that has the objects given.
func want(objects ...int) [16]byte {
	s := state.NewStore()
	for i, n := range objects {
		s.Apply(uint64(i+1), []state.Change{object(n)})
	}
	return s.Hash()
}

func upTo(n int) []int {
	var all []int
	for i := 1; i <= n; i++ {
		all = append(all, i)
	}
	return all
}

func (m *member) hash() [16]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store.Hash()
}

func (m *member) check(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.faults {
		t.Errorf("%s: %s", m.id, f)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
