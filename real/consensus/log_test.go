package consensus

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// A swarm of one: what is proposed is committed in order, and a restart delivers
// all of it again before it leads.
func TestRestartKeepsEverything(t *testing.T) {
	m := newMember(t, "a")
	m.tune = func(c *Config) { c.SnapshotEntries = 1000 }
	must(t, m.open())
	for n := range 20 {
		must(t, m.propose(n+1))
	}
	for life := range 3 {
		if m.hash() != want(upTo(20+life)...) {
			t.Fatalf("life %d: the store is another", life)
		}
		m.close()
		must(t, m.open())
		elected := false
		m.await(func() bool {
			for _, e := range m.events {
				if _, ok := e.(engine.Elected); ok && !elected {
					elected = true
					if m.store.Hash() != want(upTo(20+life)...) {
						t.Errorf("life %d: elected before everything was delivered", life)
					}
				}
			}
			return elected
		})
		must(t, m.propose(21+life))
	}
	m.check(t)
}

// Proposals made together are committed together and in order.
func TestProposalsInOrder(t *testing.T) {
	m := newMember(t, "a")
	must(t, m.open())
	must(t, m.awaitLeading())
	for n := range uint64(300) {
		m.log.Propose(state.Entry{Proposal: state.ProposalID{Term: 1, Seq: n}})
	}
	next := uint64(0)
	m.await(func() bool {
		next = 0
		for _, e := range m.events {
			if c, ok := e.(engine.Committed); ok {
				if c.Entry.Proposal.Seq != next {
					t.Errorf("proposal %d is committed where %d should be", c.Entry.Proposal.Seq, next)
				}
				next++
			}
		}
		return next >= 300
	})
	m.check(t)
}

// A snapshot is taken every few entries, entries before it are dropped, and a
// restart begins with it.
func TestSnapshots(t *testing.T) {
	m := newMember(t, "a")
	taken := make(chan string, 1000)
	m.tune = func(c *Config) { c.Snapshots = tellingSnapshots{c.Snapshots, taken} }
	must(t, m.open())
	n := 0
	for range 3 { // snapshots
		for len(taken) == 0 {
			n++
			must(t, m.propose(n))
		}
		<-taken
	}
	m.close()
	if first, _ := m.storage.Log.Bounds(); first == 1 {
		t.Error("nothing was dropped from the log")
	}
	must(t, m.open())
	must(t, m.propose(n+1))
	if _, ok := m.events[0].(engine.Restored); !ok {
		t.Errorf("the first event after the restart is %T", m.events[0])
	}
	if m.hash() != want(upTo(n+1)...) {
		t.Error("the store is another")
	}
	m.check(t)
}

// tellingSnapshots tells of every snapshot that is finished.
type tellingSnapshots struct {
	Snapshots
	taken chan string
}

func (s tellingSnapshots) Create(name string, about []byte) (io.WriteCloser, error) {
	w, err := s.Snapshots.Create(name, about)
	return tellingWriter{w, name, s.taken}, err
}

type tellingWriter struct {
	io.WriteCloser
	name  string
	taken chan string
}

func (w tellingWriter) Close() error {
	err := w.WriteCloser.Close()
	if err == nil {
		w.taken <- w.name
	}
	return err
}

// The power goes at every boundary of a life with elections, entries and
// snapshots: nothing that was committed is lost, the end is told of once, and the
// log goes on after it.
func TestPowerCutAtEveryOperation(t *testing.T) {
	const entries = 12
	life := func(m *member) (acknowledged int) {
		if err := m.open(); err != nil {
			return 0
		}
		for n := 1; n <= entries; n++ {
			if m.propose(n) != nil {
				break
			}
			acknowledged = n
		}
		m.close()
		return acknowledged
	}
	whole := newMember(t, "a")
	if life(whole) != entries {
		t.Fatal("the life without a power cut is no life")
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for cut := 1; cut <= whole.disk.Ops(); cut += step {
		m := newMember(t, "a")
		m.disk.CutAt(cut)
		acknowledged := life(m)
		if len(m.fatal) > 1 {
			t.Fatalf("cut at %d: the end was told of %d times: %v", cut, len(m.fatal), m.fatal)
		}
		m.check(t)
		m.disk = m.disk.Restart(uint64(cut))
		if err := m.open(); err != nil {
			t.Fatalf("cut at %d: it does not open: %v", cut, err)
		}
		must(t, m.awaitLeading())
		if got := m.hash(); got != want(upTo(acknowledged)...) && got != want(upTo(acknowledged+1)...) {
			t.Fatalf("cut at %d: %d entries were committed, the store is another", cut, acknowledged)
		}
		must(t, m.propose(100))
		m.check(t)
		m.close()
	}
	t.Logf("%d operations", whole.disk.Ops())
}

// A write that fails ends it: Fatal is called once, with the reason; nothing is
// acknowledged after it, and Close still returns.
func TestWriteErrorIsFatalOnce(t *testing.T) {
	broken := errors.New("input/output error")
	for _, part := range []string{".log", "stable"} {
		m := newMember(t, "a")
		var mu sync.Mutex
		failing := false
		m.disk.Before = func(op disktest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if failing && strings.Contains(op.Name, part) {
				return broken
			}
			return nil
		}
		must(t, m.open())
		must(t, m.propose(1))
		mu.Lock()
		failing = true
		mu.Unlock()
		if part == "stable" { // the next term is what is stored next
			m.log.running().resign()
		}
		m.log.Propose(state.Entry{Proposal: state.ProposalID{Term: 99}})
		m.await(func() bool { return len(m.fatal) > 0 })
		m.close()
		if len(m.fatal) != 1 || !errors.Is(m.fatal[0], broken) {
			t.Errorf("%s: %v", part, m.fatal)
		}
		for _, e := range m.events {
			if c, ok := e.(engine.Committed); ok && c.Entry.Proposal.Term == 99 && part == ".log" {
				t.Errorf("%s: acknowledged after the failure", part)
			}
		}
		m.check(t)
	}
}

// While the disk hangs, the leader steps down; when it is back, what it wrote in
// the end is not in the log, and the manager leads again. Without the guard it
// leads for as long as the disk hangs.
func TestStallGuard(t *testing.T) {
	m := newMember(t, "a")
	var mu sync.Mutex
	var hang chan struct{}
	m.disk.Before = func(op disktest.Op) error {
		mu.Lock()
		wait := hang
		mu.Unlock()
		if wait != nil && op.Kind == "sync" && strings.HasSuffix(op.Name, ".log") {
			<-wait
		}
		return nil
	}
	m.tune = func(c *Config) { c.Timing.Write, c.SnapshotEntries = 300*time.Millisecond, 1000 }
	must(t, m.open())
	must(t, m.propose(1))
	mu.Lock()
	hang = make(chan struct{})
	mu.Unlock()
	lost := state.ProposalID{Term: 77}
	m.log.Propose(state.Entry{Proposal: lost})
	m.await(func() bool { return !m.leading })
	mu.Lock()
	close(hang)
	hang = nil
	mu.Unlock()
	must(t, m.propose(2))
	for _, e := range m.events {
		if c, ok := e.(engine.Committed); ok && c.Entry.Proposal == lost {
			t.Error("what was given up was committed by the same leader")
		}
	}
	if len(m.fatal) > 0 {
		t.Errorf("one stall is no reason to end: %v", m.fatal)
	}
	m.check(t)
}

// A disk that does not come back is the end.
func TestStallsAreFatal(t *testing.T) {
	m := newMember(t, "a")
	hang := make(chan struct{})
	var mu sync.Mutex
	hanging := false
	m.disk.Before = func(op disktest.Op) error {
		mu.Lock()
		wait := hanging
		mu.Unlock()
		if wait && op.Kind == "sync" && strings.HasSuffix(op.Name, ".log") {
			<-hang
		}
		return nil
	}
	m.tune = func(c *Config) { c.Timing.Write, c.SnapshotEntries = 50*time.Millisecond, 1000 }
	must(t, m.open())
	must(t, m.propose(1))
	mu.Lock()
	hanging = true
	mu.Unlock()
	m.log.Propose(state.Entry{})
	m.await(func() bool { return len(m.fatal) > 0 })
	close(hang)
	m.close()
	if len(m.fatal) != 1 || !strings.Contains(m.fatal[0].Error(), "has not taken entries within 50ms, 3 times in a row") {
		t.Errorf("%v", m.fatal)
	}
	m.check(t)
}

// Verify is answered once for each that asks: well by a leader, and not by a log
// that is being closed.
func TestVerify(t *testing.T) {
	m := newMember(t, "a")
	must(t, m.open())
	must(t, m.awaitLeading())
	for id := range engine.VerifyID(5) {
		m.log.Verify(id)
	}
	answers := map[engine.VerifyID]int{}
	m.await(func() bool {
		clear(answers)
		for _, e := range m.events {
			if v, ok := e.(engine.Verified); ok {
				answers[v.ID]++
				if v.Err != nil {
					t.Errorf("%d: %v", v.ID, v.Err)
				}
			}
		}
		return len(answers) == 5
	})
	for id, n := range answers {
		if n != 1 {
			t.Errorf("%d is answered %d times", id, n)
		}
	}
	m.check(t)
}

// Closing deposes a leader, once, and closing again does nothing.
func TestClose(t *testing.T) {
	m := newMember(t, "a")
	must(t, m.open())
	must(t, m.propose(1))
	log := m.log
	m.close()
	must(t, log.Close())
	if _, ok := m.events[len(m.events)-1].(engine.Deposed); !ok || m.leading {
		t.Errorf("the last event is %T", m.events[len(m.events)-1])
	}
	m.check(t)
}

// A log that is not there, or does not fit together, is not opened.
func TestOpenRefuses(t *testing.T) {
	m := newMember(t, "a")
	must(t, m.openStorage())
	if err := m.run(); err == nil || !strings.Contains(err.Error(), "there is no log: this node must join a swarm or make one") {
		t.Errorf("an empty one: %v", err)
	}
	for _, bad := range []func(*Config){
		func(c *Config) { c.Node = "" }, func(c *Config) { c.Values = nil }, func(c *Config) { c.Fatal = nil },
	} {
		c := m.config()
		bad(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "the log needs") {
			t.Errorf("got %v", err)
		}
	}
	must(t, m.open())
	must(t, m.propose(1))
	m.close()
	if err := Bootstrap(m.config()); err == nil {
		t.Error("a log that is there was bootstrapped again")
	}
	// Entries that no snapshot covers are missing from the front.
	_, last := m.storage.Log.Bounds()
	must(t, m.storage.Snapshots.Clear())
	must(t, m.storage.Log.DropBefore(last))
	if err := m.run(); err == nil || !strings.Contains(err.Error(), "are missing: the newest snapshot covers entries to 0") {
		t.Errorf("a gap: %v", err)
	}
	// An entry that cannot be read is named, not panicked about.
	must(t, m.storage.Log.DropBefore(last+1))
	must(t, m.storage.Log.Append(1, [][]byte{{1, 2, 3}}))
	if err := m.run(); err == nil || !strings.Contains(err.Error(), "it is not an entry of this version of swarmd") {
		t.Errorf("rubbish: %v", err)
	}
}

// A snapshot whose frame is whole but whose body is no state is an error; the
// older one beside it is not taken silently.
func TestOlderSnapshotIsNotTaken(t *testing.T) {
	m := newMember(t, "a")
	taken := make(chan string, 1000)
	m.tune = func(c *Config) { c.Snapshots = tellingSnapshots{c.Snapshots, taken} }
	must(t, m.open())
	n := 0
	for len(taken) == 0 {
		n++
		must(t, m.propose(n))
	}
	m.close()
	names := m.storage.Snapshots.List()
	about, _, body, err := m.storage.Snapshots.Open(names[0])
	must(t, err)
	must(t, body.Close())
	name := "1" + names[0][1:] // far newer
	index := strings.TrimLeft(names[0][:20], "0")
	about = bytes.Replace(about, []byte(`"index":`+index), []byte(`"index":`+name[:20]), 1)
	w, err := m.storage.Snapshots.Create(name, about)
	must(t, err)
	_, err = io.WriteString(w, "no state")
	must(t, errors.Join(err, w.Close()))
	if err := m.run(); err == nil || !strings.Contains(err.Error(), "read the snapshot") {
		t.Errorf("got %v", err)
	}
}

// How many proposals one manager commits in a second, one after the other, on a
// disk that takes no time.
func BenchmarkPropose(b *testing.B) {
	m := &member{id: "a", disk: disktest.New(), store: state.NewStore()}
	m.changed = sync.NewCond(&m.mu)
	m.tune = func(c *Config) { c.SnapshotEntries = 1 << 40 }
	if err := errors.Join(m.open(), m.awaitLeading()); err != nil {
		b.Fatal(err)
	}
	defer m.close()
	n := 0
	for b.Loop() {
		n++
		if err := m.propose(n); err != nil {
			b.Fatal(err)
		}
		m.mu.Lock()
		m.events = m.events[:0]
		m.mu.Unlock()
	}
}

// What is asked the moment that leadership is told of, while Start may not have
// returned yet, is asked of this log, and answered.
func TestAskedAtOnce(t *testing.T) {
	m := newMember(t, "a")
	must(t, m.openStorage())
	must(t, Bootstrap(m.config()))
	c := m.config()
	var log *Log
	c.Post = func(e engine.Event) {
		m.post(e)
		if e, leads := e.(engine.Elected); leads {
			log.Propose(state.Entry{Proposal: state.ProposalID{Term: e.Term, Seq: 1}, Changes: []state.Change{object(1)}})
			log.Verify(1)
		}
	}
	log, err := New(c)
	must(t, err)
	must(t, log.Start())
	m.log = log
	m.await(func() bool {
		verified := slices.ContainsFunc(m.events, func(e engine.Event) bool { _, is := e.(engine.Verified); return is })
		return verified && m.store.Index() > 0 || len(m.fatal) > 0
	})
	m.check(t)
}
