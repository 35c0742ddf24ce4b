package peer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
)

// What a connection is for.
const (
	protocolJoin    = "swarmd-join/1"
	protocolRenew   = "swarmd-renew/1"
	protocolControl = "swarmd-control/1"
	protocolRaft    = "swarmd-raft/1"
	protocolStream  = "swarmd-stream/1"
)

// How long it may take until a connection is there.
const (
	dialPeriod      = 3 * time.Second
	handshakePeriod = 5 * time.Second
)

// keepAlive finds the dead ends of connections that carry nothing.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
}

// A Party is who is at the other end, as its certificate says. Who shows one has its
// key: TLS sees to that.
type Party struct {
	membership.Bearer
	Cluster state.ClusterID
	Expires time.Time // of the certificate
}

// A Purpose is what a certificate is shown for.
type Purpose uint8

// The purposes.
const (
	ForLink    Purpose = iota // messages, calls and streams
	ForLog                    // the log
	ForRenewal                // another certificate
)

func purposeOf(protocol string) Purpose {
	switch protocol {
	case protocolRaft:
		return ForLog
	case protocolRenew:
		return ForRenewal
	default:
		return ForLink
	}
}

// serverTLS is how connections are accepted. Who speaks of nothing but joining
// need show no certificate; everybody else must.
func (p *Peers) serverTLS() *tls.Config {
	certificate := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.config.Certificate() }
	join := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocolJoin}, SessionTicketsDisabled: true, GetCertificate: certificate,
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolControl, protocolRaft, protocolStream, protocolRenew},
		SessionTicketsDisabled: true, // a session that is resumed would outlive its certificate
		GetCertificate:         certificate,
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := p.admit(s)
			return err
		},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Equal(hello.SupportedProtos, []string{protocolJoin}) {
				return join, nil
			}
			return nil, nil
		},
	}
}

// admit says who has dialled, unless what it wants is not for it.
func (p *Peers) admit(s tls.ConnectionState) (Party, error) {
	party, err := p.config.Verify(s.PeerCertificates, purposeOf(s.NegotiatedProtocol))
	if err != nil {
		return Party{}, err
	}
	verdict := p.config.Judge(party.Bearer)
	switch s.NegotiatedProtocol {
	case protocolControl: // who was removed is told so, and nothing else
	case protocolRenew: // whoever leads knows the node's key
	case protocolRaft:
		if !verdict.Log {
			return Party{}, fmt.Errorf("node %s has no part in the log: %s", party.Node, cmp.Or(verdict.Why, "it is a worker"))
		}
	case protocolStream:
		if !verdict.Member {
			return Party{}, fmt.Errorf("node %s: %s", party.Node, verdict.Why)
		}
	default:
		return Party{}, errors.New("it does not say what the connection is for")
	}
	return party, nil
}

// dial connects to a manager. want is its node, "" for any.
func (p *Peers) dial(ctx context.Context, addr, protocol string, want state.NodeID) (*tls.Conn, Party, error) {
	certificate, err := p.config.Certificate()
	if err != nil {
		return nil, Party{}, err
	}
	var party Party
	conn, err := dialTLS(ctx, addr, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, Certificates: []tls.Certificate{*certificate},
		InsecureSkipVerify: true, //nolint:gosec // nodes have no host names: VerifyConnection checks the chain and the role
		VerifyConnection: func(s tls.ConnectionState) error {
			var err error
			party, err = p.config.Verify(s.PeerCertificates, purposeOf(protocol))
			verdict := p.config.Judge(party.Bearer)
			switch {
			case err != nil:
				return err
			case protocol == protocolRaft && !verdict.Log:
				return fmt.Errorf("node %s, at %s, has no part in the log: %s", party.Node, addr, cmp.Or(verdict.Why, "it is a worker"))
			case !party.Manager:
				return fmt.Errorf("node %s, at %s, is no manager", party.Node, addr)
			case want != "" && party.Node != want:
				return fmt.Errorf("at %s is node %s, and not %s", addr, party.Node, want)
			}
			return nil
		},
	})
	return conn, party, err
}

// dialTLS connects. A server that does not speak the protocol asked for is none of
// ours.
func dialTLS(ctx context.Context, addr string, config *tls.Config) (*tls.Conn, error) {
	dialer := net.Dialer{Timeout: dialPeriod, KeepAliveConfig: keepAlive()}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakePeriod)
	defer cancel()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, closed(raw))
	}
	if conn.ConnectionState().NegotiatedProtocol != config.NextProtos[0] {
		return nil, errors.Join(fmt.Errorf("%s does not speak %s", addr, config.NextProtos[0]), closed(raw))
	}
	return conn, nil
}

// closed closes what is of no use any more. That this fails is of none either,
// but for a connection that is closed already.
func closed(conn net.Conn) error {
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// VerifyServer says whether a chain that a manager has shown to a host which joins
// is one that the host's token names.
type VerifyServer func(chain []*x509.Certificate) error
