package ca

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A key file that dockerd 28.2.2 wrote under the unlock key beside it.
const (
	dockerKeyFile = `-----BEGIN ENCRYPTED PRIVATE KEY-----
kek-version: 29
raft-dek: CAESMD1LckPhmsfNOHaa1SSz7XWXsDQoqZwKGEi3AjLJpKMhGNaece2f1DC/JQUjfH6xGhoYU4Ah5oTU8wRepk9MessQZjxR83SFW9GI

MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAhxTIcMC+1AJQICCAAw
HQYJYIZIAWUDBAEqBBCfkNfdRFZIb6gf0HdG8ODQBIGQL4IMS8r64x31WKB/8fZF
AT4gyD01D13Hn6mhsK09Pu/XyFDguBfWbgcqz4Jz2jJGitTq8nAkYVJXGq8p8umG
UI+8IONBM9rfiODlp2B8B+qzvhQfJYZIwPwE7Zz/iB5hKpG5z/8+17nPSmY/vkyi
RcAhpOM4Rh20vCDYVMaqIONUQf8SjWII29Jei81Q0FW2
-----END ENCRYPTED PRIVATE KEY-----
`
	dockerUnlockKey = "7e5d5d5c34e6d0607794feb569c40b2df1f328d06f8535b0f767dc9ca91d8113"
)

// The key that docker has encrypted is read; the key of docker's raft data is
// encrypted in a way that is docker's.
func TestDockersKeyFile(t *testing.T) {
	unlock, err := hex.DecodeString(dockerUnlockKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := decodeKeyFile([]byte(dockerKeyFile), unlock); err == nil || !strings.Contains(err.Error(), "in a way (1) that is not known") {
		t.Errorf("docker's: %v", err)
	}
	before, rest, _ := strings.Cut(dockerKeyFile, "raft-dek")
	_, after, _ := strings.Cut(rest, "\n")
	key, lock, err := decodeKeyFile([]byte(before+after), unlock)
	if err != nil || lock.Version != 29 || lock.Data != nil || !bytes.Contains(key, []byte("BEGIN PRIVATE KEY")) {
		t.Errorf("without the key of raft data: %s %+v %v", key, lock, err)
	}
}

// A key file is locked, cannot be read without its key, nor with another, and is
// read with it; changed to another key, the old one opens nothing.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	c := certified(t, aRoot(t), Subject{"n1", "c1", true, 0}, 0, time.Now())
	data, err := NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	open, one, two := Lock{Data: data}, Lock{data, bytes.Repeat([]byte{1}, 32), 5}, Lock{data, bytes.Repeat([]byte{2}, 32), 6}
	if err := c.Save(dir, open); err != nil {
		t.Fatal(err)
	}
	if err := c.SaveLock(dir, one); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil || bytes.Contains(text, data) {
		t.Fatalf("%s %v", text, err)
	}
	if locked, err := Locked(dir); err != nil || !locked {
		t.Errorf("locked: %v, %v", locked, err)
	}
	for name, try := range map[string]struct {
		unlock []byte
		want   error
	}{"no key": {nil, ErrLocked}, "another": {two.Unlock, ErrUnlockKey}, "a short one": {[]byte{1}, ErrUnlockKey}} {
		if _, _, err := Load(dir, try.unlock); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
	}
	got, lock, err := Load(dir, one.Unlock)
	if err != nil || !bytes.Equal(lock.Data, data) || lock.Version != 5 || !bytes.Equal(got.Key, c.Key) {
		t.Fatalf("%+v %v", lock, err)
	}
	if err := got.SaveLock(dir, two); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir, one.Unlock); !errors.Is(err, ErrUnlockKey) {
		t.Errorf("the old key: %v", err)
	}
	if _, lock, err := Load(dir, two.Unlock); err != nil || lock.Version != 6 || !bytes.Equal(lock.Data, data) {
		t.Errorf("%+v %v", lock, err)
	}
	if err := got.SaveLock(dir, Lock{Data: data, Version: 7}); err != nil {
		t.Fatal(err)
	}
	if _, lock, err := Load(dir, nil); err != nil || lock.Version != 7 || lock.Unlock != nil {
		t.Errorf("open again: %+v %v", lock, err)
	}
}

// Any wrong key is found to be wrong, however often its padding is right by chance.
func TestWrongKeys(t *testing.T) {
	c := certified(t, aRoot(t), Subject{"n1", "c1", true, 0}, 0, time.Now())
	text, err := encodeKeyFile(c.Key, Lock{Unlock: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		wrong := bytes.Repeat([]byte{1}, 32)
		wrong[i%32] ^= byte(i/32 + 1)
		if _, _, err := decodeKeyFile(text, wrong); !errors.Is(err, ErrUnlockKey) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
}

// openssl reads what is written, locked and open.
func TestOpenSSLReads(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	c := certified(t, aRoot(t), Subject{"n1", "c1", true, 0}, 0, time.Now())
	password := bytes.Repeat([]byte("k"), 32) // one that can be typed
	for _, lock := range []Lock{{}, {Unlock: password}} {
		text, err := encodeKeyFile(c.Key, lock)
		if err != nil {
			t.Fatal(err)
		}
		// A PEM's headers are older than PKCS#8: openssl does not expect them.
		var kept []string
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, ": ") && line != "\n" {
				kept = append(kept, line)
			}
		}
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(strings.Join(kept, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(openssl, "pkey", "-in", name, "-noout", "-text", "-passin", "pass:"+string(password)).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("Private-Key: (256 bit)")) {
			t.Errorf("%s %v", out, err)
		}
	}
}

// FuzzKeyFile reads anything without harm.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(dockerKeyFile), []byte("key"))
	f.Fuzz(func(t *testing.T, text, unlock []byte) {
		key, lock, err := decodeKeyFile(text, unlock)
		if err != nil {
			return
		}
		again, err := encodeKeyFile(key, lock)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		key2, lock2, err := decodeKeyFile(again, lock.Unlock)
		if err != nil || !bytes.Equal(key, key2) || !bytes.Equal(lock.Data, lock2.Data) || lock.Version != lock2.Version {
			t.Fatalf("it does not come back: %v", err)
		}
	})
}
