package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/swarmd/swarmd/engine"
)

// A cluster is three hosts and a client on one wire, and a second client beyond
// the first, which is not of the hosts' subnet.
type cluster struct {
	hosts       []*lab
	client, far netns.NsHandle
}

const (
	clusterClient = "10.99.0.100"
	farClient     = "203.0.113.50"
)

func nodeAddress(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }

func newCluster(t testing.TB) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this test makes network namespaces and must run as root")
	}
	fabric := newNamespace(t)
	c := &cluster{client: newNamespace(t), far: newNamespace(t)}
	wire := &lab{t: t, host: fabric}
	wire.in(fabric, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "wire"
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		return errors.Join(
			sysctl{"bridge/bridge-nf-call-iptables", "0"}.write(), sysctl{"bridge/bridge-nf-call-ip6tables", "0"}.write(),
			h.LinkAdd(bridge), h.LinkSetUp(bridge),
		)
	})
	plug := func(ns netns.NsHandle, port, address string) {
		wire.in(fabric, func(h *netlink.Handle) error {
			bridge, err := h.LinkByName("wire")
			if err != nil {
				return err
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MasterIndex = port, bridge.Attrs().Index
			veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "up0", PeerNamespace: netlink.NsFd(int(ns))}
			return errors.Join(h.LinkAdd(veth), h.LinkSetUp(veth))
		})
		wire.in(ns, address0("up0", address))
	}
	plug(c.client, "client", clusterClient+"/24")
	wire.in(c.client, func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "far0"
		return errors.Join(
			sysctl{"ipv4/ip_forward", "1"}.write(),
			h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up0", PeerNamespace: netlink.NsFd(int(c.far))}),
		)
	})
	wire.in(c.client, address0("far0", "203.0.113.1/24"))
	wire.in(c.far, address0("up0", farClient+"/24"))
	byDefault := func(via string) func(h *netlink.Handle) error {
		return func(h *netlink.Handle) error { return h.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}) }
	}
	wire.in(c.far, byDefault("203.0.113.1"))
	for i := range 3 {
		l := &lab{t: t, host: newNamespace(t), client: c.client, posted: make(chan engine.NetworkApplied, 64)}
		plug(l.host, fmt.Sprintf("host%d", i), nodeAddress(i)+"/24")
		l.in(l.host, byDefault(clusterClient))
		l.open()
		c.hosts = append(c.hosts, l)
	}
	return c
}

func address0(name, address string) func(h *netlink.Handle) error {
	return func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return errors.Join(ensureAddress(h, link, netip.MustParsePrefix(address)), h.LinkSetUp(link))
	}
}

// A place is a task's: on which host, and its addresses on networks as
// "ID=address,address".
type place struct {
	host int
	task string
	mesh string
	on   []string
	gone string // "-" if the task has no place on the gateway's bridge
}

// plans are those of the hosts for tasks in places; lines are for every host.
func plans(places []place, lines string) []string {
	out := make([]string, 3)
	for i := range out {
		var b strings.Builder
		fmt.Fprintf(&b, "gateway 172.20.0.1/16\nmesh %s 4096 10.0.0.0/24 10.0.0.%d\n", nodeAddress(i), 201+i)
		for j := range out {
			if j != i {
				fmt.Fprintf(&b, "peer %s 10.0.0.%d\n", nodeAddress(j), 201+j)
			}
		}
		b.WriteString(lines + "\n")
		for n, p := range places {
			if p.host == i {
				at := fmt.Sprintf("172.20.0.%d", 10+n)
				if p.gone != "" {
					at = p.gone
				}
				fmt.Fprintf(&b, "endpoint %s %s", p.task, at)
				if p.mesh != "" {
					fmt.Fprintf(&b, " mesh=%s", p.mesh)
				}
				fmt.Fprintf(&b, " %s\n", strings.Join(p.on, " "))
				continue
			}
			if p.mesh != "" {
				fmt.Fprintf(&b, "route %s %s\n", p.mesh, nodeAddress(p.host))
			}
			for _, on := range p.on {
				id, addresses, _ := strings.Cut(on, "=")
				first, _, _ := strings.Cut(addresses, ",")
				for a := range strings.SplitSeq(addresses, ",") {
					fmt.Fprintf(&b, "remote %s %s %s %s\n", id, a, nodeAddress(p.host), first)
				}
			}
		}
		out[i] = b.String()
	}
	return out
}

// must applies each host's plan.
func (c *cluster) must(plans []string) {
	for i, l := range c.hosts {
		l.t.Helper()
		l.must(plans[i])
	}
}

const twoNetworks = `
	network red 4097 10.0.1.1/24,fd00:1::1/64
	network blue 4098 10.0.1.1/24 internal
	network green 4099 10.0.2.1/24`

// Tasks on one network reach each other wherever they are, over IPv4 and IPv6;
// another network with the same subnet is another world, and an internal one has
// no way out.
func TestOverlays(t *testing.T) {
	c := newCluster(t)
	c.must(plans([]place{
		{host: 0, task: "red.1", on: []string{"red=10.0.1.2,fd00:1::2"}},
		{host: 0, task: "red.2", on: []string{"red=10.0.1.3,fd00:1::3"}},
		{host: 1, task: "red.3", on: []string{"red=10.0.1.4,fd00:1::4"}},
		{host: 0, task: "blue.1", on: []string{"blue=10.0.1.2"}},
		{host: 2, task: "blue.2", on: []string{"blue=10.0.1.3"}, gone: "-"},
		{host: 1, task: "both", on: []string{"red=10.0.1.9,fd00:1::9"}},
	}, twoNetworks))
	at := func(host int, task string) netns.NsHandle { return c.hosts[host].task(task) }
	for _, s := range []struct {
		host int
		task string
	}{{0, "red.1"}, {0, "red.2"}, {1, "red.3"}, {0, "blue.1"}, {2, "blue.2"}} {
		c.hosts[s.host].serveOn(at(s.host, s.task), s.task, "", ":80")
	}
	c.hosts[0].serve(c.client, "outside", 5000)
	for _, x := range []struct {
		what             string
		from             netns.NsHandle
		network, address string
		want             string
	}{
		{"on the same host", at(0, "red.1"), "tcp4", "10.0.1.3:80", "red.2 10.0.1.2"},
		{"on another host", at(0, "red.1"), "tcp4", "10.0.1.4:80", "red.3 10.0.1.2"},
		{"UDP on another host", at(1, "red.3"), "udp4", "10.0.1.2:80", "red.1 10.0.1.4"},
		{"IPv6 on another host", at(0, "red.1"), "tcp6", "[fd00:1::4]:80", "red.3 fd00:1::2"},
		{"IPv6 on the same host", at(0, "red.1"), "tcp6", "[fd00:1::3]:80", "red.2 fd00:1::2"},
		{"the same addresses on the other network", at(0, "blue.1"), "tcp4", "10.0.1.3:80", "blue.2 10.0.1.2"},
		{"and back", at(2, "blue.2"), "tcp4", "10.0.1.2:80", "blue.1 10.0.1.3"},
		{"out", at(0, "red.1"), "tcp4", clusterClient + ":5000", "outside " + nodeAddress(0)},
		{"out of an internal network", at(0, "blue.1"), "tcp4", clusterClient + ":5000", "dial tcp4 10.99.0.100:5000: connect: network is unreachable"},
		{"out, with no place on the bridge", at(2, "blue.2"), "tcp4", clusterClient + ":5000", "dial tcp4 10.99.0.100:5000: connect: network is unreachable"},
	} {
		if got := c.hosts[0].ask(x.from, x.network, x.address); got != x.want {
			t.Errorf("%s: got %q, want %q", x.what, got, x.want)
		}
	}
	if got := c.hosts[0].askFor(silence, at(0, "blue.1"), "tcp4", "10.0.1.4:80"); got != "silence" {
		t.Errorf("nobody has the address on this network: got %q", got)
	}
	// The wire's router knows no such network.
	if got := c.hosts[0].ask(c.hosts[0].host, "tcp4", "10.0.1.2:80"); !strings.Contains(got, "unreachable") {
		t.Errorf("the host is on no network: got %q", got)
	}
}

// A service's own address leads to each of its tasks in turn, wherever they are,
// and they see who connects; a task may be its own backend.
func TestServiceAddresses(t *testing.T) {
	c := newCluster(t)
	places := []place{
		{host: 0, task: "client", on: []string{"red=10.0.1.2,fd00:1::2"}},
		{host: 1, task: "web.1", on: []string{"red=10.0.1.3,fd00:1::3"}},
		{host: 2, task: "web.2", on: []string{"red=10.0.1.4,fd00:1::4"}},
		{host: 0, task: "both", on: []string{"green=10.0.2.9", "red=10.0.1.9,fd00:1::9"}},
	}
	services := twoNetworks + `
		vip red 10.0.1.100 10.0.1.3 10.0.1.4
		vip red 10.0.1.101 10.0.1.2
		vip red 10.0.1.102
		vip red fd00:1::100 fd00:1::3 fd00:1::4`
	c.must(plans(places, services))
	host := c.hosts[0]
	client := host.task("client")
	c.hosts[1].serveOn(c.hosts[1].task("web.1"), "web.1", "", ":80")
	c.hosts[2].serveOn(c.hosts[2].task("web.2"), "web.2", "", ":80")
	host.serve(client, "client", 80)
	turns := func(from netns.NsHandle, network, address string, want map[string]int) {
		t.Helper()
		got := map[string]int{}
		for range 6 {
			got[host.ask(from, network, address)]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
	turns(client, "tcp4", "10.0.1.100:80", map[string]int{"web.1 10.0.1.2": 3, "web.2 10.0.1.2": 3})
	turns(client, "udp4", "10.0.1.100:80", map[string]int{"web.1 10.0.1.2": 3, "web.2 10.0.1.2": 3})
	turns(client, "tcp6", "[fd00:1::100]:80", map[string]int{"web.1 fd00:1::2": 3, "web.2 fd00:1::2": 3})
	turns(host.task("both"), "tcp4", "10.0.1.100:80", map[string]int{"web.1 10.0.1.9": 3, "web.2 10.0.1.9": 3})
	turns(client, "tcp4", "10.0.1.101:80", map[string]int{"client 10.0.1.2": 6})
	turns(client, "tcp4", "10.0.1.102:80", map[string]int{"refused": 6})
	turns(client, "tcp4", "10.0.1.100:81", map[string]int{"refused": 6})

	// One backend goes, a service comes: what is there stays.
	c.must(plans(places, twoNetworks+`
		vip red 10.0.1.100 10.0.1.4
		vip red 10.0.1.102 10.0.1.3`))
	turns(client, "tcp4", "10.0.1.100:80", map[string]int{"web.2 10.0.1.2": 6})
	turns(client, "tcp4", "10.0.1.102:80", map[string]int{"web.1 10.0.1.2": 6})

	// A task that may do so flushes its own table: the next sweep repairs it.
	err := inside(client, func() error {
		conn, err := openTables()
		if err != nil {
			return err
		}
		defer conn.CloseLasting()
		conn.FlushRuleset()
		return conn.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := host.net.kernel.difference(*host.net.last, false)
	if err != nil || len(lines) == 0 || !strings.Contains(lines[0], "task client: its table of services lacks the chain balanced") {
		t.Errorf("the difference is %v, %v", lines, err)
	}
	host.net.sweep()
	turns(client, "tcp4", "10.0.1.100:80", map[string]int{"web.2 10.0.1.2": 6})

	// Another process finds all of it right.
	before := host.identity()
	host.restart()
	c.must(plans(places, services))
	if after := host.identity(); before != after {
		t.Errorf("the restart changed the kernel:\n%s\n---\n%s", before, after)
	}
	turns(client, "tcp4", "10.0.1.100:80", map[string]int{"web.1 10.0.1.2": 3, "web.2 10.0.1.2": 3})
	for _, l := range c.hosts {
		l.must("")
	}
}
