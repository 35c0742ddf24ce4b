package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// mute has a task hear nothing any more, though it runs.
func (l *lab) mute(ns netns.NsHandle) {
	l.t.Helper()
	l.in(ns, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		errs := []error{err}
		for _, link := range links {
			if link.Attrs().Name != "lo" {
				errs = append(errs, h.LinkSetDown(link))
			}
		}
		return errors.Join(errs...)
	})
}

// untilTracked waits until the kernel has seen a connection begin.
func (l *lab) untilTracked(ns netns.NsHandle, server netip.AddrPort) {
	l.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < patience; <-look.C {
		found := false
		l.in(ns, func(*netlink.Handle) error {
			h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
			if err != nil {
				return err
			}
			defer h.Close()
			flows, err := h.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, f := range flows {
				found = found || netip.AddrPortFrom(addrOf(f.Reverse.SrcIP), f.Reverse.SrcPort) == server
			}
			return err
		})
		if found {
			return
		}
	}
	l.t.Fatalf("no connection to %s is known", server)
}

// A connection on its way to a task that has left the ports, or has gone, and that
// nobody has answered yet, comes to one that is there.
func TestConnectionsUnderWayMoveOn(t *testing.T) {
	for _, x := range []struct {
		what string
		host int // that the task is on; clients come in by the first
		gone bool
	}{
		{"a task of this host leaves the ports", 0, false},
		{"a task of this host goes", 0, true},
		{"a task of another host leaves the ports", 1, false},
		{"a task of another host goes", 1, true},
	} {
		t.Run(x.what, func(t *testing.T) {
			c := newCluster(t)
			one, two := place{host: x.host, task: "web.1", mesh: "10.0.0.11"}, place{host: 2, task: "web.2", mesh: "10.0.0.12"}
			c.must(plans([]place{one, two}, "publish 8080/tcp 10.0.0.11:80"))
			l := c.hosts[0]
			l.serve(c.hosts[2].task("web.2"), "web.2", 80)
			l.mute(c.hosts[x.host].task("web.1"))
			answer := make(chan string, 1)
			go func() { answer <- l.ask(c.client, "tcp4", nodeAddress(0)+":8080") }()
			l.untilTracked(l.host, netip.MustParseAddrPort("10.0.0.11:80"))

			next := []place{one, two}
			if x.gone {
				next = next[1:]
			}
			for i, text := range plans(next, "publish 8080/tcp 10.0.0.12:80") {
				if a := c.hosts[i].apply(text); a.Err != nil || len(a.Failed) > 0 {
					t.Fatalf("the plan failed: %v %v", a.Err, a.Failed)
				}
			}
			if got, want := <-answer, "web.2 "+clusterClient; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// The same is so for a service's own address, from within a task; a UDP flow moves
// at once, and an established connection stays.
func TestFlowsToServicesMoveOn(t *testing.T) {
	c := newCluster(t)
	places := []place{
		{host: 0, task: "client", on: []string{"red=10.0.1.2,fd00:1::2"}},
		{host: 1, task: "web.1", on: []string{"red=10.0.1.3,fd00:1::3"}},
		{host: 2, task: "web.2", on: []string{"red=10.0.1.4,fd00:1::4"}},
	}
	to := func(n int) string {
		return fmt.Sprintf("%s\nvip red 10.0.1.100 10.0.1.%d\nvip red fd00:1::100 fd00:1::%d", twoNetworks, n, n)
	}
	c.must(plans(places, to(3)))
	l := c.hosts[0]
	client, web1 := l.task("client"), c.hosts[1].task("web.1")
	l.serveOn(web1, "web.1", "", ":80")
	l.serveOn(c.hosts[2].task("web.2"), "web.2", "", ":80")
	connect := func(network, address string) net.Conn {
		t.Helper()
		conn, err := l.dial(client, network, address)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := say(conn); err != nil || !strings.HasPrefix(got, "web.1 ") {
			t.Fatalf("%s: %q, %v", network, got, err)
		}
		return conn
	}
	kept := connect("tcp4", "10.0.1.100:80")
	udp, udp6 := connect("udp4", "10.0.1.100:80"), connect("udp6", "[fd00:1::100]:80")
	c.must(plans(places, to(4)))
	if got, err := say(udp); got != "web.2 10.0.1.2" {
		t.Errorf("the UDP flow: %q, %v", got, err)
	}
	if got, err := say(udp6); got != "web.2 fd00:1::2" {
		t.Errorf("the UDP flow over IPv6: %q, %v", got, err)
	}
	if got, err := say(kept); got != "web.1 10.0.1.2" {
		t.Errorf("the connection: %q, %v", got, err)
	}

	c.must(plans(places, to(3)))
	l.mute(web1)
	answers := make(chan string, 2)
	go func() { answers <- l.ask(client, "tcp4", "10.0.1.100:80") }()
	l.untilTracked(client, netip.MustParseAddrPort("10.0.1.3:80"))
	if a := l.apply(plans(places, to(4))[0]); a.Err != nil || len(a.Failed) > 0 {
		t.Fatalf("the plan failed: %v %v", a.Err, a.Failed)
	}
	if got, want := <-answers, "web.2 10.0.1.2"; got != want {
		t.Errorf("a connection under way: got %q, want %q", got, want)
	}
}

// remembered are the flows of a selection that the kernel knows.
func remembered(t testing.TB, ns netns.NsHandle, s selection) (out []conntrack.Flow) {
	t.Helper()
	err := inside(ns, func() error {
		return forgetFlows([]selection{s}, func(f conntrack.Flow) bool {
			out = append(out, f)
			return false
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// remember has the kernel know connections that have been answered, each of another
// client's port, to servers in turn.
func remember(t testing.TB, ns netns.NsHandle, client netip.Addr, connections int, servers ...netip.Addr) {
	t.Helper()
	err := inside(ns, func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // all has been answered
		for n := range connections {
			const state = conntrack.StatusConfirmed | conntrack.StatusSeenReply
			if err := c.Create(conntrack.NewFlow(unix.IPPROTO_TCP, state, client, servers[n%len(servers)], uint16(n+1), 80, 600, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The kernel tells of what is selected alone.
func TestSelections(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this test makes network namespaces and must run as root")
	}
	ns := newNamespace(t)
	one, two := netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("10.7.0.2")
	remember(t, ns, one, 6, two, netip.MustParseAddr("10.7.0.3"))
	for _, x := range []struct {
		what string
		s    selection
		want int
	}{
		{"all", selection{}, 6},
		{"a client's", selection{client: one}, 6},
		{"another's", selection{client: two}, 0},
		{"a server's", selection{server: two}, 3},
		{"of a client to a server", selection{client: one, server: two}, 3},
		{"TCP", selection{protocol: unix.IPPROTO_TCP}, 6},
		{"UDP", selection{protocol: unix.IPPROTO_UDP}, 0},
	} {
		if got := len(remembered(t, ns, x.s)); got != x.want {
			t.Errorf("%s: %d connections, want %d", x.what, got, x.want)
		}
	}
}

// onePort is two tasks, and a port that leads to one of them.
func onePort(backend string) string {
	return "gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\nendpoint web.2 172.20.0.3\npublish 8080/tcp " + backend + ":80"
}

// A connection that comes in the place of one that is to be forgotten stays: its client
// uses the port again, and it leads elsewhere.
func TestSuccessorsAreNotForgotten(t *testing.T) {
	l := newLab(t)
	l.must(onePort("172.20.0.2"))
	l.serve(l.task("web.1"), "web.1", 80)
	l.serve(l.task("web.2"), "web.2", 80)
	ask := func(port int) net.Conn {
		t.Helper()
		c, err := l.dialFrom(l.client, "tcp4", port, hostAddress+":8080")
		if err == nil {
			_, err = say(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const first, ports = 40001, 32
	for n := range ports {
		c := ask(first + n).(*net.TCPConn)
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil { // so that the port is free at once
			t.Fatal(err)
		}
	}
	l.must(onePort("172.20.0.3"))
	successors := 0
	gone := netip.MustParseAddr("172.20.0.2")
	err := inside(l.host, func() error {
		return forgetFlows([]selection{{server: gone}}, func(f conntrack.Flow) bool {
			if asked := askedOf(f); asked.Addr().String() != hostAddress {
				return false
			}
			ask(int(f.TupleOrig.Proto.SourcePort))
			successors++
			return true
		})
	})
	if err != nil || successors != ports {
		t.Errorf("%d of %d connections have been followed by others, %v", successors, ports, err)
	}
	if left := remembered(t, l.host, selection{server: netip.MustParseAddr("172.20.0.3")}); len(left) != ports {
		t.Errorf("the kernel remembers %d of %d", len(left), ports)
	}
}

// A connection that its server has cut off is remembered for a while, and so is where
// it led. When its backend leaves, it is forgotten: its client may use the port again.
func TestEndedConnectionsDoNotLead(t *testing.T) {
	t.Run("by a published port", func(t *testing.T) {
		l := newLab(t)
		l.must(onePort("172.20.0.2"))
		l.serve(l.task("web.2"), "web.2", 80)
		again := l.cutOff(l.client, hostAddress+":8080", l.task("web.1"))
		l.must(onePort("172.20.0.3"))
		l.untilForgotten(l.host, netip.MustParseAddr("172.20.0.2"))
		if got, want := again(), "web.2 "+clientAddress; got != want {
			t.Errorf("from the same port: got %q, want %q", got, want)
		}
	})
	t.Run("by a service's own address", func(t *testing.T) {
		c := newCluster(t)
		places := []place{
			{host: 0, task: "client", on: []string{"red=10.0.1.2,fd00:1::2"}},
			{host: 0, task: "web.1", on: []string{"red=10.0.1.3,fd00:1::3"}},
			{host: 0, task: "web.2", on: []string{"red=10.0.1.4,fd00:1::4"}},
		}
		to := func(n int) []string {
			return plans(places, fmt.Sprintf("%s\nvip red 10.0.1.100 10.0.1.%d", twoNetworks, n))
		}
		c.must(to(3))
		l := c.hosts[0]
		client := l.task("client")
		l.serve(l.task("web.2"), "web.2", 80)
		again := l.cutOff(client, "10.0.1.100:80", l.task("web.1"))
		c.must(to(4))
		l.untilForgotten(client, netip.MustParseAddr("10.0.1.3"))
		if got, want := again(), "web.2 10.0.1.2"; got != want {
			t.Errorf("from the same port: got %q, want %q", got, want)
		}
	})
}

// cutOff has a client connect to an address, and the server that this leads to cut it
// off. What it returns has the client ask from the same port again.
func (l *lab) cutOff(client netns.NsHandle, address string, task netns.NsHandle) (again func() string) {
	l.t.Helper()
	var server net.Listener
	err := inside(task, func() (err error) {
		server, err = net.Listen("tcp4", ":80")
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { server.Close() })
	dial := func() net.Conn {
		l.t.Helper()
		c, err := l.dialFrom(client, "tcp4", 40001, address)
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	accepted, err := server.Accept()
	if err == nil {
		err = errors.Join(accepted.(*net.TCPConn).SetLinger(0), accepted.Close())
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		l.t.Fatalf("the connection was not cut off: %v", err)
	}
	c.Close()
	return func() string {
		l.t.Helper()
		answer, err := say(dial())
		if err != nil {
			l.t.Error(err)
		}
		return answer
	}
}

// untilForgotten waits until the kernel remembers no connection to a server.
func (l *lab) untilForgotten(ns netns.NsHandle, server netip.Addr) {
	l.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < patience; <-look.C {
		if len(remembered(l.t, ns, selection{server: server})) == 0 {
			return
		}
	}
	l.t.Fatalf("a connection to %s is remembered", server)
}

// What goes is forgotten without reading all that the kernel remembers.
func BenchmarkForget(b *testing.B) {
	ns := newNamespace(b)
	var servers []netip.Addr
	for n := range 500 {
		servers = append(servers, netip.AddrFrom4([4]byte{10, 7, byte(n >> 8), byte(n)}))
	}
	remember(b, ns, netip.MustParseAddr("192.0.2.7"), 20_000, servers...)
	s := stale{gone: servers[:1]}
	for _, how := range []struct {
		name       string
		selections []selection
	}{{"selected", s.selections()}, {"all", []selection{{}}}} {
		b.Run(how.name, func(b *testing.B) {
			for b.Loop() {
				err := inside(ns, func() error {
					return forgetFlows(how.selections, func(conntrack.Flow) bool { return false })
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
