package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/swarmd/swarmd/engine/membership"
)

// Limits of what is accepted.
const (
	connectionsMax   = 20_000 // at a time
	pendingMax       = 256    // that have not said who they are and what they want
	pendingOfAddrMax = 32     // of those, from one address
	complaintsMax    = 50     // lines about what was refused, a second
	acceptPause      = 50 * time.Millisecond
)

// Serve accepts connections until the listener closes. It returns at once.
func (p *Peers) Serve(listener net.Listener) {
	p.mu.Lock()
	old := p.listener
	p.listener = listener
	p.mu.Unlock()
	if old != nil {
		_ = old.Close() // another has taken its place
	}
	config := p.serverTLS()
	p.work.Go(func() { p.accept(listener, config) })
}

// Unserve accepts no more connections. Those that there are go on.
func (p *Peers) Unserve() {
	p.mu.Lock()
	listener := p.listener
	p.listener = nil
	p.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // it is of no use
	}
}

func (p *Peers) accept(listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			p.limits.complain(p.config.Logger, "no connection could be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		release, surplus := p.limits.admit(conn)
		if surplus != nil {
			p.limits.complain(p.config.Logger, "a connection was refused", "from", surplus.RemoteAddr(), "error", errTooMany)
			_ = surplus.Close() // nobody is there yet
		}
		if surplus == conn {
			continue
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(keepAlive()) // a connection that has gone already says so soon
		}
		p.work.Go(func() { p.serve(tls.Server(conn, config), release) })
	}
}

// serve finds out who has dialled and what for.
func (p *Peers) serve(conn *tls.Conn, release func()) {
	defer release()
	if !p.track(conn) {
		p.limits.complain(p.config.Logger, "a connection was refused", "from", conn.RemoteAddr(), "error", fmt.Errorf("there are %d already, or none is taken any more", connectionsMax))
		return
	}
	kept := false
	defer func() {
		if !kept {
			p.untrack(conn)
			_ = conn.Close() // it has been served
		}
	}()
	ctx, cancel := context.WithTimeout(p.ctx, handshakePeriod)
	err := conn.HandshakeContext(ctx)
	cancel()
	if err != nil {
		p.limits.complain(p.config.Logger, "a connection was refused", "from", conn.RemoteAddr(), "error", err)
		return
	}
	protocol := conn.ConnectionState().NegotiatedProtocol
	if protocol == protocolJoin {
		p.serveCertify(conn, Party{})
		return
	}
	party, err := p.admit(conn.ConnectionState())
	if err != nil {
		p.limits.complain(p.config.Logger, "a connection was refused", "from", conn.RemoteAddr(), "error", err)
		return
	}
	switch protocol {
	case protocolRenew:
		p.serveCertify(conn, party)
	case protocolStream: // what it wants it says with its first frame
		kept = p.judge(conn, party, isMember) && p.takeStream(conn, party)
	case protocolControl:
		release()
		err = p.newLink(conn, party).run()
	case protocolRaft:
		release()
		kept = p.judge(conn, party, inLog) && p.raft.offer(p.tracked(conn))
	}
	if err != nil && !errors.Is(err, io.EOF) && p.ctx.Err() == nil {
		p.limits.complain(p.config.Logger, "a link has ended", "node", party.Node, "from", conn.RemoteAddr(), "error", err)
	}
}

// track has a connection closed with the others.
func (p *Peers) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil || len(p.conns) >= connectionsMax {
		_ = conn.Close() // nobody serves any more
		return false
	}
	p.conns[conn] = nil
	return true
}

// judge has a connection that is tracked closed once its other end may not have it
// any more.
func (p *Peers) judge(conn net.Conn, party Party, may func(membership.Verdict) bool) bool {
	still := func() bool { return may(p.config.Judge(party.Bearer)) }
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, tracked := p.conns[conn]; tracked {
		p.conns[conn] = still
	}
	return still()
}

func inLog(v membership.Verdict) bool    { return v.Log }
func isMember(v membership.Verdict) bool { return v.Member }

func (p *Peers) untrack(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// tracked is a connection that somebody else closes.
func (p *Peers) tracked(conn net.Conn) net.Conn { return &trackedConn{Conn: conn, peers: p} }

type trackedConn struct {
	net.Conn
	peers *Peers
}

// Close closes the connection.
func (c *trackedConn) Close() error {
	c.peers.untrack(c.Conn)
	return c.Conn.Close()
}
