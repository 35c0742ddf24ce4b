package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/consensus"
	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/peer"
)

// How long a change of membership is tried.
const (
	joinPatience = time.Minute      // for managers that have no leader
	joinPause    = time.Second      // between tries
	rolePatience = 20 * time.Second // for a certificate in another role
	rolePause    = time.Second      // after one that failed: the leader asks again
)

// A wish is what an API call that makes this node a member has said beside what
// the engine is told.
type wish struct {
	listen   string
	expiry   time.Duration // of the first certificate
	listener net.Listener  // nil once it is in use
}

// offer takes down what a call wishes, and takes the port: who needs it and cannot
// have it is told so, in Docker's words, before there is a swarm. A member's wishes
// come to nothing, as do those of a second call.
func (m *membership) offer(listen string, expiry time.Duration, needed bool) *control.Failed {
	if id, _ := m.peers.current(); id.Node != "" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wish != nil {
		return nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil && needed {
		return &control.Failed{Kind: control.Internal, Message: fmt.Sprintf("manager stopped: failed to listen on remote API address: %v", err)}
	}
	m.wish = &wish{listen, expiry, listener}
	return nil
}

// withdraw gives back what was offered and not taken.
func (m *membership) withdraw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wish != nil && m.wish.listener != nil {
		_ = m.wish.listener.Close() // nobody has dialled
	}
	m.wish = nil
}

// takeWish is what was wished; the port is then the taker's.
func (m *membership) takeWish() wish {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wish == nil {
		return wish{}
	}
	taken := *m.wish
	m.wish.listener = nil
	return taken
}

// found certifies the first node of a swarm.
func found(f engine.Bootstrap, expiry time.Duration) (*ca.Credentials, error) {
	key := f.NodeKey
	request, err := ca.NewRequest(key)
	if err != nil {
		return nil, err
	}
	subject := ca.Subject{Node: f.Identity.Node, Cluster: f.Identity.Cluster, Manager: true}
	cert, err := ca.Sign(request, subject, expiry, f.RootCert, f.RootKey, time.Now())
	if err != nil {
		return nil, err
	}
	return ca.NewCredentials(cert, key, f.RootCert)
}

// become makes the node one that others know.
func (m *membership) become(id engine.Identity, c *ca.Credentials, l ca.Lock, w wish) {
	p := m.peers
	p.mu.Lock()
	if w.listen != "" {
		p.remembered.Listen = w.listen
	}
	p.mu.Unlock()
	p.install(id, c, l)
	switch {
	case id.Manager:
		p.listen(w.listener)
	case w.listener != nil:
		_ = w.listener.Close() // only managers are dialled
	}
	select {
	case p.unsaved <- struct{}{}:
	default: // it is to be saved already
	}
}

// Join makes this node a member of another's swarm.
func (m *membership) Join(f engine.Join) {
	m.orders <- func() error {
		w := m.takeWish()
		id, joined, err := m.join(f)
		if err != nil {
			if w.listener != nil {
				err = errors.Join(err, w.listener.Close())
			}
			m.log.Warn("this node was not let in", "managers", f.Remotes, "error", err)
			m.config.Post(engine.Joined{Err: err})
			return nil
		}
		m.become(id, joined.credentials, joined.lock, w)
		m.config.Post(engine.Joined{Identity: id, Managers: joined.managers})
		if !id.Manager {
			return nil
		}
		return m.open(id)
	}
}

// A newcomer is what a node has that was let in.
type newcomer struct {
	credentials *ca.Credentials
	lock        ca.Lock
	managers    []wire.Manager
}

// join gets this node certified, and saves what makes it a member.
func (m *membership) join(f engine.Join) (engine.Identity, newcomer, error) {
	none := engine.Identity{}
	token, failed := control.ParseToken(f.Token)
	if failed != nil {
		return none, newcomer{}, errors.New(failed.Message)
	}
	key, err := ca.NewKey()
	if err != nil {
		return none, newcomer{}, err
	}
	signing, err := ca.NewRequest(key)
	if err != nil {
		return none, newcomer{}, err
	}
	given, err := m.ask(f.Remotes, token.Digest, peer.Request{Signing: signing, Secret: token.Secret, Addr: f.Addr, Availability: f.Availability})
	if err != nil {
		return none, newcomer{}, err
	}
	c, err := issued(given, key)
	switch {
	case err != nil:
		return none, newcomer{}, err
	case !ca.HasRoot(given.Root, token.Digest) || c.Node != given.Node || c.Cluster != given.Cluster || c.Manager != given.Manager:
		return none, newcomer{}, errors.New("the manager has answered with a certificate that is not of its swarm")
	}
	id := engine.Identity{Node: c.Node, Cluster: c.Cluster, Addr: f.Addr, DataPath: f.DataPath, Manager: c.Manager}
	lock, err := c.lock()
	if err != nil {
		return none, newcomer{}, err
	}
	if err := c.Save(m.peers.certificates(), lock); err != nil {
		return none, newcomer{}, err
	}
	m.peers.mu.Lock()
	m.peers.remembered.Managers = given.Managers
	known := m.peers.remembered
	m.peers.mu.Unlock()
	if err := known.save(m.peers.dir); err != nil {
		return none, newcomer{}, err
	}
	if err := m.prepare(id, lock); err != nil {
		return none, newcomer{}, err
	}
	return id, newcomer{c.Credentials, lock, given.Managers}, disk.SaveIdentity(disk.OS{}, m.dir, disk.Identity(id))
}

// lock is what a node that has just got its role locks its keys with.
func (i issue) lock() (ca.Lock, error) {
	if !i.Manager {
		return ca.Lock{}, nil
	}
	data, err := ca.NewDataKey()
	return ca.Lock{Data: data, Unlock: i.unlock, Version: i.version}, err
}

// ask asks the managers in turn. What one refuses is refused; who has no leader is
// asked again.
func (m *membership) ask(remotes []string, digest string, r peer.Request) (peer.Certified, error) {
	ctx, cancel := context.WithTimeout(m.ctx, joinPatience)
	defer cancel()
	verify := func(chain []*x509.Certificate) error { return ca.VerifyServer(digest, chain, time.Now()) }
	for {
		var last error
		again := false
		for _, addr := range remotes {
			given, err := peer.Join(ctx, addr, verify, r)
			if err == nil {
				return given, nil
			}
			last = err
			if refused, ok := errors.AsType[*peer.RefusedError](err); ok {
				if refused.Failed.Kind != control.Internal && refused.Failed.Kind != control.Unavailable {
					return given, err
				}
				again = true
			}
		}
		if !again {
			return peer.Certified{}, last
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return peer.Certified{}, last
		}
	}
}

// prepare makes the empty log of a manager that joins.
func (m *membership) prepare(id engine.Identity, l ca.Lock) error {
	if !id.Manager {
		return nil
	}
	storage, err := m.openStorage()
	if err != nil {
		return err
	}
	err = storage.Clear() // of another swarm's, or of an earlier time as a manager
	if err == nil {
		var config consensus.Config
		if config, err = m.configOf(id, storage, l); err == nil {
			err = consensus.Prepare(config)
		}
	}
	return errors.Join(err, storage.Close())
}

// ChangeRole makes this node a manager, or none any more.
func (m *membership) ChangeRole(f engine.ChangeRole) {
	m.orders <- func() error {
		id, _ := m.peers.current()
		c, lock, err := m.certifyAs(f.Manager)
		if err != nil {
			m.log.Warn("the role of this node cannot be changed yet", "manager", f.Manager, "error", err)
			select {
			case <-time.After(rolePause):
			case <-m.ctx.Done():
			}
			m.config.Post(engine.RoleChanged{Identity: id, Err: err})
			return nil
		}
		id.Manager = f.Manager
		if err := m.prepare(id, lock); err != nil {
			return err
		}
		if err := disk.SaveIdentity(disk.OS{}, m.dir, disk.Identity(id)); err != nil {
			return err
		}
		m.become(id, c, lock, wish{})
		if !id.Manager {
			if err := m.clear(); err != nil {
				return err
			}
			if err := m.peers.relock(func(l *ca.Lock) { *l = ca.Lock{} }); err != nil {
				return err
			}
			m.peers.Unserve()
		}
		m.peers.Relink() // others are to see the new role
		m.config.Post(engine.RoleChanged{Identity: id})
		m.log.Info("the role of this node was changed", "manager", id.Manager)
		return m.open(id)
	}
}

// certifyAs gets a certificate in a role, and saves it. The key of the log that a
// manager has goes with the log; till then it is left open.
func (m *membership) certifyAs(manager bool) (*ca.Credentials, ca.Lock, error) {
	m.peers.obtains.Lock()
	defer m.peers.obtains.Unlock()
	ctx, cancel := context.WithTimeout(m.ctx, rolePatience)
	defer cancel()
	c, err := m.peers.obtain(ctx)
	if err != nil {
		return nil, ca.Lock{}, err
	}
	if c.Manager != manager {
		return nil, ca.Lock{}, errors.New("the swarm does not have that role for this node")
	}
	lock, err := c.lock()
	if err != nil {
		return nil, ca.Lock{}, err
	}
	m.peers.saves.Lock()
	defer m.peers.saves.Unlock()
	if !manager {
		lock.Data = m.peers.locked().Data
	}
	return c.Credentials, lock, c.Save(m.peers.certificates(), lock)
}

// Lock encrypts this manager's keys on disk, or leaves them open, as the swarm
// has it by now.
func (m *membership) Lock(f engine.Lock) {
	m.orders <- func() error {
		id, _ := m.peers.current()
		if !id.Manager || f.Version <= m.peers.locked().Version {
			return nil
		}
		m.log.Info("the unlock key was changed", "locked", f.Key != nil, "version", f.Version)
		return m.peers.relock(func(l *ca.Lock) { l.Unlock, l.Version = f.Key, f.Version })
	}
}

// Unlock tries a key on what is on disk, and goes on with it.
func (m *membership) Unlock(f engine.Unlock) {
	m.orders <- func() error {
		id, err := m.identity()
		if err != nil {
			return err
		}
		managers, err := m.peers.start(id, f.Key)
		if errors.Is(err, ca.ErrUnlockKey) {
			m.config.Post(engine.Unlocked{Err: err})
			return nil
		}
		if err != nil {
			return err
		}
		m.config.Post(engine.Unlocked{Managers: managers})
		m.log.Info("this manager was unlocked")
		return m.open(id)
	}
}
