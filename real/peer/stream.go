package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// Limits of streams.
const (
	streamsMax   = 1024            // that wait to be opened
	streamPeriod = 5 * time.Second // for a node to open one that it was asked for
)

// A streamName tells streams apart; nobody can guess one.
type streamName [streamNameBytes]byte

// An opening is a stream that was asked for and is not there yet.
type opening struct {
	node    state.NodeID
	opened  chan net.Conn
	refused chan string
}

// OpenStream asks a node for a stream. What it is, the request says; the node's
// Config.Stream serves it.
func (p *Peers) OpenStream(ctx context.Context, to state.NodeID, request []byte) (net.Conn, error) {
	l := p.link(to)
	if l == nil {
		return nil, ErrUnlinked
	}
	if len(request) > requestBytesMax {
		return nil, fmt.Errorf("a request for a stream has %d bytes: at most %d are sent", len(request), requestBytesMax)
	}
	var name streamName
	if _, err := rand.Read(name[:]); err != nil {
		return nil, err
	}
	o := &opening{node: to, opened: make(chan net.Conn, 1), refused: make(chan string, 1)}
	if err := p.expectStream(name, o); err != nil {
		return nil, err
	}
	l.send(kindOpen, append(name[:], request...))
	ctx, cancel := context.WithTimeout(ctx, streamPeriod)
	defer cancel()
	select {
	case conn := <-o.opened:
		return conn, nil
	case why := <-o.refused:
		p.forgetStream(name, o)
		return nil, fmt.Errorf("node %s: %s", to, why)
	case <-l.dead:
	case <-ctx.Done():
	}
	p.forgetStream(name, o)
	return nil, ErrLost
}

func (p *Peers) expectStream(name streamName, o *opening) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.streams) >= streamsMax {
		return fmt.Errorf("%d streams wait to be opened already", streamsMax)
	}
	p.streams[name] = o
	return nil
}

// forgetStream closes a stream that comes too late.
func (p *Peers) forgetStream(name streamName, o *opening) {
	p.mu.Lock()
	delete(p.streams, name)
	p.mu.Unlock()
	select {
	case conn := <-o.opened:
		_ = conn.Close() // nobody wants it
	default:
	}
}

// takeStream hands a stream to whoever has asked for it. It reports whether that
// is so.
func (p *Peers) takeStream(conn *tls.Conn, party Party) bool {
	k, body, err := readFrame(conn, conn, streamNameBytes, handshakePeriod)
	if err == nil && (k != kindOpen || len(body) != streamNameBytes) {
		err = errFrame
	}
	if err != nil {
		p.refuseStream(conn, party, err)
		return false
	}
	_ = conn.SetDeadline(time.Time{}) // one that fails shows with the first byte
	p.mu.Lock()
	o := p.streams[streamName(body)]
	expected := o != nil && o.node == party.Node
	if expected {
		delete(p.streams, streamName(body))
		o.opened <- p.tracked(conn)
	}
	p.mu.Unlock()
	if !expected {
		p.refuseStream(conn, party, errors.New("nobody waits for it"))
	}
	return expected
}

func (p *Peers) refuseStream(conn net.Conn, party Party, why error) {
	p.limits.complain(p.config.Logger, "a stream was refused", "node", party.Node, "from", conn.RemoteAddr(), "error", why)
}

// takeOpen serves a stream that a manager asks for.
func (l *link) takeOpen(body []byte) error {
	if len(body) < streamNameBytes || len(body) > streamNameBytes+requestBytesMax {
		return errFrame
	}
	select {
	case l.slots <- struct{}{}:
	default:
		l.refuse(body[:streamNameBytes], fmt.Errorf("more than %d streams and calls are under way", callsMax))
		return nil
	}
	l.peers.work.Go(func() {
		defer func() { <-l.slots }()
		l.serveStream(body[:streamNameBytes], body[streamNameBytes:])
	})
	return nil
}

func (l *link) serveStream(name, request []byte) {
	p := l.peers
	addr := p.Address(l.party.Node)
	if addr == "" {
		l.refuse(name, fmt.Errorf("it does not know where manager %s is", l.party.Node))
		return
	}
	conn, party, err := p.dial(p.ctx, addr, protocolStream, l.party.Node)
	if err != nil {
		l.refuse(name, err)
		return
	}
	defer conn.Close() //nolint:errcheck // it has been served
	defer context.AfterFunc(p.ctx, func() { _ = closed(conn) })()
	if err := writeFrame(conn, conn, kindOpen, name); err != nil {
		l.refuse(name, err)
		return
	}
	_ = conn.SetDeadline(time.Time{}) // one that fails shows with the first byte
	if err := p.config.Stream(p.ctx, party, request, conn); err != nil && p.ctx.Err() == nil {
		p.config.Logger.Debug("a stream has ended", "manager", party.Node, "error", err)
	}
}

func (l *link) refuse(name []byte, why error) {
	l.send(kindRefused, append(append([]byte{}, name...), why.Error()...))
}

func (l *link) takeRefused(body []byte) error {
	if len(body) < streamNameBytes || len(body) > streamNameBytes+requestBytesMax {
		return errFrame
	}
	p := l.peers
	p.mu.Lock()
	o := p.streams[streamName(body[:streamNameBytes])]
	p.mu.Unlock()
	if o != nil && o.node == l.party.Node {
		select {
		case o.refused <- string(body[streamNameBytes:]):
		default: // refused already
		}
	}
	return nil
}
