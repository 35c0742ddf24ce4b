package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/consensus"
	"github.com/swarmd/swarmd/real/disk"
)

// ordersMax is how many orders about membership may wait; the engine has one out
// at a time.
const ordersMax = 16

// A membership is what makes this host a member of a swarm, on disk and running:
// its identity, its certificate, and as a manager its log. The identity is written
// last and removed first, so that whoever has one has the rest.
//
// Orders are carried out one after another on a goroutine of their own: closing
// a log waits for the engine to take what the log still has to say.
type membership struct {
	dir    string
	config consensus.Config // without what depends on the identity
	log    *slog.Logger
	peers  *peers
	orders chan func() error
	work   sync.WaitGroup
	ctx    context.Context //nolint:containedctx // of start: orders are given up when it ends

	mu        sync.Mutex
	current   *consensus.Log
	storage   *disk.Storage
	transport *consensus.Transport
	wish      *wish // of the API call that founds or joins a swarm now
}

func newMembership(dir string, config consensus.Config, p *peers) *membership {
	return &membership{dir: dir, config: config, log: config.Logger, peers: p, orders: make(chan func() error, ordersMax)}
}

// identity returns the identity on disk, the zero one if there is none.
func (m *membership) identity() (engine.Identity, error) {
	id, err := disk.LoadIdentity(disk.OS{}, m.dir)
	return engine.Identity(id), err
}

// move has a member be reached at other addresses from now on, durably.
func (m *membership) move(id, moved engine.Identity) (engine.Identity, error) {
	if id.Node == "" || id == moved {
		return id, nil
	}
	m.log.Info("this node is reached at another address than before", "before", id.Addr, "addr", moved.Addr, "data path", moved.DataPath)
	return moved, disk.SaveIdentity(disk.OS{}, m.dir, disk.Identity(moved))
}

// open runs the log of the identity on disk, if it is a manager's.
func (m *membership) open(id engine.Identity) error {
	if !id.Manager {
		return nil
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	return m.run(id, storage)
}

// start carries out orders until ctx ends, and then closes the log.
func (m *membership) start(ctx context.Context) {
	m.ctx = ctx
	m.work.Go(func() {
		for {
			select {
			case order := <-m.orders:
				if err := order(); err != nil {
					m.config.Fatal(err)
				}
			case <-ctx.Done():
				if err := m.close(); err != nil {
					m.log.Error("the log could not be closed", "error", err)
				}
				return
			}
		}
	})
}

// wait returns once the log is closed.
func (m *membership) wait() { m.work.Wait() }

// Bootstrap makes the log of a new swarm and runs it.
func (m *membership) Bootstrap(f engine.Bootstrap) {
	m.orders <- func() error {
		id, wish := f.Identity, m.takeWish()
		credentials, err := found(f, wish.expiry)
		if err != nil {
			return err
		}
		data, err := ca.NewDataKey()
		if err != nil {
			return err
		}
		lock := ca.Lock{Data: data}
		if err := credentials.Save(m.peers.certificates(), lock); err != nil {
			return err
		}
		storage, err := m.openStorage()
		if err != nil {
			return err
		}
		if err := storage.Clear(); err != nil { // of a founding that was cut short
			return err
		}
		config, err := m.configOf(id, storage, lock)
		if err != nil {
			return err
		}
		if err := consensus.Bootstrap(config); err != nil {
			return err
		}
		if err := disk.SaveIdentity(disk.OS{}, m.dir, disk.Identity(id)); err != nil {
			return err
		}
		m.become(id, credentials, lock, wish)
		return m.run(id, storage)
	}
}

// Leave forgets the log, the certificate and the identity.
func (m *membership) Leave() {
	m.orders <- func() error {
		if err := disk.RemoveIdentity(disk.OS{}, m.dir); err != nil {
			return err
		}
		if err := m.clear(); err != nil {
			return err
		}
		if err := m.peers.forget(); err != nil {
			return err
		}
		m.config.Post(engine.Left{})
		return nil
	}
}

// Propose hands an entry to the log. Without one it is lost, and the engine has
// been, or is about to be, told that it does not lead.
func (m *membership) Propose(e state.Entry) {
	if log := m.running(); log != nil {
		log.Propose(e)
	}
}

// Verify asks the log whether this node leads.
func (m *membership) Verify(id engine.VerifyID) {
	if log := m.running(); log != nil {
		log.Verify(id)
	}
}

// ChangeVoter asks the log to change its configuration.
func (m *membership) ChangeVoter(f engine.ChangeVoter) {
	if log := m.running(); log != nil {
		log.ChangeVoter(f.Change)
	}
}

// Refound makes the log one whose only voter is this node, and runs it again.
func (m *membership) Refound(f engine.Refound) {
	m.orders <- func() error {
		id, _ := m.peers.current()
		if err := m.close(); err != nil {
			return err
		}
		err := m.recover(id)
		if err == nil && f.Addr != "" {
			id.Addr = f.Addr
			err = disk.SaveIdentity(disk.OS{}, m.dir, disk.Identity(id))
		}
		if err == nil {
			m.peers.moved(id)
			m.log.Warn("the swarm goes on with this node for its only manager", "addr", id.Addr)
		}
		m.config.Post(engine.Refounded{Identity: id, Err: err})
		return m.open(id)
	}
}

// recover rewrites the log, which does not run.
func (m *membership) recover(id engine.Identity) error {
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	config, err := m.configOf(id, storage, m.peers.locked())
	if err == nil {
		err = consensus.Recover(config)
	}
	return errors.Join(err, storage.Close())
}

func (m *membership) running() *consensus.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

func (m *membership) openStorage() (*disk.Storage, error) {
	return disk.OpenStorage(disk.OS{}, filepath.Join(m.dir, "raft"), disk.StorageOptions{})
}

// configOf is what a log runs on: a storage, of which everything is encrypted with
// the key in the node's key file.
func (m *membership) configOf(id engine.Identity, storage *disk.Storage, l ca.Lock) (consensus.Config, error) {
	config := m.config
	if l.Data == nil {
		return config, fmt.Errorf("%s has no key of the raft data: it was written by an older swarmd; this node must leave the swarm and join again", m.peers.certificates())
	}
	sealed, err := storage.Seal(l.Data)
	if err != nil {
		return config, err
	}
	config.Node = id.Node
	config.Records, config.Values, config.Snapshots = sealed.Log, sealed.Stable, sealed.Snapshots
	return config, nil
}

func (m *membership) run(id engine.Identity, storage *disk.Storage) error {
	config, err := m.configOf(id, storage, m.peers.locked())
	if err != nil {
		return errors.Join(err, storage.Close())
	}
	transport := consensus.NewTransport(m.peers.Raft(), m.log)
	config.Transport, config.Address = transport, m.peers.Address
	log, err := consensus.New(config)
	if err != nil {
		return errors.Join(err, storage.Close(), transport.Close())
	}
	// A lone voter leads at once: what the engine asks then is for this log.
	m.hold(log, storage, transport)
	if err := log.Start(); err != nil {
		m.hold(nil, nil, nil)
		return errors.Join(err, storage.Close(), transport.Close())
	}
	return nil
}

// hold makes a log the one that orders go to.
func (m *membership) hold(log *consensus.Log, storage *disk.Storage, transport *consensus.Transport) {
	m.mu.Lock()
	m.current, m.storage, m.transport = log, storage, transport
	m.mu.Unlock()
}

// clear closes the log and empties its place.
func (m *membership) clear() error {
	if err := m.close(); err != nil {
		return err
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	return errors.Join(storage.Clear(), storage.Close())
}

func (m *membership) close() error {
	m.mu.Lock()
	log, storage, transport := m.current, m.storage, m.transport
	m.current, m.storage, m.transport = nil, nil, nil
	m.mu.Unlock()
	if log == nil {
		return nil
	}
	if err := errors.Join(log.Close(), storage.Close(), transport.Close()); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}
