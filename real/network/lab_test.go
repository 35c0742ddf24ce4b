package network

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// A lab is a host in a network namespace of its own, on a cable to a client in
// another. Nothing of it is in the machine's namespace.
type lab struct {
	t            testing.TB
	host, client netns.NsHandle
	config       Config
	net          *Network
	posted       chan engine.NetworkApplied
	generation   uint64
}

const (
	innerName      = "eth0" // of a task that is on no overlay
	hostAddress    = "192.0.2.1"
	clientAddress  = "192.0.2.2"
	hostAddress6   = "2001:db8::1"
	clientAddress6 = "2001:db8::2"
	patience       = 5 * time.Second        // for what must happen; nothing waits for it to pass
	silence        = 300 * time.Millisecond // after which what must not happen has not
)

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this test makes network namespaces and must run as root")
	}
	l := &lab{t: t, host: newNamespace(t), client: newNamespace(t), posted: make(chan engine.NetworkApplied, 64)}
	l.cable()
	l.open()
	return l
}

// open starts on the host; in the end there must be nothing left.
func (l *lab) open() {
	l.t.Helper()
	l.config = Config{
		Bridge: "swarmd0", Table: "swarmd", NetnsDir: filepath.Join(l.t.TempDir(), "netns"), OwnHost: true, SweepPeriod: time.Hour,
		Post: func(e engine.Event) { l.posted <- e.(engine.NetworkApplied) },
	}
	l.start()
	l.t.Cleanup(l.checkClean)
}

func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	err := onThread(func() (err error) {
		ns, err = netns.New()
		if err != nil {
			return err
		}
		return loopbackUp()
	})
	if err != nil {
		t.Skipf("this test makes network namespaces, which this system refuses: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func loopbackUp() error {
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	return h.LinkSetUp(lo)
}

// cable joins host and client; the client sends to the containers' subnet
// through the host, as an attacker would.
func (l *lab) cable() {
	l.in(l.host, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "up0"
		return h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up0", PeerNamespace: netlink.NsFd(int(l.client))})
	})
	end := func(address, address6 string) func(h *netlink.Handle) error {
		return func(h *netlink.Handle) error {
			link, err := h.LinkByName("up0")
			if err != nil {
				return err
			}
			both := []netip.Prefix{netip.MustParsePrefix(address + "/24"), netip.MustParsePrefix(address6 + "/64")}
			return errors.Join(ensureAddresses(h, link, both), h.LinkSetUp(link))
		}
	}
	l.in(l.host, end(hostAddress, hostAddress6))
	l.in(l.client, end(clientAddress, clientAddress6))
	l.in(l.client, func(h *netlink.Handle) error {
		return h.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("172.20.0.0/16")), Gw: net.ParseIP(hostAddress)})
	})
}

// in runs f in a namespace, with a handle of it.
func (l *lab) in(ns netns.NsHandle, f func(h *netlink.Handle) error) {
	l.t.Helper()
	err := inside(ns, func() error {
		h, err := openLinks(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) start() {
	l.t.Helper()
	err := inside(l.host, func() (err error) {
		l.net, err = Start(l.config)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// restart is what a restart of the process is to the kernel.
func (l *lab) restart() {
	l.t.Helper()
	if err := l.net.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.start()
}

// checkClean removes everything and sees to it that it is gone.
func (l *lab) checkClean() {
	if err := errors.Join(l.net.Close(), inside(l.host, func() error { return Remove(l.config) })); err != nil {
		l.t.Error(err)
	}
	l.in(l.host, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		for _, link := range links {
			if name := link.Attrs().Name; name != "lo" && name != "up0" {
				l.t.Errorf("the interface %s is left behind", name)
			}
		}
		return err
	})
	err := inside(l.host, func() error {
		conn, err := openTables()
		if err != nil {
			return err
		}
		defer conn.CloseLasting()
		tables, err := conn.ListTables()
		for _, table := range tables {
			l.t.Errorf("the nftables table %s is left behind", table.Name)
		}
		return err
	})
	if err != nil {
		l.t.Error(err)
	}
	if _, err := os.Stat(l.config.NetnsDir); !errors.Is(err, os.ErrNotExist) {
		l.t.Errorf("the directory of network namespaces is left behind: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), l.config.NetnsDir) {
		l.t.Errorf("mounts are left behind below %s (%v)", l.config.NetnsDir, err)
	}
}

// apply applies a plan and returns the answer, once it has been tidied up too.
func (l *lab) apply(text string) engine.NetworkApplied {
	l.t.Helper()
	p := l.plan(text)
	l.net.Apply(p)
	answer := <-l.posted
	if answer.Generation != p.Generation {
		l.t.Fatalf("the answer is to plan %d, not %d", answer.Generation, p.Generation)
	}
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.net.kernel.forgets.rest()
	return answer
}

// must applies a plan of which everything has to succeed.
func (l *lab) must(text string) {
	l.t.Helper()
	if a := l.apply(text); a.Err != nil || len(a.Failed) > 0 {
		l.t.Fatalf("the plan failed: %v %v", a.Err, a.Failed)
	}
	lines, err := l.net.Difference(l.plan(text))
	if err != nil || len(lines) > 0 {
		l.t.Fatalf("the plan was applied, and yet: %v %v", lines, err)
	}
}

func (l *lab) task(name string) netns.NsHandle {
	l.t.Helper()
	ns, err := netns.GetFromPath(l.net.Netns(state.TaskID(name)))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { ns.Close() })
	return ns
}

// serve answers every line sent to a TCP port with the name and the address
// that the client has, and every UDP packet likewise.
func (l *lab) serve(ns netns.NsHandle, name string, number int) {
	l.t.Helper()
	l.serveOn(ns, name, "4", fmt.Sprintf(":%d", number))
}

func (l *lab) serveOn(ns netns.NsHandle, name, family, address string) {
	l.t.Helper()
	var stream net.Listener
	var packets net.PacketConn
	err := inside(ns, func() (err error) {
		if stream, err = net.Listen("tcp"+family, address); err != nil {
			return err
		}
		packets, err = net.ListenPacket("udp"+family, address)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { stream.Close(); _ = packets.Close() })
	go func() {
		for {
			c, err := stream.Accept()
			if err != nil {
				return
			}
			go answerLines(c, name)
		}
	}()
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			fmt.Fprintf(writerTo{packets, from}, "%s %s\n", name, hostOf(from))
		}
	}()
}

type writerTo struct {
	net.PacketConn
	to net.Addr
}

func (w writerTo) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

func answerLines(c net.Conn, name string) {
	defer c.Close()
	in := bufio.NewScanner(c)
	for in.Scan() {
		fmt.Fprintf(c, "%s %s\n", name, hostOf(c.RemoteAddr()))
	}
}

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}

// dial connects from a namespace.
func (l *lab) dial(ns netns.NsHandle, network, address string) (net.Conn, error) {
	return l.dialFor(patience, ns, network, address)
}

func (l *lab) dialFor(d time.Duration, ns netns.NsHandle, network, address string) (net.Conn, error) {
	var c net.Conn
	err := inside(ns, func() (err error) {
		c, err = net.DialTimeout(network, address, d)
		return err
	})
	if err == nil {
		l.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// say sends a line on a connection and returns the answer.
func say(c net.Conn) (string, error) { return sayFor(patience, c) }

func sayFor(d time.Duration, c net.Conn) (string, error) {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, "who are you?"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// ask connects, says a line and returns the answer: who, and from whom. It is
// "refused" if nobody takes the connection, "silence" if nothing comes back.
func (l *lab) ask(ns netns.NsHandle, network, address string) string {
	l.t.Helper()
	return l.askFor(patience, ns, network, address)
}

func (l *lab) askFor(d time.Duration, ns netns.NsHandle, network, address string) string {
	l.t.Helper()
	c, err := l.dialFor(d, ns, network, address)
	if err == nil {
		defer c.Close()
		var answer string
		if answer, err = sayFor(d, c); err == nil {
			return answer
		}
	}
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silence"
	}
	return err.Error()
}
