package network

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of what is relayed of UDP over IPv6. Those of time are the kernel's of what
// goes over IPv4: see nf_conntrack_udp_timeout and nf_conntrack_udp_timeout_stream
// in Documentation/networking/nf_conntrack-sysctl.rst, and udp_packet of
// net/netfilter/nf_conntrack_proto_udp.c for what a stream is.
const (
	flowsMax         = 1024 // of all ports
	flowTimeout      = 30 * time.Second
	streamTimeout    = 120 * time.Second
	streamAge        = 2 * time.Second // from which on a flow that is answered is a stream
	datagramBytesMax = 1<<16 - 1
)

// flowLimits are the same, as a test has others.
type flowLimits struct {
	flows             int
	idle, stream, age time.Duration
}

// datagrams are the flows of all ports that are relayed. A flow is what one client
// sends from one port to one address of the host; it has a socket of its own, from
// which its datagrams go to the port on 127.0.0.1, so that rules lead it, and lead it
// elsewhere when its backend has gone.
type datagrams struct {
	host   *host
	log    *slog.Logger
	work   *sync.WaitGroup
	limits flowLimits
	rooms  sync.Pool // of *room, of which nobody holds one who waits

	mu    sync.Mutex
	flows int
	fresh list.List // of *flow, those that are no streams, with the one that has been idle longest first
}

func newDatagrams(h *host, log *slog.Logger, work *sync.WaitGroup) *datagrams {
	return &datagrams{
		host: h, log: log, work: work,
		limits: flowLimits{flows: flowsMax, idle: flowTimeout, stream: streamTimeout, age: streamAge},
		rooms:  sync.Pool{New: func() any { return new(room) }},
	}
}

// A room is for one datagram, and the address that it came to.
type room struct {
	payload [datagramBytesMax]byte
	control [128]byte
}

// A datagramRelay is one port's socket, and the flows that have come by it.
type datagramRelay struct {
	all    *datagrams
	port   port
	socket *net.UDPConn
	ready  syscall.RawConn

	flows map[way]*flow // of all.mu; nil once closed
}

// A way is whose flow it is: who sends, and to which address of the host, as answers
// must come from there.
type way struct {
	client netip.AddrPort
	to     netip.Addr
	link   uint32 // index, if the address means nothing without
}

// A flow is relayed both ways until it has been idle for too long, or its port goes.
type flow struct {
	relay  *datagramRelay
	way    way
	socket *net.UDPConn // connected to 127.0.0.1
	ready  syscall.RawConn

	began, last time.Time     // of all.mu, as are those that follow
	answered    bool          // it has been
	fresh       *list.Element // nil: it is a stream
}

// listen relays what comes to a port, until the relay is closed. The thread is in the
// host's namespace.
func (d *datagrams) listen(p port, at net.IP) (*datagramRelay, error) {
	told := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
		return errors.Join(failed, err)
	}}
	conn, err := told.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(netip.AddrFrom16([16]byte(at)), p.number).String())
	if err != nil {
		return nil, err
	}
	r := &datagramRelay{all: d, port: p, socket: conn.(*net.UDPConn), flows: make(map[way]*flow)}
	if r.ready, err = r.socket.SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	d.work.Go(r.run)
	return r, nil
}

// Close ends the port's flows, and has the host refuse what comes from then on.
func (r *datagramRelay) Close() error {
	d := r.all
	d.mu.Lock()
	defer d.mu.Unlock()
	err := r.socket.Close()
	for _, f := range r.flows {
		d.end(f)
	}
	r.flows = nil
	return err
}

// run takes what clients send.
func (r *datagramRelay) run() {
	for {
		err := r.all.receive(r.socket, r.ready, func(b, control []byte, from netip.AddrPort) {
			if w, is := wayOf(from, control); is {
				r.pass(w, b)
			}
		})
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.all.log.Warn("a datagram over IPv6 could not be received", "port", r.port.String(), "err", err)
			time.Sleep(acceptPause)
		}
	}
}

// receive waits for a datagram, and takes room for it when there is one.
func (d *datagrams) receive(c *net.UDPConn, ready syscall.RawConn, take func(b, control []byte, from netip.AddrPort)) error {
	err := ready.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n != 0 || err != nil
	})
	if err != nil {
		return err
	}
	in := d.rooms.Get().(*room)
	defer d.rooms.Put(in)
	n, controls, _, from, err := c.ReadMsgUDPAddrPort(in.payload[:], in.control[:])
	if err == nil {
		take(in.payload[:n], in.control[:controls], from)
	}
	return err
}

// wayOf reads which address of the host a datagram came to. One that is for many hosts
// is no flow: the rules of IPv4 take none either.
func wayOf(from netip.AddrPort, control []byte) (w way, is bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return w, false
	}
	for _, m := range messages {
		if m.Header.Level != unix.IPPROTO_IPV6 || m.Header.Type != unix.IPV6_PKTINFO || len(m.Data) < unix.SizeofInet6Pktinfo {
			continue
		}
		w = way{client: from, to: netip.AddrFrom16([16]byte(m.Data))}
		if w.to.IsLinkLocalUnicast() {
			w.link = binary.NativeEndian.Uint32(m.Data[16:])
		}
		return w, !w.to.IsMulticast()
	}
	return w, false
}

// pass sends a client's datagram on.
func (r *datagramRelay) pass(w way, b []byte) {
	f, err := r.flow(w)
	if err != nil {
		r.all.log.Debug("a datagram over IPv6 could not be relayed", "port", r.port.String(), "err", err)
	}
	if f == nil {
		return
	}
	if _, err := f.socket.Write(b); errors.Is(err, unix.ECONNREFUSED) {
		_, _ = f.socket.Write(b) // that was what came of the one before
	}
}

// flow finds that of a datagram, or begins it. It is nil if there are too many.
func (r *datagramRelay) flow(w way) (*flow, error) {
	d := r.all
	if f, known := r.hear(w); known {
		return f, nil
	}
	f := &flow{relay: r, way: w}
	err := inside(d.host.ns, func() error {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.port.number)
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		f.socket = conn
		f.ready, err = conn.SyscallConn()
		return err
	})
	if err == nil && d.begin(f) {
		return f, nil
	}
	if f.socket != nil {
		err = errors.Join(err, f.socket.Close())
	}
	return nil, err
}

// hear finds a flow of which a datagram has come. That there is none, as there are too
// many, is known as well.
func (r *datagramRelay) hear(w way) (f *flow, known bool) {
	d := r.all
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := r.flows[w]; f != nil {
		d.touch(f)
		return f, true
	}
	return nil, r.flows == nil || d.flows >= d.limits.flows && d.fresh.Len() == 0
}

// begin counts a flow, in the place of another if need be, as the kernel does: what
// strangers can make many of gives way, and streams stay.
func (d *datagrams) begin(f *flow) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.relay.flows == nil {
		return false
	}
	if d.flows >= d.limits.flows {
		oldest := d.fresh.Front()
		if oldest == nil {
			return false
		}
		d.end(oldest.Value.(*flow))
	}
	d.flows++
	f.relay.flows[f.way] = f
	f.began, f.last = time.Now(), time.Now()
	f.fresh = d.fresh.PushBack(f)
	d.work.Go(f.run)
	return true
}

// touch notes that something has passed. It is called with the lock held, as is end.
func (d *datagrams) touch(f *flow) {
	f.last = time.Now()
	switch {
	case f.fresh == nil:
	case f.answered && f.last.Sub(f.began) > d.limits.age:
		d.fresh.Remove(f.fresh)
		f.fresh = nil
	default:
		d.fresh.MoveToBack(f.fresh)
	}
}

func (d *datagrams) end(f *flow) {
	if f.relay.flows[f.way] != f {
		return // it has ended
	}
	delete(f.relay.flows, f.way)
	d.flows--
	if f.fresh != nil {
		d.fresh.Remove(f.fresh)
	}
	_ = f.socket.Close()
}

// run carries answers back.
func (f *flow) run() {
	d := f.relay.all
	from := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: f.way.to.As16(), Ifindex: f.way.link})
	for f.lasts() {
		err := d.receive(f.socket, f.ready, func(b, _ []byte, _ netip.AddrPort) {
			f.answer()
			if _, _, err := f.relay.socket.WriteMsgUDPAddrPort(b, from, f.way.client); err != nil {
				d.log.Debug("an answer over IPv6 could not be relayed", "port", f.relay.port.String(), "err", err)
			}
		})
		switch {
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ECONNREFUSED):
			// A backend may refuse now, and answer, or be another, later.
		case errors.Is(err, net.ErrClosed):
			return
		default:
			d.log.Debug("an answer over IPv6 could not be received", "port", f.relay.port.String(), "err", err)
			d.mu.Lock()
			d.end(f)
			d.mu.Unlock()
			return
		}
	}
}

// answer notes that the flow has been answered.
func (f *flow) answer() {
	f.relay.all.mu.Lock()
	defer f.relay.all.mu.Unlock()
	f.answered = true
	f.relay.all.touch(f)
}

// lasts ends a flow that has been idle for too long, and has any other wake up when it
// would have been.
func (f *flow) lasts() bool {
	d := f.relay.all
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := d.limits.stream
	if f.fresh != nil {
		limit = d.limits.idle
	}
	until := f.last.Add(limit)
	if time.Now().Before(until) {
		return f.socket.SetReadDeadline(until) == nil
	}
	d.end(f)
	return false
}
