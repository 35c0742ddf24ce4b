package peer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// certifyPeriod is how long a manager takes, at most, to have a certificate made.
const certifyPeriod = 15 * time.Second

// A Request asks for a certificate.
type Request struct {
	Signing      []byte                 // a certificate request, PEM
	Secret       string                 `json:",omitempty"` // of a token
	Addr         string                 `json:",omitempty"` // advertised, host:port
	Availability swarm.NodeAvailability `json:",omitempty"`
	// Node is who has one already, as the connection says; "" for one that joins.
	Node state.NodeID `json:"-"`
	Held []byte       `json:"-"` // SHA-256 of the public key that it has shown
}

// Certified is what a node gets that is let in.
type Certified struct {
	Node        state.NodeID
	Cluster     state.ClusterID
	Manager     bool
	Certificate []byte // PEM
	Root        []byte // PEM
	Managers    []wire.Manager
	// UnlockKey and its version are for managers: what to lock their keys with.
	UnlockKey     []byte `json:",omitempty"`
	UnlockVersion uint64 `json:",omitempty"`
}

// response is a Certified, or a refusal.
type response struct {
	Certified
	Failed *control.Failed `json:",omitempty"`
}

// A RefusedError is a manager's no.
type RefusedError struct{ Failed control.Failed }

// Error is the manager's text.
func (e *RefusedError) Error() string { return e.Failed.Message }

// A DialError says that a manager could not be reached at all.
type DialError struct{ Err error }

// Error says so in Docker's words.
func (e *DialError) Error() string {
	return fmt.Sprintf(`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: %v"`, e.Err)
}

// Unwrap is what was wrong.
func (e *DialError) Unwrap() error { return e.Err }

// Join asks the manager at addr to be let in. verify says whether it is of the
// swarm that is meant; nothing is sent before.
func Join(ctx context.Context, addr string, verify VerifyServer, r Request) (Certified, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPeriod+handshakePeriod+certifyPeriod)
	defer cancel()
	conn, err := dialTLS(ctx, addr, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocolJoin},
		InsecureSkipVerify: true, //nolint:gosec // there is nothing yet to verify with but the token: verify does
		VerifyConnection:   func(s tls.ConnectionState) error { return verify(s.PeerCertificates) },
	})
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return Certified{}, &DialError{dial}
		}
		return Certified{}, err
	}
	return ask(ctx, conn, r)
}

// Renew asks a manager for this node's certificate once more.
func (p *Peers) Renew(ctx context.Context, m wire.Manager, r Request) (Certified, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPeriod+handshakePeriod+certifyPeriod)
	defer cancel()
	conn, _, err := p.dial(ctx, m.Addr, protocolRenew, m.ID)
	if err != nil {
		return Certified{}, err
	}
	return ask(ctx, conn, r)
}

// ask sends the request and takes the answer; the connection is of no use after.
func ask(ctx context.Context, conn net.Conn, r Request) (Certified, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	data, err := json.Marshal(r)
	if err == nil {
		err = writeFrame(conn, conn, kindAsk, data)
	}
	if err != nil {
		return Certified{}, fmt.Errorf("ask for a certificate: %w", err)
	}
	k, body, err := readFrame(conn, conn, certifyBytesMax, certifyPeriod)
	if err != nil {
		return Certified{}, fmt.Errorf("no certificate has come: %w", err)
	}
	var given response
	if k != kindGiven {
		return Certified{}, errFrame
	}
	if err := json.Unmarshal(body, &given); err != nil {
		return Certified{}, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if given.Failed != nil {
		return Certified{}, &RefusedError{*given.Failed}
	}
	return given.Certified, nil
}

// serveCertify answers one request. Who has no certificate yet is nobody so far.
func (p *Peers) serveCertify(conn net.Conn, from Party) {
	k, body, err := readFrame(conn, conn, requestBytesMax, handshakePeriod)
	var r Request
	if err == nil && k == kindAsk {
		err = json.Unmarshal(body, &r)
	}
	if err != nil || k != kindAsk {
		p.limits.complain(p.config.Logger, "a request for a certificate cannot be read", "from", conn.RemoteAddr(), "error", errors.Join(err, errFrame))
		return
	}
	r.Node, r.Held = from.Node, from.Key
	ctx, cancel := context.WithTimeout(p.ctx, certifyPeriod)
	defer cancel()
	given, failed := p.config.Certify(ctx, r)
	if failed != nil {
		p.limits.complain(p.config.Logger, "a node was not certified", "from", conn.RemoteAddr(), "node", from.Node, "reason", failed.Message)
	} else {
		p.config.Logger.Info("a node was certified", "from", conn.RemoteAddr(), "node", given.Node, "manager", given.Manager)
	}
	data, err := json.Marshal(response{given, failed})
	if err == nil {
		err = writeFrame(conn, conn, kindGiven, data)
	}
	if err != nil {
		p.limits.complain(p.config.Logger, "a certificate was not delivered", "from", conn.RemoteAddr(), "node", given.Node, "error", err)
	}
}
