//go:build wasip1

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/consensus"
	swarmdisk "github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/sim/gate"
)

// ordersMax is how many orders about membership may wait; the engine has one out
// at a time.
const ordersMax = 16

// raftDir is where the log is, on the guest's disk.
const raftDir = "/var/lib/swarmd/raft"

// A membership is what makes this node a member: its identity, which the host
// keeps, and as a manager its log. It does what cmd/swarmd's does, in that order,
// but for certificates, which the host stands in for.
type membership struct {
	guest  *guest
	boot   gate.Boot
	fatal  func(error)
	orders chan func() error

	mu      sync.Mutex
	current *consensus.Log
	storage *swarmdisk.Storage
	frames  *consensus.Frames
}

func newMembership(g *guest, boot gate.Boot) *membership {
	return &membership{guest: g, boot: boot, orders: make(chan func() error, ordersMax)}
}

// serve carries out orders, one after another.
func (m *membership) serve() {
	for order := range m.orders {
		if err := order(); err != nil {
			m.fatal(err)
		}
	}
}

// begin makes the log, if it is to be made.
func (m *membership) begin() error {
	switch {
	case m.boot.Joins:
		return m.prepare(m.boot.Identity)
	case m.boot.Found == nil:
		return nil
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	if err := storage.Clear(); err != nil { // of a founding that was cut short
		return err
	}
	var entries []state.Entry
	for _, b := range m.boot.Found.Entries {
		e, err := state.DecodeEntry(b)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	if err := consensus.Found(m.config(m.boot.Identity, storage), m.boot.Found.Voters, entries); err != nil {
		return err
	}
	tell(gate.FromFounded, nil)
	return storage.Close()
}

// open runs the log of a manager.
func (m *membership) open(id engine.Identity) error {
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	config := m.config(id, storage)
	if config.Unguarded, err = unguarded(m.boot.Unguarded); err != nil {
		return err
	}
	frames := consensus.NewFrames(id.Node, send, m.guest.logger)
	config.Transport = frames
	if err := tellOpened(storage); err != nil {
		return err
	}
	log, err := consensus.New(config)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.current, m.storage, m.frames = log, storage, frames
	m.mu.Unlock()
	return log.Start()
}

// send has the host take a frame to another node.
func send(to state.NodeID, frame []byte) {
	b := make([]byte, 0, 2+len(to)+len(frame))
	b = append(append(b, gate.FromRaft, byte(len(to))), to...)
	tellWhole(append(b, frame...))
}

// receive hands raft what has come.
func (m *membership) receive(from state.NodeID, frame []byte) {
	m.mu.Lock()
	frames := m.frames
	m.mu.Unlock()
	if frames != nil {
		frames.Receive(from, frame)
	}
}

func (m *membership) running() *consensus.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *membership) openStorage() (*swarmdisk.Storage, error) {
	return swarmdisk.OpenStorage(m.guest.disk, raftDir, swarmdisk.StorageOptions{
		Log: swarmdisk.LogOptions{SegmentBytesMax: m.boot.SegmentBytes, Logger: m.guest.logger},
	})
}

func (m *membership) config(id engine.Identity, storage *swarmdisk.Storage) consensus.Config {
	return consensus.Config{
		Node:    id.Node,
		Records: records{storage.Log}, Values: values{storage.Stable}, Snapshots: snapshots{storage.Snapshots},
		Post: m.guest.driver.Post,
		Freeze: func() *state.Snapshot {
			var frozen *state.Snapshot
			if err := m.guest.driver.Ask(func(n *engine.Node) { frozen = n.Freeze() }); err != nil {
				return nil
			}
			return frozen
		},
		Fatal:  func(err error) { m.fatal(err) },
		Logger: m.guest.logger,
		Timing: consensus.Timing{
			Heartbeat: m.boot.Heartbeat, Election: m.boot.Election, Lease: m.boot.Lease, Commit: m.boot.Commit, Write: m.boot.Write,
		},
		SnapshotEntries: m.boot.SnapshotEntries, SnapshotInterval: m.boot.SnapshotInterval, TrailingEntries: m.boot.TrailingEntries,
	}
}

// save keeps the identity, durably.
func (m *membership) save(id engine.Identity) error {
	data, err := json.Marshal(id)
	if err == nil {
		tell(gate.FromSaved, data)
	}
	return err
}

// joined makes what a member needs, and lets the engine know.
func (m *membership) joined(e engine.Joined) error {
	if e.Err != nil {
		m.guest.driver.Post(e)
		return nil
	}
	if err := errors.Join(m.prepare(e.Identity), m.save(e.Identity)); err != nil {
		return err
	}
	m.guest.driver.Post(e)
	if !e.Identity.Manager {
		return nil
	}
	return m.open(e.Identity)
}

// unlocked runs the log of a manager that was locked.
func (m *membership) unlocked(e engine.Unlocked) error {
	if e.Err == nil {
		if err := m.open(m.boot.Identity); err != nil {
			return err
		}
	}
	m.guest.driver.Post(e)
	return nil
}

// roleChanged makes this node a manager, or none any more.
func (m *membership) roleChanged(e engine.RoleChanged) error {
	if e.Err != nil {
		m.guest.driver.Post(e)
		return nil
	}
	if err := errors.Join(m.prepare(e.Identity), m.save(e.Identity)); err != nil {
		return err
	}
	if !e.Identity.Manager {
		if err := m.clear(); err != nil {
			return err
		}
	}
	m.guest.driver.Post(e)
	if !e.Identity.Manager {
		return nil
	}
	return m.open(e.Identity)
}

// prepare makes the empty log of a manager that joins.
func (m *membership) prepare(id engine.Identity) error {
	if !id.Manager {
		return nil
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	err = storage.Clear() // of an earlier time as a manager
	if err == nil {
		err = consensus.Prepare(m.config(id, storage))
	}
	return errors.Join(err, storage.Close())
}

// leave forgets the identity and the log.
func (m *membership) leave() error {
	if err := errors.Join(m.save(engine.Identity{}), m.clear()); err != nil {
		return err
	}
	m.guest.driver.Post(engine.Left{})
	return nil
}

// clear closes the log and empties its place.
func (m *membership) clear() error {
	m.mu.Lock()
	log, storage, frames := m.current, m.storage, m.frames
	m.current, m.storage, m.frames = nil, nil, nil
	m.mu.Unlock()
	if log != nil {
		if err := errors.Join(log.Close(), storage.Close(), frames.Close()); err != nil {
			return fmt.Errorf("close the log: %w", err)
		}
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	return errors.Join(storage.Clear(), storage.Close())
}
