package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a node's credentials, as Docker names them.
const (
	certFile        = "swarm-node.crt"
	keyFile         = "swarm-node.key"
	rootFile        = "swarm-root-ca.crt"
	temporarySuffix = ".tmp"
)

// Load returns the credentials that are kept in dir, and their lock; nil if there
// are none. [ErrLocked] says that it takes an unlock key, [ErrUnlockKey] that it
// takes another.
func Load(dir string, unlock []byte) (*Credentials, Lock, error) {
	var texts [3][]byte
	for i, name := range []string{certFile, keyFile, rootFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, Lock{}, nil
		}
		if err != nil {
			return nil, Lock{}, fmt.Errorf("read the node's certificate: %w", err)
		}
		texts[i] = text
	}
	key, lock, err := decodeKeyFile(texts[1], unlock)
	var c *Credentials
	if err == nil {
		c, err = NewCredentials(texts[0], key, texts[2])
	}
	switch {
	case errors.Is(err, ErrLocked), errors.Is(err, ErrUnlockKey):
		return nil, Lock{}, err
	case err != nil:
		return nil, Lock{}, fmt.Errorf("%s: %w; this node must leave the swarm and join again", dir, err)
	}
	return c, lock, nil
}

// Save keeps the credentials in dir, durably, with a lock. The certificate comes
// last: what a crash leaves is the old credentials, none, or the new ones, since a
// node's key stays the same for as long as it is a member.
func (c *Credentials) Save(dir string, l Lock) error {
	key, err := encodeKeyFile(c.Key, l)
	if err != nil {
		return fmt.Errorf("save the node's certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save the node's certificate: %w", err)
	}
	for _, file := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{keyFile, key, 0o600}, {rootFile, c.Root, 0o644}, {certFile, c.Cert, 0o644}} {
		if err := replace(filepath.Join(dir, file.name), file.text, file.mode); err != nil {
			return fmt.Errorf("save the node's certificate: %w", err)
		}
	}
	return nil
}

// SaveLock changes the lock of the credentials in dir, and nothing else of them.
func (c *Credentials) SaveLock(dir string, l Lock) error {
	key, err := encodeKeyFile(c.Key, l)
	if err == nil {
		err = replace(filepath.Join(dir, keyFile), key, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save the node's key: %w", err)
	}
	return nil
}

// Remove makes dir one without credentials, durably: the certificate goes first.
func Remove(dir string) error {
	for _, name := range []string{certFile, keyFile, rootFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the node's certificate: %w", err)
		}
	}
	if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the node's certificate: %w", err)
	}
	return nil
}

// replace makes text the whole of a file: after a crash it is as it was or as it
// is to be.
func replace(name string, text []byte, mode os.FileMode) error {
	temporary := name + temporarySuffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
