package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/state"
)

// identity is what would change if anything were made anew: the indices of
// links, the handles of chains and rules, the inodes of namespaces.
func (l *lab) identity(tasks ...string) string {
	l.t.Helper()
	var out []string
	l.in(l.host, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		for _, link := range links {
			out = append(out, fmt.Sprintf("link %s %d", link.Attrs().Name, link.Attrs().Index))
		}
		return err
	})
	err := inside(l.host, func() error {
		tables, err := exec.Command("nft", "--handle", "--terse", "list", "ruleset").Output()
		out = append(out, string(tables))
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, task := range tasks {
		ns := l.task(task)
		var s unix.Stat_t
		if err := unix.Fstat(int(ns), &s); err != nil {
			l.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("namespace %s %d", task, s.Ino))
		l.in(ns, func(h *netlink.Handle) error {
			link, err := h.LinkByName(innerName)
			if err == nil {
				out = append(out, fmt.Sprintf("inner %s %d", task, link.Attrs().Index))
			}
			return err
		})
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// A new process finds what the old one has made, changes nothing, and
// connections go on through it all; only then is swept what no plan names.
func TestRestartChangesNothing(t *testing.T) {
	l := newLab(t)
	l.website()
	tasks := []string{"web.1", "web.2", "web.3"}
	before := l.identity(tasks...)
	c, err := l.dial(l.client, "tcp4", hostAddress+":8080")
	if err != nil {
		t.Fatal(err)
	}
	first, err := say(c)
	if err != nil {
		t.Fatal(err)
	}
	l.restart()
	if after := l.identity(tasks...); after != before {
		t.Errorf("starting changed the kernel:\n%s\n---\n%s", before, after)
	}
	l.must(website)
	if after := l.identity(tasks...); after != before {
		t.Errorf("the same plan changed the kernel:\n%s\n---\n%s", before, after)
	}
	if again, err := say(c); err != nil || again != first {
		t.Errorf("the connection did not survive: %q then %q, %v", first, again, err)
	}
	l.restart()
	less := "gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\npublish 8080/tcp 172.20.0.2:80"
	l.must(less)
	if got := l.ask(l.client, "tcp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
		t.Errorf("got %q", got)
	}
	// What balanced three is idle now, which is nothing to be repaired.
	l.restart()
	if lines, err := l.net.Difference(l.plan(less)); err != nil || len(lines) > 0 {
		t.Errorf("the kernel differs: %v, %v", lines, err)
	}
}

// Whatever somebody breaks is named, and repaired by a sweep.
func TestDriftIsRepaired(t *testing.T) {
	l := newLab(t)
	l.website()
	host := func(f func(h *netlink.Handle) error) func() { return func() { l.in(l.host, f) } }
	task := func(f func(h *netlink.Handle) error) func() { return func() { l.in(l.task("web.1"), f) } }
	byName := func(name string, f func(h *netlink.Handle, link netlink.Link) error) func(h *netlink.Handle) error {
		return func(h *netlink.Handle) error {
			link, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			return f(h, link)
		}
	}
	tables := func(f func(conn *nftables.Conn, t *table)) func() {
		return func() {
			err := inside(l.host, func() error {
				conn, err := openTables()
				if err != nil {
					return err
				}
				defer conn.CloseLasting()
				f(conn, l.net.kernel.table)
				return conn.Flush()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	outer := vethName("web.1")
	p := port{protocol: unix.IPPROTO_TCP, number: 8080}
	for _, c := range []struct {
		what  string
		harm  func()
		lines []string
	}{
		{"the table is deleted", tables(func(conn *nftables.Conn, t *table) { conn.DelTable(t.kernel) }), []string{"the nftables table swarmd is missing"}},
		{"a chain loses its rules", tables(func(conn *nftables.Conn, t *table) {
			conn.FlushChain(&nftables.Chain{Table: t.kernel, Name: "spoofed"})
		}), []string{"lacks the chain spoofed rule 0: loopback", "lacks the chain spoofed rule 1: containers"}},
		{"a rule is added", tables(func(conn *nftables.Conn, t *table) {
			conn.AddRule(&nftables.Rule{Table: t.kernel, Chain: &nftables.Chain{Name: "refused"}, Exprs: verdict(0), UserData: udata("mine")})
		}), []string{"has a foreign chain refused rule 4: mine"}},
		{"a map is emptied", tables(func(conn *nftables.Conn, t *table) { conn.FlushSet(t.set(mapBackends)) }), []string{
			"published port 8080/tcp: 0 backends of 3 are in the map", "published port 8080/udp: 0 backends of 1 are in the map",
		}},
		{"a port is unpublished", tables(func(conn *nftables.Conn, t *table) {
			b := newBatch(t.uses)
			b.change(change{port: p, before: t.ports[p]})
			for _, s := range t.sets {
				if len(b.del[s.Name]) > 0 {
					_ = conn.SetDeleteElements(s, b.del[s.Name])
				}
			}
		}), []string{"published port 8080/tcp: does not answer"}},
		{"a chain that balances is added, and no port uses it", tables(func(conn *nftables.Conn, t *table) {
			conn.AddChain(&nftables.Chain{Table: t.kernel, Name: "lb_7_20"})
		}), []string{"lacks the chain lb_7_20 rule 0: in turn"}},
		{
			"the bridge is deleted", host(byName("swarmd0", func(h *netlink.Handle, link netlink.Link) error { return h.LinkDel(link) })),
			[]string{"the bridge swarmd0 is missing", "task web.1: eth0 is not on the bridge"},
		},
		{
			"the bridge is down", host(byName("swarmd0", func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetDown(link) })),
			[]string{"the bridge swarmd0 is down"},
		},
		{"the host no longer routes", func() {
			if err := inside(l.host, func() error { return sysctl{"ipv4/ip_forward", "0"}.write() }); err != nil {
				t.Fatal(err)
			}
		}, []string{"the kernel setting net/ipv4/ip_forward is 0 and should be 1"}},
		{
			"an interface is deleted", host(byName(outer, func(h *netlink.Handle, link netlink.Link) error { return h.LinkDel(link) })),
			[]string{"task web.1: eth0 is missing"},
		},
		{
			"an interface leaves the bridge", host(byName(outer, func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetNoMaster(link) })),
			[]string{"task web.1: eth0 is not on the bridge", "task web.1: the bridge port of eth0 is not isolated"},
		},
		{
			"a port is not isolated", host(byName(outer, func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetIsolated(link, false) })),
			[]string{"task web.1: the bridge port of eth0 is not isolated"},
		},
		{
			"a port learns", host(byName(outer, func(h *netlink.Handle, link netlink.Link) error { return h.LinkSetLearning(link, true) })),
			[]string{"task web.1: the bridge port of eth0 learns addresses"},
		},
		{"the host forgets a neighbour and has another", host(byName("swarmd0", func(h *netlink.Handle, link netlink.Link) error {
			n := netlink.Neigh{LinkIndex: link.Attrs().Index, Family: unix.AF_INET, IP: net.ParseIP("172.20.0.2").To4()}
			other := n
			other.IP, other.HardwareAddr, other.State = net.ParseIP("172.20.0.77").To4(), mac(netip.MustParseAddr("1.2.3.4")), netlink.NUD_PERMANENT
			return errors.Join(h.NeighDel(&n), h.NeighSet(&other))
		})), []string{"task web.1: the host does not know the hardware address of 172.20.0.2", "the neighbour 172.20.0.77 belongs to no task of the plan"}},
		{"a container drops its address", task(byName(innerName, func(h *netlink.Handle, link netlink.Link) error {
			return h.AddrDel(link, &netlink.Addr{IPNet: ipNet(l.net.kernel.endpoints["web.1"].prefix())})
		})), []string{"task web.1: its address 172.20.0.2/16 is missing", "task web.1: it has no default route to 172.20.0.1"}},
		{"a namespace comes from nowhere", func() {
			if err := makeNamespace(l.net.Netns("stray"), prepareNamespace); err != nil {
				t.Fatal(err)
			}
		}, []string{"the network namespace stray belongs to no task of the plan"}},
	} {
		c.harm()
		got, err := l.net.Difference(l.plan(website))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range c.lines {
			if !strings.Contains(strings.Join(got, "\n"), line) {
				t.Errorf("%s: %q is not among\n%s", c.what, line, strings.Join(got, "\n"))
			}
		}
		l.net.sweep()
		if left, err := l.net.Difference(l.plan(website)); err != nil || len(left) > 0 {
			t.Errorf("%s: after the sweep: %v %v", c.what, left, err)
		}
		if got := l.ask(l.client, "udp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
			t.Errorf("%s: after the sweep web.1 answers %q", c.what, got)
		}
	}
}

// A plan that comes upon what somebody has broken does not wait for a sweep.
func TestPlanMeetsDrift(t *testing.T) {
	l := newLab(t)
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\npublish 8080/tcp 172.20.0.2:80")
	l.in(l.host, func(h *netlink.Handle) error { return removeLink(h, "swarmd0") })
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2\nendpoint web.2 172.20.0.3\npublish 8080/tcp 172.20.0.2:80")
	if err := inside(l.host, func() error {
		conn, err := openTables()
		if err != nil {
			return err
		}
		conn.DelTable(l.net.kernel.table.kernel)
		return errors.Join(conn.Flush(), conn.CloseLasting())
	}); err != nil {
		t.Fatal(err)
	}
	l.website()
	if got := l.ask(l.client, "udp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
		t.Errorf("got %q", got)
	}
}

// Plans that have not been begun are overtaken; one answer is for all.
func TestNewestPlanOvertakes(t *testing.T) {
	l := newLab(t)
	l.net.mu.Lock() // nothing can be begun to the end
	for range 5 {
		l.net.Apply(l.plan(website))
	}
	last := l.plan("gateway 172.20.0.1/16")
	l.net.Apply(last)
	l.net.mu.Unlock()
	answers := []uint64{(<-l.posted).Generation}
	if answers[0] != last.Generation { // one had been taken up already
		answers = append(answers, (<-l.posted).Generation)
	}
	if len(answers) > 2 || answers[len(answers)-1] != last.Generation {
		t.Errorf("the answers were to %v, the last plan was %d", answers, last.Generation)
	}
	if lines, err := l.net.Difference(last); err != nil || len(lines) > 0 {
		t.Error(lines, err)
	}
}

// What is wrong with one endpoint or port is told, and the rest is made.
func TestOneFailureDoesNotSpread(t *testing.T) {
	l := newLab(t)
	a := l.apply(`
		gateway 172.20.0.1/16
		endpoint web.1 172.20.0.2
		endpoint twin 172.20.0.2
		endpoint ../escape 172.20.0.5
		endpoint far 10.0.0.1
		publish 8080/tcp 172.20.0.2:80
		publish 8080/tcp 172.20.0.2:81
		publish 53/quic
	`)
	want := map[state.TaskID]string{
		"twin":      "the task's address 172.20.0.2 is that of task web.1 too",
		"../escape": `the task's identifier "../escape" cannot be a file name`,
		"far":       "the task's address 10.0.0.1 is not one of the subnet of the gateway 172.20.0.1/16",
	}
	for task, why := range want {
		if a.Failed[task] != why {
			t.Errorf("%s: %q, want %q", task, a.Failed[task], why)
		}
	}
	if len(a.Failed) != len(want) {
		t.Errorf("%v failed", a.Failed)
	}
	text := "published port 8080/tcp: the plan has it twice\npublished port 53: the protocol \"quic\" is none of tcp, udp and sctp"
	if a.Err == nil || a.Err.Error() != text {
		t.Errorf("the error is %v", a.Err)
	}
	l.serve(l.task("web.1"), "web.1", 80)
	if got := l.ask(l.client, "tcp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
		t.Errorf("got %q", got)
	}
}

// A name that belongs to something else is left alone, and told.
func TestForeignBridgeIsLeftAlone(t *testing.T) {
	l := newLab(t)
	l.in(l.host, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "swarmd0"
		return h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other0"})
	})
	a := l.apply("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2")
	if why := "the interface swarmd0 is not a bridge: rename it or give the swarm's bridge another name"; a.Err == nil || a.Failed["web.1"] != why {
		t.Errorf("%v %v", a.Err, a.Failed)
	}
	l.in(l.host, func(h *netlink.Handle) error { return removeLink(h, "swarmd0") })
	l.must("gateway 172.20.0.1/16\nendpoint web.1 172.20.0.2")
}

// A process that dies at any moment leaves halves; the next one completes them.
func TestHalvesAreCompleted(t *testing.T) {
	l := newLab(t)
	l.must("gateway 172.20.0.1/16")
	half := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	// web.1: the file was made, the namespace not mounted (nor is it after a reboot).
	half(os.WriteFile(l.net.Netns("web.1"), nil, 0o444))
	// web.2: the namespace was made, nothing in it.
	half(makeNamespace(l.net.Netns("web.2"), func() error { return nil }))
	// web.3: the interface was made and not named.
	half(makeNamespace(l.net.Netns("web.3"), func() error { return nil }))
	e := endpoint{task: "web.3", address: netip.MustParseAddr("172.20.0.4"), gateway: netip.MustParsePrefix("172.20.0.1/16"), mtu: 1500}
	_, err := l.net.kernel.lay(l.task("web.3"), l.net.kernel.cables(e)[0], seenCable{})
	half(err)
	// web.4, that nobody wants: the same, and its namespace is not even held.
	e.task, e.address = "web.4", netip.MustParseAddr("172.20.0.5")
	_, err = l.net.kernel.lay(newNamespace(t), l.net.kernel.cables(e)[0], seenCable{})
	half(err)
	l.restart()
	l.website()
	if got := l.ask(l.client, "udp4", hostAddress+":8080"); got != "web.1 "+clientAddress {
		t.Errorf("got %q", got)
	}
}

// However often plans come and go, the process holds no more than it did.
func TestNothingIsHeld(t *testing.T) {
	l := newLab(t)
	held := func() (files int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		l.must(website)
		l.net.sweep()
		l.must("gateway 172.20.0.1/16")
		l.must("")
	}
	cycle()
	before := held()
	for range 5 {
		cycle()
	}
	if after := held(); after > before {
		t.Errorf("%d files were open, now %d", before, after)
	}
}
