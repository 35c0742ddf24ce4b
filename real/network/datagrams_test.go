package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// secondAddress gives the host another address towards the client, and returns that
// of its end of the cable which means nothing elsewhere, as the client has to say it:
// what names of links mean is not asked of each namespace.
func (l *lab) secondAddress(address string) (onLink string) {
	l.t.Helper()
	l.in(l.host, func(h *netlink.Handle) error {
		link, err := h.LinkByName("up0")
		if err != nil {
			return err
		}
		h4, h6 := netip.MustParsePrefix(hostAddress+"/24"), netip.MustParsePrefix(hostAddress6+"/64")
		if err := ensureAddresses(h, link, []netip.Prefix{h4, h6, netip.MustParsePrefix(address + "/64")}); err != nil {
			return err
		}
		all, err := h.AddrList(link, unix.AF_INET6)
		for _, a := range all {
			if a.IP.IsLinkLocalUnicast() {
				onLink = a.IP.String()
			}
		}
		return err
	})
	l.in(l.client, func(h *netlink.Handle) error {
		link, err := h.LinkByName("up0")
		if err == nil {
			onLink = fmt.Sprintf("%s%%%d", onLink, link.Attrs().Index)
		}
		return err
	})
	return onLink
}

// flows are how many there are, and how many of them are no streams.
func (l *lab) flows() (all, fresh int) {
	d := l.net.kernel.held.datagrams
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flows, d.fresh.Len()
}

// limit has flows be fewer, or end sooner, from the next that begins.
func (l *lab) limit(limits flowLimits) {
	d := l.net.kernel.held.datagrams
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits = limits
}

func (l *lab) udp6(address string) net.Conn {
	l.t.Helper()
	c, err := l.dial(l.client, "udp6", "["+address+"]:8080")
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// A flow ends when it has been idle, sooner if it was never answered, and when its
// port goes; who goes on sending begins another.
func TestFlowsEnd(t *testing.T) {
	l := newLab(t)
	l.website()
	const brief, long = 10 * time.Millisecond, time.Hour
	one := func(limits flowLimits, address string) net.Conn {
		t.Helper()
		l.limit(limits)
		c := l.udp6(address)
		if got, err := say(c); got != "web.1 172.20.0.1" {
			t.Fatalf("got %q, %v", got, err)
		}
		return c
	}
	gone := func() bool { all, fresh := l.flows(); return all == 0 && fresh == 0 }

	c := one(flowLimits{flows: 2, idle: brief, stream: long, age: long}, hostAddress6)
	l.await("what was idle has ended", gone)
	if got, err := say(c); got != "web.1 172.20.0.1" {
		t.Errorf("after that: %q, %v", got, err)
	}
	l.await("it has ended again", gone)

	c = one(flowLimits{flows: 2, idle: long, stream: brief}, hostAddress6)
	if all, fresh := l.flows(); all+fresh > 1 {
		t.Errorf("there are %d flows, %d of them no streams", all, fresh)
	}
	l.await("the stream has ended", gone)
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	c = one(flowLimits{flows: 2, idle: long, stream: long, age: long}, hostAddress6)
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\npublish 8080/udp")
	if !gone() {
		t.Error("the port leads nowhere, and a flow is there")
	}
	if got, err := say(c); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the port leads nowhere: %q, %v", got, err)
	}
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\npublish 8080/udp 172.20.0.2:80")
	if got, err := say(c); got != "web.1 172.20.0.1" {
		t.Errorf("the port leads somewhere again: %q, %v", got, err)
	}
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2")
	if got, err := say(c); !errors.Is(err, unix.ECONNREFUSED) || !gone() {
		t.Errorf("the port has gone: %q, %v", got, err)
	}
}

// Of too many flows that are no streams the one goes that has been idle longest, and
// streams stay; when there are only streams a new flow is not begun.
func TestFlowsAreLimited(t *testing.T) {
	l := newLab(t)
	l.website()
	l.limit(flowLimits{flows: 3, idle: time.Hour, stream: time.Hour, age: 0})
	streams := []net.Conn{l.udp6(hostAddress6)}
	must := func(c net.Conn) {
		t.Helper()
		if got, err := say(c); got != "web.1 172.20.0.1" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	must(streams[0])
	l.limit(flowLimits{flows: 3, idle: time.Hour, stream: time.Hour, age: time.Hour})
	for range 5 {
		must(l.udp6(hostAddress6))
	}
	if all, fresh := l.flows(); all != 3 || fresh != 2 {
		t.Errorf("of a stream and five others there are %d flows, %d of them no streams", all, fresh)
	}
	l.limit(flowLimits{flows: 3, idle: time.Hour, stream: time.Hour, age: 0})
	for range 2 {
		c := l.udp6(hostAddress6)
		must(c)
		streams = append(streams, c)
	}
	if all, fresh := l.flows(); all != 3 || fresh != 0 {
		t.Errorf("of three streams and others there are %d flows, %d of them no streams", all, fresh)
	}
	if got, err := sayFor(silence, l.udp6(hostAddress6)); err == nil {
		t.Errorf("a flow more than there may be is answered: %q", got)
	}
	for _, c := range streams {
		must(c)
	}
}

// What is sent is what arrives, however long it is, and many clients are answered each
// its own, while the plan changes.
func TestDatagramsAreRelayedWhole(t *testing.T) {
	l := newLab(t)
	l.must(website)
	echo := func(task string) {
		var s net.PacketConn
		err := inside(l.task(task), func() (err error) {
			s, err = net.ListenPacket("udp4", ":80")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		go func() {
			b := make([]byte, datagramBytesMax)
			for {
				n, from, err := s.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = s.WriteTo(b[:n], from)
			}
		}()
	}
	echo("web.1")
	echo("web.2")
	c := l.udp6(hostAddress6)
	for _, size := range []int{0, 1, 1472, 5000, 65000} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		sent, got := bytes.Repeat([]byte{'x'}, size), make([]byte, datagramBytesMax)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
			t.Errorf("of %d bytes %d came back, %v", size, n, err)
		}
	}

	done, asked := make(chan struct{}), sync.WaitGroup{}
	for i := range 8 {
		c := l.udp6(hostAddress6)
		asked.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				got := make([]byte, 100)
				_ = c.SetDeadline(time.Now().Add(silence)) // one under way when a backend goes is lost
				_, _ = fmt.Fprintf(c, "%d %d", i, n)
				if n, err := c.Read(got); err == nil && !bytes.HasPrefix(got[:n], fmt.Appendf(nil, "%d ", i)) {
					t.Errorf("client %d got %q", i, got[:n])
				}
			}
		})
	}
	const base = "gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\nendpoint web.2 172.20.0.3\npublish 8080/udp "
	for range 5 {
		l.must(base + "172.20.0.3:80")
		l.must(base)
		l.must(base + "172.20.0.2:80")
	}
	close(done)
	asked.Wait()
}
