package peer

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// errTooMany is why a connection is given up that has not said who it is: others
// want its place.
var errTooMany = errors.New("too many connections have not said who they are")

// prefix6Bits is how much of an IPv6 address is whose it is: who has one has all
// that begin so.
const prefix6Bits = 64

// limits counts what has been accepted and not been identified.
type limits struct {
	mu      sync.Mutex
	pending map[string][]net.Conn // by address, the oldest first
	oldest  []net.Conn            // all of them

	second     time.Time
	complaints int
}

func newLimits() *limits { return &limits{pending: map[string][]net.Conn{}} }

// admit makes room for a connection, and returns the one that must be closed for
// that, if any, which may be the new one. Where there is no room, the address that
// has the most gives up its oldest: a node that needs a moment to say who it is gets
// in however many others say nothing. release gives the room back, once, however
// often it is called.
func (l *limits) admit(conn net.Conn) (release func(), surplus net.Conn) {
	addr := sourceOf(conn.RemoteAddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending[addr]) >= pendingOfAddrMax {
		return nil, conn
	}
	if len(l.oldest) >= pendingMax {
		most := l.most()
		if len(l.pending[most]) <= len(l.pending[addr]) {
			return nil, conn
		}
		surplus = l.pending[most][0]
		l.remove(surplus, most)
	}
	l.pending[addr] = append(l.pending[addr], conn)
	l.oldest = append(l.oldest, conn)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(conn, addr)
	}, surplus
}

// most is the address with the most connections; of several, that of the oldest.
func (l *limits) most() string {
	most := ""
	for _, conn := range l.oldest {
		if addr := sourceOf(conn.RemoteAddr()); len(l.pending[addr]) > len(l.pending[most]) {
			most = addr
		}
	}
	return most
}

func (l *limits) remove(conn net.Conn, addr string) {
	without := func(list []net.Conn) []net.Conn {
		return slices.DeleteFunc(list, func(c net.Conn) bool { return c == conn })
	}
	l.oldest = without(l.oldest)
	if l.pending[addr] = without(l.pending[addr]); len(l.pending[addr]) == 0 {
		delete(l.pending, addr)
	}
}

// sourceOf is the part of an address that says whose connection it is.
func sourceOf(from net.Addr) string {
	parsed, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return from.String()
	}
	addr := parsed.Addr().Unmap()
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.WithZone("").Prefix(prefix6Bits)
	if err != nil {
		return addr.String()
	}
	return prefix.String()
}

// complain logs what was refused, but not so often that it fills a disk.
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
