package network

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const website = `
	gateway 172.20.0.1/16
	endpoint web.1 172.20.0.2
	endpoint web.2 172.20.0.3
	endpoint web.3 172.20.0.4
	publish 8080/tcp 172.20.0.2:80 172.20.0.3:80 172.20.0.4:80
	publish 8080/udp 172.20.0.2:80
	publish 9000/tcp
	publish 9000/udp
	publish 192.0.2.1:7000/tcp 172.20.0.3:80
	publish 127.0.0.1:7001/tcp 172.20.0.3:80
	publish 192.0.2.1:7002/tcp
	publish 192.0.2.1:7000/udp 172.20.0.3:80
	publish 127.0.0.1:7001/udp 172.20.0.3:80
`

func (l *lab) website() {
	l.t.Helper()
	l.must(website)
	for i := range 3 {
		name := fmt.Sprintf("web.%d", i+1)
		l.serve(l.task(name), name, 80)
	}
}

// Whoever may connect to a published port reaches a task, and the task knows
// who it is where that can be.
func TestPublishedPortsAnswer(t *testing.T) {
	l := newLab(t)
	l.serve(l.client, "outside", 5000)
	l.serve(l.host, "host", 9000)
	l.serve(l.host, "host", 7000)
	l.website()
	web := func(i int) netns.NsHandle { return l.task(fmt.Sprintf("web.%d", i)) }
	second, link := "2001:db8::a:1", l.secondAddress("2001:db8::a:1")
	for _, c := range []struct {
		what             string
		from             netns.NsHandle
		network, address string
		want             string
	}{
		{"a client elsewhere, seen as itself", l.client, "udp4", hostAddress + ":8080", "web.1 " + clientAddress},
		{"the host, by its address", l.host, "udp4", hostAddress + ":8080", "web.1 " + hostAddress},
		{"the host, by loopback", l.host, "udp4", "127.0.0.1:8080", "web.1 172.20.0.1"},
		{"the host, by the bridge's address", l.host, "udp4", "172.20.0.1:8080", "web.1 172.20.0.1"},
		{"another container", web(2), "udp4", hostAddress + ":8080", "web.1 172.20.0.1"},
		{"another container, by the gateway", web(2), "udp4", "172.20.0.1:8080", "web.1 172.20.0.1"},
		{"the very container", web(1), "udp4", hostAddress + ":8080", "web.1 172.20.0.1"},
		{"a container out into the world, as the host", web(1), "tcp4", clientAddress + ":5000", "outside " + hostAddress},
		{"and by UDP", web(1), "udp4", clientAddress + ":5000", "outside " + hostAddress},

		{"published on one address", l.client, "tcp4", hostAddress + ":7000", "web.2 " + clientAddress},
		{"published on one address, at another", l.host, "tcp4", "127.0.0.1:7000", "host 127.0.0.1"},
		{"published on loopback, from the host", l.host, "tcp4", "127.0.0.1:7001", "web.2 172.20.0.1"},
		{"published on loopback, from elsewhere", l.client, "tcp4", hostAddress + ":7001", "refused"},
		{"no backend, on one address", l.client, "tcp4", hostAddress + ":7002", "refused"},

		{"a client elsewhere, over IPv6", l.client, "tcp6", "[" + hostAddress6 + "]:8080", "web.1 172.20.0.1"},
		{"published on loopback, from elsewhere over IPv6", l.client, "tcp6", "[" + hostAddress6 + "]:7001", "refused"},
		{"the host, by the other loopback", l.host, "tcp6", "[::1]:7001", "web.2 172.20.0.1"},
		{"the other loopback, published on one address", l.host, "tcp6", "[::1]:7002", "refused"},
		{"the other loopback, no backend", l.host, "tcp6", "[::1]:9000", "refused"},

		{"a client elsewhere, by UDP over IPv6", l.client, "udp6", "[" + hostAddress6 + "]:8080", "web.1 172.20.0.1"},
		{"and at another address of the host", l.client, "udp6", "[" + second + "]:8080", "web.1 172.20.0.1"},
		{"and on the link alone", l.client, "udp6", "[" + link + "]:8080", "web.1 172.20.0.1"},
		{"the host, by UDP over IPv6", l.host, "udp6", "[" + second + "]:8080", "web.1 172.20.0.1"},
		{"the host, by UDP and the other loopback", l.host, "udp6", "[::1]:8080", "web.1 172.20.0.1"},
		{"published on loopback, by UDP from elsewhere over IPv6", l.client, "udp6", "[" + hostAddress6 + "]:7001", "refused"},
		{"published on loopback, by UDP and the other loopback", l.host, "udp6", "[::1]:7001", "web.2 172.20.0.1"},
		{"published on one address, by UDP over IPv6", l.client, "udp6", "[" + hostAddress6 + "]:7000", "refused"},
		{"published on one address, by UDP and the other loopback", l.host, "udp6", "[::1]:7000", "refused"},
		{"no backend, by UDP over IPv6", l.client, "udp6", "[" + hostAddress6 + "]:9000", "refused"},
		{"not published, by UDP over IPv6", l.client, "udp6", "[" + hostAddress6 + "]:8081", "refused"},

		{"no backend", l.client, "tcp4", hostAddress + ":9000", "refused"},
		{"no backend, by loopback", l.host, "tcp4", "127.0.0.1:9000", "refused"},
		{"no backend, from a container", web(1), "tcp4", hostAddress + ":9000", "refused"},
		{"no backend, UDP", l.client, "udp4", hostAddress + ":9000", "refused"},
		{"no backend, UDP, by loopback", l.host, "udp4", "127.0.0.1:9000", "refused"},
		{"not published", l.client, "tcp4", hostAddress + ":8081", "refused"},
	} {
		if got := l.ask(c.from, c.network, c.address); got != c.want {
			t.Errorf("%s: %s %s: got %q, want %q", c.what, c.network, c.address, got, c.want)
		}
	}
}

// Each of n backends takes an n-th of the connections, whoever makes them.
func TestConnectionsAreBalanced(t *testing.T) {
	l := newLab(t)
	l.website()
	for _, c := range []struct {
		from    netns.NsHandle
		address string
	}{{l.client, hostAddress + ":8080"}, {l.host, "127.0.0.1:8080"}, {l.task("web.1"), hostAddress + ":8080"}} {
		count := map[string]int{}
		for range 12 {
			var name, from string
			fmt.Sscan(l.ask(c.from, "tcp4", c.address), &name, &from)
			count[name]++
		}
		for i := range 3 {
			if name := fmt.Sprintf("web.%d", i+1); count[name] != 4 {
				t.Errorf("%s: of 12 connections %s took %d, want 4 (%v)", c.address, name, count[name], count)
			}
		}
	}
}

// Nobody gets at a container but by its published ports: not its neighbours, not
// a client that knows the subnet, not with a false address.
func TestContainersAreIsolated(t *testing.T) {
	l := newLab(t)
	l.website()
	for _, c := range []struct {
		what    string
		from    netns.NsHandle
		address string
		want    string
	}{
		{"a neighbour, directly", l.task("web.2"), "172.20.0.2:80", "silence"},
		{"a client, directly", l.client, "172.20.0.2:80", "silence"},
		{"the host, directly", l.host, "172.20.0.2:80", "web.1 172.20.0.1"},
	} {
		if got := l.askFor(silence, c.from, "tcp4", c.address); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	l.serve(l.host, "host", 6000)
	if got := l.ask(l.task("web.1"), "udp4", "172.20.0.1:6000"); got != "host 172.20.0.2" {
		t.Errorf("a container speaks to the host: got %q", got)
	}
	// web.2 says that it is web.1, which is not believed.
	l.in(l.task("web.2"), func(h *netlink.Handle) error {
		link, err := h.LinkByName(innerName)
		if err != nil {
			return err
		}
		return errors.Join(
			h.LinkSetDown(link), h.LinkSetHardwareAddr(link, mac(netip.MustParseAddr("172.20.0.2"))),
			ensureAddress(h, link, netip.MustParsePrefix("172.20.0.2/16")), h.LinkSetUp(link),
		)
	})
	l.askFor(silence, l.task("web.2"), "udp4", "172.20.0.1:6000")
	if got := l.ask(l.client, "udp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
		t.Errorf("after web.2 has said that it is web.1: got %q", got)
	}
	l.in(l.task("web.1"), func(h *netlink.Handle) error {
		link, err := h.LinkByName(innerName)
		if err != nil {
			return err
		}
		if err := ensureAddresses(h, link, []netip.Prefix{netip.MustParsePrefix("10.66.0.1/32")}); err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("172.20.0.1/32")), Src: net.ParseIP("10.66.0.1"), Scope: netlink.SCOPE_LINK}
		return h.RouteAdd(route)
	})
	l.in(l.host, func(h *netlink.Handle) error { // so that an answer would find its way
		link, err := h.LinkByName("swarmd0")
		if err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("10.66.0.1/32")), Scope: netlink.SCOPE_LINK})
	})
	if got := l.askFor(silence, l.task("web.1"), "udp4", "172.20.0.1:6000"); got != "silence" {
		t.Errorf("a container speaks with a false address: got %q", got)
	}
}

// A TCP connection stays with its backend until that is gone; a UDP flow moves
// at once. A flow that began before its port was published moves too.
func TestFlowsFollowThePlan(t *testing.T) {
	l := newLab(t)
	l.website()
	tcp, err := l.dial(l.client, "tcp4", hostAddress+":8080")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := l.dial(l.client, "udp4", hostAddress+":8080")
	if err != nil {
		t.Fatal(err)
	}
	udp6, err := l.dial(l.client, "udp6", "["+hostAddress6+"]:8080")
	if err != nil {
		t.Fatal(err)
	}
	answer := func(c net.Conn) string {
		line, err := say(c)
		if err != nil {
			return err.Error()
		}
		return line
	}
	if got := answer(tcp) + ", " + answer(udp) + ", " + answer(udp6); got != "web.1 192.0.2.2, web.1 192.0.2.2, web.1 172.20.0.1" {
		t.Fatalf("got %s", got)
	}
	moved := strings.ReplaceAll(website, "publish 8080/tcp 172.20.0.2:80 ", "publish 8080/tcp ")
	moved = strings.ReplaceAll(moved, "publish 8080/udp 172.20.0.2:80", "publish 8080/udp 172.20.0.3:80")
	l.must(moved)
	if got := answer(tcp) + ", " + answer(udp) + ", " + answer(udp6); got != "web.1 192.0.2.2, web.2 192.0.2.2, web.2 172.20.0.1" {
		t.Errorf("after web.1 has left the map: %s", got)
	}
	for range 6 {
		if got := l.ask(l.client, "tcp4", hostAddress+":8080"); strings.HasPrefix(got, "web.1") {
			t.Error("a new connection went to web.1")
		}
	}

	l.serve(l.host, "host", 9999)
	early, err := l.dial(l.client, "udp4", hostAddress+":9999")
	if err != nil {
		t.Fatal(err)
	}
	if got := answer(early); got != "host 192.0.2.1" && got != "host "+clientAddress {
		t.Errorf("before it is published: %s", got)
	}
	l.must(moved + "publish 9999/udp 172.20.0.4:80")
	if got := answer(early); got != "web.3 "+clientAddress {
		t.Errorf("after it is published: %s", got)
	}
}

// What is removed is gone, and what remains is not disturbed.
func TestRemoval(t *testing.T) {
	l := newLab(t)
	l.website()
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\npublish 8080/tcp 172.20.0.2:80")
	if isNamespace(l.net.Netns("web.2")) {
		t.Error("the namespace of web.2 is still there")
	}
	for address, want := range map[string]string{":8080": "web.1 " + clientAddress, ":9000": "refused", ":7000": "refused"} {
		if got := l.ask(l.client, "tcp4", hostAddress+address); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
	// An address passes from one task to another in one plan.
	l.must("gateway 172.20.0.1/16\nendpoint web.9 172.20.0.2\npublish 8080/tcp 172.20.0.2:80")
	l.serve(l.task("web.9"), "web.9", 80)
	if got := l.ask(l.client, "tcp4", hostAddress+":8080"); got != "web.9 "+clientAddress {
		t.Errorf("got %q", got)
	}
	l.must("gateway 172.21.0.1/24\nendpoint web.9 172.21.0.9\npublish 8080/tcp 172.21.0.9:80")
	if got := l.ask(l.client, "tcp4", hostAddress+":8080"); got != "web.9 "+clientAddress {
		t.Errorf("on another subnet: got %q", got)
	}
	l.must("")
	if err := l.net.Remove(); err != nil {
		t.Error(err)
	}
	l.net.sweep() // has no plan, and makes nothing
	if _, err := os.Stat(l.config.NetnsDir); err == nil {
		t.Error("something was made")
	}
}

// The port is the swarm's as long as it is published: a process of the host
// cannot take it, and one that has it keeps it and is told of in the log.
func TestPortsAreReserved(t *testing.T) {
	l := newLab(t)
	var log strings.Builder
	l.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	l.restart()
	l.serve(l.host, "host", 9000)
	l.website()
	listen := func(address string) error {
		return inside(l.host, func() error {
			s, err := net.Listen("tcp4", address)
			if err == nil {
				s.Close()
			}
			return err
		})
	}
	for _, address := range []string{"0.0.0.0:8080", "127.0.0.1:8080", "0.0.0.0:7001", "0.0.0.0:7002"} {
		if err := listen(address); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("listening on %s: %v", address, err)
		}
	}
	for _, p := range []string{"9000/tcp", "9000/udp"} {
		if n := strings.Count(log.String(), "port="+p); n != 1 {
			t.Errorf("%s was told %d times:\n%s", p, n, log.String())
		}
	}
	l.must("gateway 172.20.0.1/16")
	if err := listen("0.0.0.0:8080"); err != nil {
		t.Error(err)
	}
}

// What is said on [::1] is relayed, to the end and both ways, and connections
// outlast the listening.
func TestOtherLoopback(t *testing.T) {
	l := newLab(t)
	l.website()
	c, err := l.dial(l.host, "tcp6", "[::1]:8080")
	if err != nil {
		t.Fatal(err)
	}
	first, err := say(c)
	if err != nil {
		t.Fatal(err)
	}
	const nowhere = "gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\nendpoint web.2 172.20.0.3\nendpoint web.3 172.20.0.4\npublish 8080/tcp"
	l.must(nowhere)
	if late, err := l.dial(l.host, "tcp6", "[::1]:8080"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("with no backend it is not refused: %v, %v", late, err) // as one is that is heard and cut off
	}
	if again, err := say(c); err != nil || again != first {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("after the last word: %q, %v", rest, err)
	}
	l.must(nowhere + " 172.20.0.3:80")
	if got := l.ask(l.host, "tcp6", "[::1]:8080"); got != "web.2 172.20.0.1" {
		t.Errorf("with a backend again: %q", got)
	}
}
