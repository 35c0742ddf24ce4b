package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// Each guard is tried twice: with it, the fault never shows; without it, it does,
// which proves that the test would find it. How the faults come about is told in
// the guards' files.

// header is that of a message from node b.
func header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("b"), Addr: []byte("b")}
}

// heartbeats is a transport whose messages take the library's fast path for
// heartbeats, if it has registered one.
type heartbeats struct {
	*raft.InmemTransport
	mu   sync.Mutex
	fast func(raft.RPC)
}

func (h *heartbeats) SetHeartbeatHandler(handle func(raft.RPC)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fast = handle
}

// beat delivers a heartbeat, by the fast path or the slow one, and waits for the
// answer.
func (h *heartbeats) beat(from *raft.InmemTransport, term uint64) error {
	request := &raft.AppendEntriesRequest{RPCHeader: header(), Term: term, Leader: []byte("b")} //nolint:staticcheck // the library still reads it
	h.mu.Lock()
	fast := h.fast
	h.mu.Unlock()
	if fast == nil {
		return from.AppendEntries("a", "a", request, &raft.AppendEntriesResponse{})
	}
	answer := make(chan raft.RPCResponse, 1)
	fast(raft.RPC{Command: request, RespChan: answer})
	return (<-answer).Error
}

// A leader hears from the leader of the next term while a proposal comes in. It
// must not write the proposal as an entry of that term, which it never won.
func TestHeartbeatGuard(t *testing.T) {
	forges := func(guarded bool) bool {
		m := newMember(t, "a")
		m.unguarded.Heartbeat = !guarded
		_, inner := raft.NewInmemTransport("a")
		_, b := raft.NewInmemTransport("b")
		b.Connect("a", inner)
		transport := &heartbeats{InmemTransport: inner}
		m.tune = func(c *Config) { c.Transport, c.SnapshotEntries = transport, 1000 }
		must(t, m.open())
		must(t, m.propose(1))
		must(t, transport.beat(b, m.term+1))
		next := m.term + 1
		m.log.Propose(state.Entry{})
		m.await(func() bool { return !m.leading })
		m.close()
		_, last := m.storage.Log.Bounds()
		for i := uint64(1); i <= last; i++ {
			var entry raft.Log
			must(t, m.log0().GetLog(i, &entry))
			if entry.Type == raft.LogCommand && entry.Term == next {
				return true
			}
		}
		return false
	}
	const tries = 40
	shown := false
	for range tries {
		if forges(true) {
			t.Fatal("guarded, an entry of a term that was never won is in the log")
		}
		shown = shown || forges(false)
		if shown && testing.Short() {
			break
		}
	}
	if !shown {
		t.Errorf("in %d tries the fault never showed without the guard: the test finds nothing", tries)
	}
}

// log0 reads the records of a log that is closed.
func (m *member) log0() *entries {
	return &entries{records: m.storage.Log, snapshots: &snapshots{store: m.storage.Snapshots}, fatal: func(error) {}, park: func() {}}
}

// three is the configuration of a swarm of three managers.
func three() raft.Configuration {
	var c raft.Configuration
	for _, id := range []string{"a", "b", "c"} {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id), Suffrage: raft.Voter})
	}
	return c
}

// follower is member a of three, which never stands for election by itself, with
// a log whose entries up to last are of a term. b is who talks to it.
func follower(t *testing.T, last, term uint64, unguarded Unguarded) (m *member, b *raft.InmemTransport) {
	t.Helper()
	m = newMember(t, "a")
	m.unguarded, m.bootstrapped = unguarded, true
	_, inner := raft.NewInmemTransport("a")
	_, b = raft.NewInmemTransport("b")
	b.Connect("a", inner)
	m.tune = func(c *Config) {
		c.Transport, c.SnapshotEntries = inner, 1000
		c.Timing.Heartbeat, c.Timing.Election = time.Hour, time.Hour
	}
	must(t, m.openStorage())
	logs := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(three())}}
	for i := uint64(2); i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: state.Entry{}.Append(nil)})
	}
	must(t, m.log0().StoreLogs(logs))
	return m, b
}

// The power goes while a vote is stored. Afterwards the candidate of an earlier
// vote, whose log is short, must not get this term's vote unseen.
func TestVoteGuard(t *testing.T) {
	granted := func(guarded bool, cut int) bool {
		m, b := follower(t, 10, 6, Unguarded{Vote: !guarded})
		l, err := newLog(m.config())
		must(t, err)
		must(t, m.storage.Stable.Set(map[string][]byte{
			"CurrentTerm": binary.LittleEndian.AppendUint64(nil, 7), keyVoteTerm: binary.LittleEndian.AppendUint64(nil, 5), keyVoteCandidate: []byte("b"),
		}))
		m.disk.CutAt(m.disk.Ops() + cut)
		_ = errors.Join(l.stable.SetUint64([]byte(keyVoteTerm), 7), l.stable.Set([]byte(keyVoteCandidate), []byte("c"))) // the power goes
		l.stopWriter()
		m.disk = m.disk.Restart(uint64(cut))
		must(t, m.openStorage())
		must(t, m.run())
		var answer raft.RequestVoteResponse
		must(t, b.RequestVote("a", "a", &raft.RequestVoteRequest{RPCHeader: header(), Term: 7, Candidate: []byte("b"), LastLogIndex: 1, LastLogTerm: 1}, &answer)) //nolint:staticcheck // as above
		return answer.Granted
	}
	shown := false
	for cut := range 12 {
		if granted(true, cut+1) {
			t.Errorf("guarded, cut at %d: a candidate without committed entries got the vote", cut+1)
		}
		shown = shown || granted(false, cut+1)
	}
	if !shown {
		t.Error("the fault never showed without the guard: the test finds nothing")
	}
}

// A follower whose log differs from the leader's is sent a snapshot, and again.
// It must accept what comes after it in the end.
func TestLivelockGuard(t *testing.T) {
	var body bytes.Buffer
	if _, err := state.NewStore().Freeze().WriteTo(&body); err != nil {
		t.Fatal(err)
	}
	install := func(b *raft.InmemTransport) error {
		request := &raft.InstallSnapshotRequest{
			RPCHeader: header(), SnapshotVersion: raft.SnapshotVersionMax, Term: 3, Leader: []byte("b"), LastLogIndex: 8, LastLogTerm: 3,
			Configuration: raft.EncodeConfiguration(three()), ConfigurationIndex: 1, Size: int64(body.Len()),
		}
		var answer raft.InstallSnapshotResponse
		return b.InstallSnapshot("a", "a", request, &answer, bytes.NewReader(body.Bytes()))
	}
	accepts := func(b *raft.InmemTransport) bool {
		request := &raft.AppendEntriesRequest{
			RPCHeader: header(), Term: 3, Leader: []byte("b"), PrevLogEntry: 8, PrevLogTerm: 3, LeaderCommitIndex: 9, //nolint:staticcheck // as above
			Entries: []*raft.Log{{Index: 9, Term: 3, Type: raft.LogCommand, Data: state.Entry{Proposal: state.ProposalID{Term: 3}}.Append(nil)}},
		}
		var answer raft.AppendEntriesResponse
		return b.AppendEntries("a", "a", request, &answer) == nil && answer.Success
	}
	m, b := follower(t, 12, 2, Unguarded{Livelock: true})
	must(t, m.run())
	for range 5 {
		must(t, install(b))
		if accepts(b) {
			t.Error("the fault does not show without the guard: the test finds nothing")
		}
	}
	m, b = follower(t, 12, 2, Unguarded{})
	must(t, m.run())
	_ = install(b) // raft may be stopped before it has answered
	delivered := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.index == 9
	}
	for !delivered() { // raft is started again meanwhile, and a leader goes on sending
		accepts(b)
	}
	if len(m.fatal) > 0 {
		t.Errorf("the guard ended the process: %v", m.fatal)
	}
	m.check(t)
}

// A proposal that was refused because of a transfer of leadership is made again;
// without the guard it is forgotten.
func TestTransferGuard(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		m := newMember(t, "a")
		m.unguarded.Transfer = !guarded
		must(t, m.open())
		must(t, m.awaitLeading())
		data := state.Entry{Proposal: state.ProposalID{Term: 42}}.Append(nil)
		_, before := m.storage.Log.Bounds()
		m.log.settle(proposed{refusedFuture{}, data})
		if _, after := m.storage.Log.Bounds(); after > before != guarded {
			t.Errorf("guarded %v: the log has %d entries, it had %d", guarded, after, before)
		}
		m.check(t)
	}
}

type refusedFuture struct{ raft.ApplyFuture }

func (refusedFuture) Error() error { return raft.ErrLeadershipTransferInProgress }

// A leader is told that it leads when all that was committed has been delivered.
// Without the guard it is told while what was committed still waits to be: here
// its delivery waits for that very news.
func TestBarrierGuard(t *testing.T) {
	early := func(guarded bool) bool {
		m := newMember(t, "a")
		m.tune = func(c *Config) { c.SnapshotEntries = 1000 }
		must(t, m.open())
		for n := range 10 {
			must(t, m.propose(n+1))
		}
		m.close()
		if !guarded {
			m.unguarded.Barrier = true
			m.tune = func(c *Config) {
				c.SnapshotEntries = 1000
				c.Post = afterElection(c.Post)
			}
		}
		must(t, m.open())
		must(t, m.awaitLeading())
		m.mu.Lock()
		defer m.mu.Unlock()
		delivered := 0
		for _, e := range m.events {
			switch e.(type) {
			case engine.Committed:
				delivered++
			case engine.Elected:
				return delivered < 10
			default:
			}
		}
		return false
	}
	for range 5 {
		if early(true) {
			t.Fatal("guarded, it was elected before all was delivered")
		}
	}
	if !early(false) {
		t.Error("the fault does not show without the guard: the test finds nothing")
	}
}

// afterElection holds entries back until an election has been posted.
func afterElection(post func(engine.Event)) func(engine.Event) {
	elected := make(chan struct{})
	return func(e engine.Event) {
		switch e.(type) {
		case engine.Elected:
			post(e)
			close(elected)
			return
		case engine.Committed:
			<-elected
		default:
		}
		post(e)
	}
}

// There is no pipelining, unless the guard is off.
func TestPipelineGuard(t *testing.T) {
	_, inner := raft.NewInmemTransport("a")
	_, err := transport{Transport: inner, node: "a"}.AppendEntriesPipeline("b", "b")
	if !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("got %v", err)
	}
	_, err = transport{Transport: inner, node: "a", unguarded: Unguarded{Pipeline: true}}.AppendEntriesPipeline("b", "b")
	if err == nil || errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("unguarded: %v", err)
	}
}

// A swarm is three members on a network in memory.
type swarm struct {
	t       *testing.T
	members map[state.NodeID]*member
	inner   map[state.NodeID]*raft.InmemTransport
}

func newThree(t *testing.T, tune func(*member)) *swarm {
	t.Helper()
	s := &swarm{t: t, members: map[state.NodeID]*member{}, inner: map[state.NodeID]*raft.InmemTransport{}}
	for _, id := range []state.NodeID{"a", "b", "c"} {
		m := newMember(t, id)
		m.bootstrapped = true
		m.tune = func(c *Config) {
			c.Transport, c.Timing.Heartbeat, c.Timing.Election = s.inner[id], 300*time.Millisecond, 300*time.Millisecond
		}
		if tune != nil {
			tune(m)
		}
		s.members[id] = m
		s.connect(id)
		must(t, m.openStorage())
		must(t, m.log0().StoreLogs([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(three())}}))
	}
	for _, m := range s.members {
		must(t, m.run())
	}
	return s
}

// connect gives a member a transport and lets the others know.
func (s *swarm) connect(id state.NodeID) {
	_, s.inner[id] = raft.NewInmemTransport(raft.ServerAddress(id))
	for other, inner := range s.inner {
		inner.Connect(raft.ServerAddress(id), s.inner[id])
		s.inner[id].Connect(raft.ServerAddress(other), inner)
	}
}

// kill takes a member's power.
func (s *swarm) kill(id state.NodeID) {
	for _, inner := range s.inner {
		inner.Disconnect(raft.ServerAddress(id))
	}
	s.inner[id].DisconnectAll()
	s.members[id].disk.Cut()
	s.members[id].close()
}

// revive starts a member again with what its disk kept.
func (s *swarm) revive(id state.NodeID, seed uint64) {
	m := s.members[id]
	m.disk = m.disk.Restart(seed)
	s.connect(id)
	must(s.t, m.openStorage())
	must(s.t, m.run())
}

// leader waits until one of the members, but not the one given, leads.
func (s *swarm) leader(not state.NodeID) *member {
	found := make(chan *member, len(s.members))
	for id, m := range s.members {
		if id == not || m.log == nil {
			continue
		}
		go func() {
			m.await(func() bool { return m.leading })
			found <- m
		}()
	}
	return <-found
}

// propose proposes on whoever leads until it is committed there.
func (s *swarm) propose(n int) {
	for {
		if m := s.leader(""); m.try(n) {
			return
		}
	}
}

// try proposes once, if the member leads.
func (m *member) try(n int) bool {
	m.mu.Lock()
	if !m.leading {
		m.mu.Unlock()
		return false
	}
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
		return committed || deposed
	})
	return committed
}

// Leaders lose their power one after the other, and come back; one comes back so
// late that it needs a snapshot. Nothing that was committed is lost, and all three
// end with the same store.
func TestThreeManagers(t *testing.T) {
	s := newThree(t, nil)
	n := 0
	for round := range 4 {
		for range 10 {
			n++
			s.propose(n)
		}
		lost := s.leader("").id
		s.kill(lost)
		for range 10 + 20*round { // more than are kept for those who are behind
			n++
			s.propose(n)
		}
		s.revive(lost, uint64(round))
	}
	n++
	s.propose(n)
	for id, m := range s.members {
		m.await(func() bool { return m.store.Hash() == want(upTo(n)...) })
		if len(m.fatal) > 0 {
			t.Errorf("%s: %v", id, m.fatal)
		}
		m.check(t)
	}
}

// A leader whose disk hangs gives way to another; without the guard it goes on
// sending heartbeats, and nobody can write for as long as the disk hangs.
func TestStallGuardOfThree(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		var mu sync.Mutex
		var hanging string
		hang := make(chan struct{})
		s := newThree(t, func(m *member) {
			m.unguarded.Stall = !guarded
			tune := m.tune
			m.tune = func(c *Config) { tune(c); c.Timing.Write, c.SnapshotEntries = 200*time.Millisecond, 1000 }
			m.disk.Before = func(op disktest.Op) error {
				mu.Lock()
				wait := hanging == string(m.id)
				mu.Unlock()
				if wait && op.Kind == "sync" && strings.HasSuffix(op.Name, ".log") {
					<-hang
				}
				return nil
			}
		})
		s.propose(1)
		old := s.leader("")
		mu.Lock()
		hanging = string(old.id)
		mu.Unlock()
		old.log.Propose(state.Entry{})
		elected := make(chan *member, 1)
		go func() { elected <- s.leader(old.id) }()
		select {
		case <-elected:
			if !guarded {
				t.Error("the fault does not show without the guard: the test finds nothing")
			}
		case <-time.After(stallPatience(guarded)):
			if guarded {
				t.Error("guarded, nobody else leads")
			}
		}
		close(hang)
		mu.Lock()
		hanging = ""
		mu.Unlock()
		for _, m := range s.members {
			m.check(t)
		}
		for id := range s.members {
			s.members[id].close()
		}
	}
}

// stallPatience is several elections; a guard that works needs no more than one.
func stallPatience(guarded bool) time.Duration {
	if guarded {
		return time.Minute
	}
	return 2 * time.Second
}
