package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var when = time.Date(2026, 11, 23, 14, 45, 28, 0, time.UTC) //nolint:gochecknoglobals // a time cannot be a constant

// certified is a node of a swarm whose root is given.
func certified(t *testing.T, r root, s Subject, expiry time.Duration, now time.Time) *Credentials {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := Sign(request, s, expiry, r.cert, r.key, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(cert, key, r.cert)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func aRoot(t *testing.T) root {
	t.Helper()
	r, err := newRoot(when)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A node's certificate says what Docker's says, in the same places.
func TestNodeCertificate(t *testing.T) {
	r := aRoot(t)
	for _, c := range []struct {
		manager bool
		unit    string
		names   []string
	}{{true, "swarm-manager", []string{"swarm-manager", "n1", "swarm-ca"}}, {false, "swarm-worker", []string{"swarm-worker", "n1"}}} {
		made := certified(t, r, Subject{"n1", "c1", c.manager, 0}, 0, when)
		cert := parse(t, made.Cert)
		if got, want := cert.Subject.String(), "CN=n1,OU="+c.unit+",O=c1"; got != want {
			t.Errorf("subject %s, want %s", got, want)
		}
		if !bytes.Equal([]byte(strings.Join(cert.DNSNames, " ")), []byte(strings.Join(c.names, " "))) || cert.IsCA {
			t.Errorf("names %v, CA %v", cert.DNSNames, cert.IsCA)
		}
		if !cert.NotAfter.Equal(when.Add(90*24*time.Hour)) || !cert.NotBefore.Equal(when.Add(-time.Hour)) {
			t.Errorf("good from %v to %v", cert.NotBefore, cert.NotAfter)
		}
		if made.Subject != (Subject{"n1", "c1", c.manager, 0}) {
			t.Errorf("read as %+v", made.Subject)
		}
	}
}

// Nodes believe those of their own swarm, while their certificates are good, and
// nobody else.
func TestVerify(t *testing.T) {
	ours, others := aRoot(t), aRoot(t)
	self := certified(t, ours, Subject{"n1", "c1", true, 0}, 0, when)
	for _, c := range []struct {
		name string
		from *Credentials
		at   time.Time
		want string
	}{
		{"a worker", certified(t, ours, Subject{"n2", "c1", false, 0}, 0, when), when, ""},
		{"another authority's", certified(t, others, Subject{"n2", "c1", true, 0}, 0, when), when, "unknown authority"},
		{"of another swarm by the same authority", certified(t, ours, Subject{"n2", "c2", true, 0}, 0, when), when, `of swarm "c2"`},
		{"expired", certified(t, ours, Subject{"n2", "c1", true, 0}, time.Hour, when), when.Add(2 * time.Hour), "expired"},
		{"not yet good", certified(t, ours, Subject{"n2", "c1", true, 0}, 0, when.Add(3*time.Hour)), when, "not yet valid"},
	} {
		subject, err := self.Verify([]*x509.Certificate{c.from.TLS.Leaf}, c.at)
		switch {
		case c.want == "" && (err != nil || subject != c.from.Subject):
			t.Errorf("%s: %v %v", c.name, subject, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	// The root itself is no node, nor is nobody.
	if _, err := self.Verify([]*x509.Certificate{parse(t, ours.cert)}, when); err == nil {
		t.Error("the root is taken for a node")
	}
	if _, err := self.Verify(nil, when); err == nil {
		t.Error("nobody is taken for a node")
	}
}

// Who joins believes a manager behind the root that the token names.
func TestVerifyServer(t *testing.T) {
	ours, others := aRoot(t), aRoot(t)
	chain := func(c *Credentials) []*x509.Certificate {
		return []*x509.Certificate{c.TLS.Leaf, parse(t, c.Root)}
	}
	manager := certified(t, ours, Subject{"n1", "c1", true, 0}, 0, when)
	if err := VerifyServer(Digest(ours.cert), chain(manager), when); err != nil {
		t.Error(err)
	}
	var wrong *FingerprintError
	if err := VerifyServer(Digest(others.cert), chain(manager), when); !errors.As(err, &wrong) {
		t.Errorf("another root's digest: %v", err)
	}
	// The text is what docker said to the token of its captured session.
	wrong = &FingerprintError{fingerprint(dockerDigest)}
	if got, want := wrong.Error(), "remote CA does not match fingerprint. Expected: 6fdfc6d81a8946f84e682db90cb4f69ce2500d4fee01b503ad5cf9a852a0c278"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := VerifyServer(Digest(ours.cert), chain(certified(t, ours, Subject{"n2", "c1", false, 0}, 0, when)), when); err == nil {
		t.Error("a worker is believed to be a manager")
	}
	// A chain that ends with the right root, which has not signed it.
	forged := certified(t, others, Subject{"n1", "c1", true, 0}, 0, when)
	if err := VerifyServer(Digest(ours.cert), []*x509.Certificate{forged.TLS.Leaf, parse(t, ours.cert)}, when); err == nil {
		t.Error("a chain that the root has not signed is believed")
	}
	if err := VerifyServer(Digest(ours.cert), chain(manager)[:1], when); err == nil {
		t.Error("a chain without a root is believed")
	}
}

// Requests that are none, or of others' keys, are refused.
func TestSignRefuses(t *testing.T) {
	r := aRoot(t)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	good, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := NewRequest(good)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	for name, text := range map[string][]byte{
		"nothing": nil, "words": []byte("words"), "a certificate": r.cert, "much": make([]byte, pemBytesMax+1),
		"a key of another kind": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		"a wrong signature":     pem.EncodeToMemory(block),
	} {
		if _, err := Sign(text, Subject{Node: "n"}, 0, r.cert, r.key, when); err == nil {
			t.Errorf("%s is signed", name)
		}
		if _, err := KeyDigest(text); err == nil {
			t.Errorf("%s has a digest", name)
		}
	}
}

// Credentials are the same after a restart; a renewal replaces the certificate and
// keeps the key; what does not belong together is refused.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	if c, _, err := Load(dir, nil); c != nil || err != nil {
		t.Fatalf("%v %v", c, err)
	}
	r := aRoot(t)
	first := certified(t, r, Subject{"n1", "c1", false, 0}, 0, when)
	if err := first.Save(dir, Lock{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "swarm-node.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info, err)
	}
	request, err := NewRequest(first.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := Sign(request, Subject{"n1", "c1", true, 0}, 0, r.cert, r.key, when.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewCredentials(cert, first.Key, r.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Save(dir, Lock{}); err != nil {
		t.Fatal(err)
	}
	got, _, err := Load(dir, nil)
	if err != nil || !got.Manager || !bytes.Equal(got.Key, first.Key) || !bytes.Equal(got.Cert, cert) {
		t.Fatalf("%+v %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "swarm-node.key"), certified(t, r, Subject{"n1", "c1", true, 0}, 0, when).Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("another key is taken: %v", err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if c, _, err := Load(dir, nil); c != nil || err != nil {
		t.Errorf("%v %v", c, err)
	}
}
