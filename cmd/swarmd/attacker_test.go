package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/real/peer"
)

// refusalMax is how long a manager may take to end a connection that it refuses:
// longer than it waits for what a connection is to say.
const refusalMax = 15 * time.Second

// An attacker is on the network of a swarm, and has what it has come by.
type attacker struct {
	*cluster
	from    *lab.Host // where it dials from
	worker  *ca.Credentials
	expired *ca.Credentials // of a manager
	foreign *ca.Credentials // a manager's of another swarm

	workerToken, managerToken string // that there are no more
	recorded                  []byte // what somebody else has said who joined
}

// dial connects to a manager's port from the attacker's address.
func (x *attacker) dial(addr string) (net.Conn, error) {
	return onNetworkOf(x.from, func() (net.Conn, error) { return net.DialTimeout("tcp", addr+":2377", refusalMax) })
}

// A knock is one connection: what it shows and what it says.
type knock struct {
	raw      func(*attacker) []byte // said without TLS
	protocol string                 // ALPN, "" for none
	version  uint16                 // of TLS; 1.3 if 0
	shows    func(*attacker) *ca.Credentials
	says     func(*attacker) []byte
}

// at knocks at a manager, and returns what it says before it closes the connection.
// An error says that it has not.
func (k knock) at(x *attacker, addr string) (local net.Addr, said []byte, err error) {
	conn, err := x.dial(addr)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(refusalMax)); err != nil {
		return nil, nil, err
	}
	stream := conn
	if k.raw != nil {
		_, _ = conn.Write(k.raw(x)) // whether it has closed already shows below
	} else {
		secure := tls.Client(conn, k.config(x))
		stream = secure
		if secure.Handshake() == nil && k.says != nil {
			_, _ = secure.Write(k.says(x))
		}
	}
	said, err = io.ReadAll(stream)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return nil, nil, fmt.Errorf("after %v the connection is open", refusalMax)
	}
	return conn.LocalAddr(), said, nil
}

func (k knock) config(x *attacker) *tls.Config {
	version := uint16(tls.VersionTLS13)
	if k.version != 0 {
		version = k.version
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} //nolint:gosec // it is the attacker's
	if k.protocol != "" {
		config.NextProtos = []string{k.protocol}
	}
	if k.shows != nil {
		config.Certificates = []tls.Certificate{k.shows(x).TLS}
	}
	return config
}

// frame is one as real/peer writes them.
func frame(kind byte, body []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), kind), body...)
}

// asks is a request to join, with a token's secret.
func asks(secret func(*attacker) string) func(*attacker) []byte {
	return func(x *attacker) []byte { return request(x.t, secret(x)) }
}

func request(t *testing.T, secret string) []byte {
	key, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signing, err := ca.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(peer.Request{Signing: signing, Secret: secret, Addr: "10.77.0.99:2377"})
	if err != nil {
		t.Fatal(err)
	}
	return frame(7, text)
}

// record has somebody join, and keeps what was on the wire.
func (x *attacker) record(addr, secret string) {
	conn, err := x.dial(addr)
	if err != nil {
		x.t.Fatal(err)
	}
	defer conn.Close()
	tape := &tape{Conn: conn}
	secure := tls.Client(tape, knock{protocol: "swarmd-join/1"}.config(x))
	if _, err := secure.Write(request(x.t, secret)); err != nil {
		x.t.Fatal(err)
	}
	said, err := io.ReadAll(secure)
	if err != nil || !bytes.Contains(said, []byte(`"Certificate":"`)) {
		x.t.Fatalf("a host with a token is not let in: %v %q", err, said)
	}
	x.recorded = tape.said.Bytes()
}

// A tape keeps what is written to a connection.
type tape struct {
	net.Conn
	said bytes.Buffer
}

// Write keeps and writes.
func (t *tape) Write(b []byte) (int, error) {
	t.said.Write(b)
	return t.Conn.Write(b)
}

// An authority is a root certificate and its key.
type authority struct{ cert, key []byte }

func newAuthority(t *testing.T) authority {
	made := make(chan engine.AuthorityCreated, 1)
	a := ca.New(func(e engine.Event) { made <- e.(engine.AuthorityCreated) })
	a.CreateAuthority("")
	a.Close()
	e := <-made
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	return authority{e.Cert, e.Key}
}

// credentials are those of a subject that were made a while ago, good for so long
// from then.
func (a authority) credentials(t *testing.T, s ca.Subject, ago, expiry time.Duration) *ca.Credentials {
	key, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signing, err := ca.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(signing, s, expiry, a.cert, a.key, time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.NewCredentials(cert, key, a.cert)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stolen are the credentials that a host has on its disk.
func stolen(t *testing.T, h *lab.Host) *ca.Credentials {
	c, _, err := ca.Load(certificates(h), nil)
	if err != nil || c == nil {
		t.Fatal("there are no credentials", err)
	}
	return c
}

// crowd makes connections that say nothing, from several addresses of the host, and
// returns when a manager has closed all of them.
func (x *attacker) crowd(addr string, each int) error {
	var waiting sync.WaitGroup
	failed := make(chan error, crowdAddrs*each)
	for n := range crowdAddrs {
		source := &net.TCPAddr{IP: net.IPv4(10, 77, 1, byte(1+n))}
		for range each {
			conn, err := onNetworkOf(x.from, func() (net.Conn, error) {
				return (&net.Dialer{LocalAddr: source, Timeout: refusalMax}).DialContext(context.Background(), "tcp", addr+":2377")
			})
			if err != nil {
				return err
			}
			waiting.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(refusalMax))
				_, err := conn.Read(make([]byte, 1))
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					failed <- fmt.Errorf("a connection from %v is open after %v", source, refusalMax)
				}
			})
		}
	}
	waiting.Wait()
	close(failed)
	return <-failed
}
