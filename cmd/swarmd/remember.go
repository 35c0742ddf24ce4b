package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
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
	// Keys are the SHA-256 of the managers' public keys.
	Keys map[state.NodeID][]byte `json:",omitempty"`
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
