package network

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of what is done in this process for published ports.
const (
	reservationsMax = 4096 // sockets held
	relayedMax      = 1024 // connections over IPv6 at a time; more are closed at once, and see flowsMax
	relayTimeout    = 10 * time.Second
	acceptPause     = 100 * time.Millisecond // after a failure, as of too many open files
)

// reservations are sockets on published ports. One bound to the port keeps
// processes of the host from taking it, as they would never be reached; one that
// listens for IPv6 relays to 127.0.0.1, as what leads to tasks is IPv4, and
// "localhost" is both: see [datagrams] for UDP. Neither is needed for what rules do,
// and both end with the process.
type reservations struct {
	host *host
	log  *slog.Logger

	bound      map[port]int // file descriptors
	relays     map[port]io.Closer
	complained map[port]bool

	work      sync.WaitGroup
	datagrams *datagrams
	slots     chan struct{}
	mu        sync.Mutex
	open      map[net.Conn]bool // nil once closed
}

func newReservations(h *host, log *slog.Logger) *reservations {
	r := &reservations{
		host: h, log: log,
		bound: make(map[port]int), relays: make(map[port]io.Closer), complained: make(map[port]bool),
		slots: make(chan struct{}, relayedMax), open: make(map[net.Conn]bool),
	}
	r.datagrams = newDatagrams(h, log, &r.work)
	return r
}

// converge holds the wanted ports and lets the others go. A port that cannot be
// had is told once, and tried again by the next call.
func (r *reservations) converge(ports map[port][]netip.AddrPort) {
	for p, fd := range r.bound {
		if _, is := ports[p]; !is {
			unix.Close(fd)
			delete(r.bound, p)
		}
	}
	r.hush(ports)
	for p := range r.complained {
		if _, is := ports[p]; !is {
			delete(r.complained, p)
		}
	}
	var bind, relay []port
	for p, backends := range ports {
		if _, has := r.bound[p]; !has && len(r.bound)+len(bind) < reservationsMax && p.protocol != unix.IPPROTO_SCTP {
			bind = append(bind, p)
		}
		if r.relays[p] == nil && len(r.relays)+len(relay) < reservationsMax && relayed(p) && len(backends) > 0 {
			relay = append(relay, p)
		}
	}
	if len(bind)+len(relay) == 0 {
		return
	}
	err := inside(r.host.ns, func() error {
		for _, p := range bind {
			r.complain(p, r.bind(p))
		}
		for _, p := range relay {
			r.complain(p, r.listen(p))
		}
		return nil
	})
	if err != nil {
		r.log.Warn("published ports could not be reserved", "err", err)
	}
}

// hush stops to listen on ports that lead nowhere, or will: a client is to be refused,
// and not to be heard and then cut off. Flows of UDP end with that, connections do not.
func (r *reservations) hush(ports map[port][]netip.AddrPort) {
	for p, relay := range r.relays {
		if len(ports[p]) == 0 {
			_ = relay.Close()
			delete(r.relays, p)
		}
	}
}

// relayed says whether a port is to answer over IPv6 too: on [::1] only, if it is
// published on 127.0.0.1.
func relayed(p port) bool {
	return p.protocol != unix.IPPROTO_SCTP && (!p.at().IsValid() || p.at() == netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

func (r *reservations) complain(p port, err error) {
	switch {
	case err == nil || r.complained[p]:
	case errors.Is(err, unix.EADDRINUSE):
		r.complained[p] = true
		r.log.Warn("a process of the host uses a port that the swarm publishes; clients reach the service instead of it", "port", p.String())
	case errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT): // no IPv6, or not an address of ours
	default:
		r.complained[p] = true
		r.log.Warn("a published port could not be reserved; it answers all the same", "port", p.String(), "err", err)
	}
}

// bind takes the port without listening on it.
func (r *reservations) bind(p port) error {
	kind := unix.SOCK_STREAM
	if p.protocol == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket: %w", err)
	}
	address := unix.SockaddrInet4{Port: int(p.number)}
	if p.at().IsValid() {
		address.Addr = p.at().As4()
	}
	if err := unix.Bind(fd, &address); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot bind a socket: %w", err)
	}
	r.bound[p] = fd
	return nil
}

func (r *reservations) listen(p port) error {
	at := net.IPv6unspecified
	if p.at().IsValid() {
		at = net.IPv6loopback
	}
	if p.protocol == unix.IPPROTO_UDP {
		relay, err := r.datagrams.listen(p, at)
		if err == nil {
			r.relays[p] = relay
		}
		return err
	}
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: at, Port: int(p.number)})
	if err != nil {
		return err
	}
	r.relays[p] = l
	r.work.Go(func() {
		for {
			client, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				r.log.Warn("a connection over IPv6 could not be accepted", "port", p.String(), "err", err)
				time.Sleep(acceptPause)
				continue
			}
			select {
			case r.slots <- struct{}{}:
				r.work.Go(func() {
					defer func() { <-r.slots }()
					r.relay(client, p)
				})
			default:
				client.Close()
			}
		}
	})
	return nil
}

// relay carries bytes both ways until both ends have said their last.
func (r *reservations) relay(client net.Conn, p port) {
	defer client.Close()
	if !r.track(client) {
		return
	}
	defer r.untrack(client)
	var server net.Conn
	err := inside(r.host.ns, func() (err error) {
		server, err = net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", p.number), relayTimeout)
		return err
	})
	if err != nil {
		r.log.Debug("a connection over IPv6 could not be relayed", "port", p.String(), "err", err)
		return
	}
	defer server.Close()
	if !r.track(server) {
		return
	}
	defer r.untrack(server)
	var both sync.WaitGroup
	both.Go(func() { pour(server, client) })
	both.Go(func() { pour(client, server) })
	both.Wait()
}

func pour(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close() // the other direction is of no use to anybody
		from.Close()
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

func (r *reservations) track(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return false
	}
	r.open[c] = true
	return true
}

func (r *reservations) untrack(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

func (r *reservations) close() {
	r.converge(nil)
	r.mu.Lock()
	for c := range r.open {
		c.Close()
	}
	r.open = nil
	r.mu.Unlock()
	r.work.Wait()
}
