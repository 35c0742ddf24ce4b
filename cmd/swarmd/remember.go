package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/ca"
)

// What is remembered is in this file, in the swarm's directory.
const (
	rememberedFile     = "managers.json"
	rememberedBytesMax = 1 << 20
)

// Remembered is what a node knows, across restarts, of how to find the others. It
// is no great loss: a manager finds the rest in its log.
type remembered struct {
	Listen   string         // where this node serves the swarm's port as a manager
	Managers []wire.Manager // those that there were
}

func loadRemembered(dir string) (remembered, error) {
	name := filepath.Join(dir, rememberedFile)
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return remembered{}, nil
	case err != nil:
		return remembered{}, err
	case len(data) > rememberedBytesMax:
		return remembered{}, fmt.Errorf("%s has more than %d bytes: it is none of swarmd's; remove it", name, rememberedBytesMax)
	}
	var r remembered
	if err := json.Unmarshal(data, &r); err != nil {
		return remembered{}, fmt.Errorf("%s cannot be read: %w; a manager can do without it, a worker must join again", name, err)
	}
	return r, nil
}

func (r remembered) save(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, rememberedFile)
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

func removeRemembered(dir string) error {
	if err := os.Remove(filepath.Join(dir, rememberedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keepRemembered saves what is to be remembered, the latest only.
func (p *peers) keepRemembered() {
	for {
		select {
		case <-p.unsaved:
		case <-p.ctx.Done():
			return
		}
		err := p.saveRemembered()
		if err != nil {
			p.log.Error("the managers could not be remembered", "error", err)
		}
	}
}

// saveRemembered saves what is remembered now, and takes it back if the node has
// left its swarm meanwhile.
func (p *peers) saveRemembered() error {
	p.mu.Lock()
	known, member := p.remembered, p.identity.Node != ""
	p.mu.Unlock()
	if !member {
		return nil
	}
	err := known.save(p.dir)
	if id, _ := p.current(); id.Node == "" {
		err = errors.Join(err, removeRemembered(p.dir))
	}
	return err
}

// keepCertificate renews the node's certificate when a good part of its life has
// passed. Connections that there are go on with the old one.
func (p *peers) keepCertificate() {
	timer := time.NewTimer(recheckPeriod)
	defer timer.Stop()
	part := rand.Float64()
	for {
		wait := recheckPeriod
		switch id, c := p.current(); {
		case id.Node == "":
		case c == nil: // a swarm of an older build
			wait = listenPeriod
		default:
			wait = min(recheckPeriod, max(0, time.Until(c.RenewAt(part))))
		}
		timer.Reset(wait)
		select {
		case <-p.renewed:
			continue
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
		id, c := p.current()
		if id.Node == "" || c != nil && time.Now().Before(c.RenewAt(part)) {
			continue
		}
		if err := p.renew(); err != nil {
			p.log.Warn("the node's certificate could not be renewed; it is tried again", "error", err)
			select {
			case <-time.After(renewRetry):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		part = rand.Float64()
	}
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
	p.log.Info("the node's certificate was renewed", "until", c.NotAfter)
	return nil
}

// keep saves a certificate and uses it from now on, unless the node has left the
// swarm meanwhile.
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
