package peer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/peer"
)

// trusts has a manager know the nodes given, and no others, as of an index.
func (h *host) trusts(index uint64, entries ...membership.Entry) {
	h.mu.Lock()
	h.roster.Apply(membership.RosterChange{Index: index, Full: true, Known: true, Entries: entries})
	h.mu.Unlock()
	h.Recheck()
}

func entry(id state.NodeID, trust uint64, manager bool) membership.Entry {
	return membership.Entry{Node: id, Trust: trust, Manager: manager, Log: manager}
}

// A manager is demoted: its calls, its streams of the log and its assignments are
// refused at once, over connections that there are and over new ones; what a worker
// says is still taken.
func TestDemoted(t *testing.T) {
	s := newSwarm(t)
	m, d := s.node(t, "m", true), s.node(t, "d", true)
	m.trusts(5, entry("m", 0, true), entry("d", 0, true))
	d.reach(m)
	if _, err := d.Call(t.Context(), "m", control.NodeList{}); err != nil {
		t.Fatal(err)
	}
	log := m.Raft()
	conn, err := d.Raft().Dial("m", m.addr, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := log.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()

	m.trusts(6, entry("m", 0, true), membership.Entry{Node: "d", Trust: 6})
	if _, err := accepted.Read(make([]byte, 1)); err == nil {
		t.Error("the stream of the log goes on")
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the stream of the log is open")
	}
	d.speak(m) // over the next link
	if _, err := d.Call(t.Context(), "m", control.NodeList{}); !errors.Is(err, peer.ErrLost) {
		t.Errorf("the call was answered: %v", err)
	}
	m.log.await("a worker may not do that: the node's role was changed after the certificate was issued")
	if again, err := d.Raft().Dial("m", m.addr, time.Minute); err == nil {
		if _, err := again.Read(make([]byte, 1)); err == nil {
			t.Error("it has a stream of the log")
		}
		_ = again.Close()
	}
	m.log.await("node d has no part in the log")
}

// A node is removed: it may say Hello, and go on with its heartbeats, and be told;
// nothing else is taken.
func TestRemoved(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	m.trusts(5, entry("m", 0, true), entry("w", 0, false))
	w.reach(m)
	w.speak(m)
	m.trusts(6, entry("m", 0, true))
	w.say(m, wire.Hello{Session: spoken}) // over the next link
	m.Send("w", wire.Bye{Session: 7, Removed: true, Term: 1})
	w.expect(t, "m: {Session:7 Leader: Addr: Term:1 Removed:true}")
	w.say(m, wire.Heartbeat{Session: spoken})
	w.Send("m", wire.Report{Session: 7})
	m.log.await("it is no member of the swarm: the node was removed from the swarm")
}

// A certificate of a key that is not the node's any more opens nothing.
func TestOtherKey(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	m.trusts(5, entry("m", 0, true), membership.Entry{Node: "w", Key: []byte("another"), Trust: 4})
	w.Reach("w", []wire.Manager{{ID: "m", Addr: m.addr}})
	w.say(m, wire.Hello{Session: spoken})
	w.Send("m", wire.Heartbeat{Session: 7})
	m.log.await("it is no member of the swarm: the certificate is for a key that is not the node's any more")
}
