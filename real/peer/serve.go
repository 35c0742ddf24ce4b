package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine/membership"
)

// Limits of what is accepted.
const (
	connectionsMax   = 20_000 // at a time
	pendingMax       = 256    // that have not said who they are, or ask to join
	pendingOfAddrMax = 32     // of those, from one address
	complaintsMax    = 10     // lines about what was refused, a second
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
		release, ok := p.limits.admit(conn.RemoteAddr())
		if !ok {
			p.limits.complain(p.config.Logger, "a connection was refused: too many", "from", conn.RemoteAddr())
			_ = conn.Close() // nobody is there yet
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
	if protocol == protocolRenew {
		p.serveCertify(conn, party)
		return
	}
	release()
	switch protocol {
	case protocolControl:
		err = p.newLink(conn, party).run()
	case protocolRaft:
		kept = p.judge(conn, party, inLog) && p.raft.offer(p.tracked(conn))
	case protocolStream:
		kept = p.judge(conn, party, isMember) && p.takeStream(conn, party)
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

// limits counts what has been accepted and not been identified.
type limits struct {
	mu      sync.Mutex
	all     int
	pending map[string]int // by address

	second     time.Time
	complaints int
}

// admit makes room for a connection from an address. release gives it back, once,
// however often it is called.
func (l *limits) admit(from net.Addr) (release func(), ok bool) {
	addr := from.String()
	if parsed, err := netip.ParseAddrPort(addr); err == nil {
		addr = parsed.Addr().Unmap().String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= pendingMax || l.pending[addr] >= pendingOfAddrMax {
		return nil, false
	}
	l.all++
	l.pending[addr]++
	var once sync.Once
	return func() {
		once.Do(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.all--
			if l.pending[addr]--; l.pending[addr] == 0 {
				delete(l.pending, addr)
			}
		})
	}, true
}

// complain logs what was refused, but not more often than anybody could read.
func (l *limits) complain(log *slog.Logger, text string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.second) >= time.Second {
		if missing := l.complaints - complaintsMax; missing > 0 {
			args = append(args, "not told before", missing)
		}
		l.second, l.complaints = now, 0
	}
	l.complaints++
	quiet := l.complaints > complaintsMax
	l.mu.Unlock()
	if !quiet {
		log.Warn(text, args...)
	}
}
