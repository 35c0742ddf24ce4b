package main

import (
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine"
	members "github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/peer"
)

// verify says whom a chain is for.
//
// Who asks for another certificate may show one that has expired, or is of a root
// that is no more: that it has the key which the swarm knows as the node's is what
// counts, and the leader looks at that. Managers that were all off for longer than
// their certificates lived know each other by their keys too, for the log alone:
// without it there is nobody to renew anything.
func (p *peers) verify(chain []*x509.Certificate, purpose peer.Purpose) (peer.Party, error) {
	_, c := p.current()
	if c == nil {
		return peer.Party{}, errors.New("this node has no certificate of a swarm")
	}
	subject, digest, err := ca.Claimed(chain)
	if err != nil {
		return peer.Party{}, err
	}
	_, good := c.Verify(chain, time.Now())
	if good != nil {
		switch purpose {
		case peer.ForRenewal:
			if !p.lenient(subject, digest) {
				return peer.Party{}, good
			}
		case peer.ForLog:
			_, err := c.VerifyExpired(chain, time.Now())
			if err != nil || !p.isPinned(subject.Node, digest) {
				return peer.Party{}, good
			}
		case peer.ForLink:
			return peer.Party{}, good
		}
	}
	return peer.Party{
		Bearer:  members.Bearer{Node: subject.Node, Manager: subject.Manager, Key: digest, Version: subject.Version},
		Cluster: subject.Cluster, Expires: chain[0].NotAfter,
	}, nil
}

// lenient reports whether a node that shows a certificate which is not good may ask
// for another: it must have the key that this manager knows as the node's.
func (p *peers) lenient(subject ca.Subject, digest []byte) bool {
	id, _ := p.current()
	p.trusting.RLock()
	defer p.trusting.RUnlock()
	return id.Manager && subject.Cluster == id.Cluster && p.roster.Knows(subject.Node, digest)
}

// judge says what who has shown a certificate may do by now.
func (p *peers) judge(b members.Bearer) members.Verdict {
	p.trusting.RLock()
	defer p.trusting.RUnlock()
	return p.roster.Judge(b)
}

// Trust takes in whom certificates are worth what they say.
func (p *peers) Trust(change members.RosterChange) {
	p.trusting.Lock()
	p.roster.Apply(change)
	known := change.Known
	pinned := p.roster.Managers()
	p.trusting.Unlock()
	select {
	case p.recheck <- struct{}{}:
	default: // it is to be done already
	}
	if known && !maps.EqualFunc(pinned, p.pins(), slices.Equal) {
		p.pin(pinned)
		p.mu.Lock()
		p.remembered.Keys = pinned
		p.mu.Unlock()
		select {
		case p.unsaved <- struct{}{}:
		default: // it is to be saved already
		}
	}
}

func (p *peers) pin(keys map[state.NodeID][]byte) {
	p.trusting.Lock()
	defer p.trusting.Unlock()
	p.pinned = keys
}

func (p *peers) pins() map[state.NodeID][]byte {
	p.trusting.RLock()
	defer p.trusting.RUnlock()
	return p.pinned
}

func (p *peers) isPinned(node state.NodeID, digest []byte) bool {
	key := p.pins()[node]
	return len(key) > 0 && slices.Equal(key, digest)
}

// keepChecked ends the connections of those who may do less by now.
func (p *peers) keepChecked() {
	for {
		select {
		case <-p.recheck:
			p.Recheck()
		case <-p.ctx.Done():
			return
		}
	}
}

// Renew gets this node another certificate, in the role that it has.
func (p *peers) Renew() {
	p.work.Go(func() {
		err := p.renew()
		if err != nil {
			p.log.Warn("the node's certificate could not be renewed; it is tried again", "error", err)
		}
		p.driver.Post(engine.Renewed{Err: err})
	})
}

// renew gets a certificate in the role that the node has. One in another role is
// for whoever changes the role.
func (p *peers) renew() error {
	p.obtains.Lock()
	defer p.obtains.Unlock()
	c, err := p.obtain(p.ctx)
	if err != nil {
		return err
	}
	id, _ := p.current()
	if c.Node != id.Node || c.Manager != id.Manager {
		return errors.New("the swarm has another role for this node, which it has not taken on yet")
	}
	if err := p.keep(id, c.Credentials); err != nil {
		return err
	}
	p.log.Info("the node's certificate was renewed", "until", c.NotAfter, "version", c.Version)
	return nil
}

// keep saves a certificate and uses it from now on, unless the node has left the
// swarm meanwhile. Connections that there are go on with the old one.
func (p *peers) keep(id engine.Identity, c *ca.Credentials) error {
	p.saves.Lock()
	defer p.saves.Unlock()
	lock := p.locked()
	if err := c.Save(p.certificates(), lock); err != nil {
		return err
	}
	if now, _ := p.current(); now.Node != id.Node {
		return errors.Join(errors.New("the node has left the swarm"), ca.Remove(p.certificates()))
	}
	p.install(id, c, lock)
	return nil
}
