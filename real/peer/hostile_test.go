package peer_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/peer"
)

func request(t *testing.T, secret string) peer.Request {
	t.Helper()
	key, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signing, err := ca.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	return peer.Request{Signing: signing, Secret: secret, Addr: "127.0.0.1:1"}
}

func verify(digest string) peer.VerifyServer {
	return func(chain []*x509.Certificate) error { return ca.VerifyServer(digest, chain, time.Now()) }
}

// A host with a token is let in, once however often it asks; a wrong token, one
// that was rotated, and another swarm's are refused in Docker's words.
func TestJoin(t *testing.T) {
	s, other := newSwarm(t), newSwarm(t)
	m := s.node(t, "m", true)
	r := request(t, "secret")
	first, err := peer.Join(t.Context(), m.addr, verify(s.digest), r)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := peer.Join(t.Context(), m.addr, verify(s.digest), r); err != nil || again.Node != first.Node {
		t.Errorf("the same key: %v %v, first %v", again.Node, err, first.Node)
	}
	if next, err := peer.Join(t.Context(), m.addr, verify(s.digest), request(t, "secret")); err != nil || next.Node == first.Node {
		t.Errorf("another key: %v %v", next.Node, err)
	}
	s.mu.Lock()
	s.secret = "rotated"
	s.mu.Unlock()
	for name, c := range map[string]struct{ digest, secret, want string }{
		"rotated":       {s.digest, "secret", "A valid join token is necessary to join this cluster"},
		"wrong":         {s.digest, "guess", "A valid join token is necessary to join this cluster"},
		"another swarm": {other.digest, "rotated", "remote CA does not match fingerprint. Expected: "},
	} {
		if _, err := peer.Join(t.Context(), m.addr, verify(c.digest), request(t, c.secret)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := gone.Addr().String()
	_ = gone.Close()
	want := fmt.Sprintf(`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp %s: connect: connection refused"`, addr)
	if _, err := peer.Join(t.Context(), addr, verify(s.digest), request(t, "rotated")); err == nil || err.Error() != want {
		t.Errorf("nobody there: %v", err)
	}
	for _, secret := range []string{"guess", "rotated"} {
		if m.log.has(secret) {
			t.Errorf("the log has the secret %q", secret)
		}
	}
}

// A certificate is renewed for the node that the connection is of, whatever is
// asked for.
func TestRenew(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	got, err := w.Renew(t.Context(), wire.Manager{ID: "m", Addr: m.addr}, request(t, ""))
	if err != nil || got.Node != "w" {
		t.Errorf("%v %v", got.Node, err)
	}
	if _, err := w.Renew(t.Context(), wire.Manager{ID: "m2", Addr: m.addr}, request(t, "")); err == nil {
		t.Error("another manager has answered")
	}
}

// dial is a connection of somebody who chooses everything; nil certificate is none.
func dial(t *testing.T, addr, protocol string, version uint16, c *ca.Credentials) (*tls.Conn, error) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} //nolint:gosec // it is the attacker's
	if protocol != "" {
		config.NextProtos = []string{protocol}
	}
	if c != nil {
		config.Certificates = []tls.Certificate{c.TLS}
	}
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, nil
}

// closedSoon says whether the other side closes without having said a word.
func closedSoon(t *testing.T, conn net.Conn) error {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("it is kept open: %w", err)
	}
	return nil
}

// Whoever does not belong to the swarm gets nowhere.
func TestStrangers(t *testing.T) {
	s, other := newSwarm(t), newSwarm(t)
	m := s.node(t, "m", true)
	now := time.Now()
	good := s.credentials(t, "w", false, 0, now)
	for name, c := range map[string]struct {
		protocol string
		version  uint16
		shown    *ca.Credentials
	}{
		"no certificate":          {"swarmd-control/1", tls.VersionTLS13, nil},
		"no certificate, renew":   {"swarmd-renew/1", tls.VersionTLS13, nil},
		"another swarm's":         {"swarmd-control/1", tls.VersionTLS13, other.credentials(t, "w", true, 0, now)},
		"expired":                 {"swarmd-control/1", tls.VersionTLS13, s.credentials(t, "w", false, 119*time.Minute, now.Add(-2*time.Hour))},
		"a worker, for the log":   {"swarmd-raft/1", tls.VersionTLS13, good},
		"TLS 1.2":                 {"swarmd-control/1", tls.VersionTLS12, good},
		"TLS 1.2, join":           {"swarmd-join/1", tls.VersionTLS12, nil},
		"another protocol":        {"h2", tls.VersionTLS13, good},
		"no protocol":             {"", tls.VersionTLS13, good},
		"a stream nobody expects": {"swarmd-stream/1", tls.VersionTLS13, good},
	} {
		conn, err := dial(t, m.addr, c.protocol, c.version, c.shown)
		if err != nil {
			continue
		}
		if name == "a stream nobody expects" {
			_, _ = conn.Write(append([]byte{0, 0, 0, 17, 5}, make([]byte, 16)...))
		}
		if err := closedSoon(t, conn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := s.start(t, good)
	w.reach(m) // and the others are served
}

// Garbage ends the connection it came on, and nothing else.
func TestGarbage(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	w.reach(m)
	for name, text := range map[string]string{
		"HTTP": "GET / HTTP/1.1\r\n\r\n", "zeros": strings.Repeat("\x00", 1000), "a TLS record too long": "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000),
	} {
		conn, err := net.Dial("tcp", m.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close()
	}
	for name, frame := range map[string]string{
		"no length": "\x00\x00\x00\x00\x01", "too long": "\xff\xff\xff\xff\x02", "an unknown kind": "\x00\x00\x00\x01\x7f",
		"no message": "\x00\x00\x00\x02\x02\xee", "a call of a worker's": "\x00\x00\x00\x02\x03x", "a refusal of nothing": "\x00\x00\x00\x02\x06x",
	} {
		conn, err := dial(t, m.addr, "swarmd-control/1", tls.VersionTLS13, s.credentials(t, "x", false, 0, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, frame)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	conn, err := dial(t, m.addr, "swarmd-join/1", tls.VersionTLS13, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "\x00\x00\x00\x03\x07{]")
	if err := closedSoon(t, conn); err != nil {
		t.Errorf("a request that is none: %v", err)
	}
	w.Send("m", wire.Quit{Session: 7})
	m.expect(t, "w: {Session:7}")
}

// Connections that say nothing, in number, do not keep a node of the swarm out:
// from one address there are only so many, and each only for so long.
func TestHalfOpen(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	w.reach(m)
	for range 300 {
		conn, err := net.DialTimeout("tcp", m.addr, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	m.log.await("too many connections have not said who they are")
	w.Send("m", wire.Quit{Session: 8}) // links go on
	m.expect(t, "w: {Session:8}")
	// From the same address one gets in when the first have been given up.
	late := s.node(t, "late", false)
	late.reach(m)
}

// An expired certificate ends links, not only handshakes.
func TestExpiry(t *testing.T) {
	s := newSwarm(t)
	m := s.node(t, "m", true)
	w := s.start(t, s.credentials(t, "w", false, time.Hour, time.Now().Add(-time.Hour+2*time.Second)))
	w.reach(m)
	m.log.await("the certificate of node w has expired")
	m.Send("w", wire.Bye{})
	if m.Linked("w") {
		t.Error("a node with an expired certificate is linked")
	}
}

// A manager whose answer cannot be made says so; the caller does not wait for ever.
func TestCallRefused(t *testing.T) {
	s := newSwarm(t)
	m1, m2 := s.node(t, "m1", true), s.node(t, "m2", true)
	m1.reach(m2)
	if _, err := m1.Call(t.Context(), "m2", control.ServiceCreate{RegistryAuth: strings.Repeat("x", control.CallBytesMax)}); err == nil {
		t.Error("a call that is too large was made")
	}
}
