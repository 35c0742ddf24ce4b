package network

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/swarmd/swarmd/engine/state"
)

// Any node answers a published port, wherever its tasks are, and they know who
// asks: clients on the wire and beyond it are seen as themselves.
func TestMesh(t *testing.T) {
	c := newCluster(t)
	c.must(plans([]place{
		{host: 0, task: "web.1", mesh: "10.0.0.11", on: []string{"red=10.0.1.2"}},
		{host: 1, task: "web.2", mesh: "10.0.0.12"},
		{host: 1, task: "other", mesh: "10.0.0.13"},
	}, twoNetworks+`
		publish 8080/tcp 10.0.0.11:80 10.0.0.12:80
		publish 8081/tcp 10.0.0.11:80
		publish 8081/udp 10.0.0.11:80
		publish 8082/tcp 10.0.0.12:80
		publish 8082/udp 10.0.0.12:80
		publish 8083/tcp
		publish 8084/tcp sticky 10.0.0.11:80 10.0.0.12:80`))
	web1, web2 := c.hosts[0].task("web.1"), c.hosts[1].task("web.2")
	c.hosts[0].serve(web1, "web.1", 80)
	c.hosts[1].serve(web2, "web.2", 80)
	for _, x := range []struct {
		what             string
		from             netns.NsHandle
		network, address string
		want             string
	}{
		{"a client, its task on the node", c.client, "tcp4", nodeAddress(0) + ":8081", "web.1 " + clusterClient},
		{"on another", c.client, "tcp4", nodeAddress(1) + ":8081", "web.1 " + clusterClient},
		{"on another, and no task here", c.client, "tcp4", nodeAddress(2) + ":8081", "web.1 " + clusterClient},
		{"by UDP", c.client, "udp4", nodeAddress(2) + ":8081", "web.1 " + clusterClient},
		{"from far away", c.far, "tcp4", nodeAddress(2) + ":8081", "web.1 " + farClient},
		{"from far away, by UDP", c.far, "udp4", nodeAddress(0) + ":8082", "web.2 " + farClient},
		{"loopback of a node with no task", c.hosts[2].host, "tcp4", "127.0.0.1:8081", "web.1 10.0.0.203"},
		{"loopback, by UDP", c.hosts[2].host, "udp4", "127.0.0.1:8081", "web.1 10.0.0.203"},
		{"the other loopback", c.hosts[2].host, "tcp6", "[::1]:8081", "web.1 10.0.0.203"},
		{"a node, by its own address", c.hosts[2].host, "tcp4", nodeAddress(2) + ":8081", "web.1 10.0.0.203"},
		{"a node, by another's address", c.hosts[2].host, "tcp4", nodeAddress(1) + ":8081", "web.1 10.0.0.202"},
		{"a node whose task it is, by another's address", c.hosts[0].host, "tcp4", nodeAddress(1) + ":8081", "web.1 10.0.0.202"},
		{"a container, by its node", web2, "tcp4", nodeAddress(1) + ":8081", "web.1 10.0.0.202"},
		{"a container and its own task, by its node", web1, "tcp4", nodeAddress(0) + ":8081", "web.1 172.20.0.1"},
		{"no task at all", c.client, "tcp4", nodeAddress(2) + ":8083", "refused"},
		{"not published", c.client, "tcp4", nodeAddress(2) + ":80", "refused"},
		{"a container, by another node", web2, "udp4", nodeAddress(2) + ":8081", "web.1 10.0.0.203"},
	} {
		if got := c.hosts[0].ask(x.from, x.network, x.address); got != x.want {
			t.Errorf("%s: %s %s: got %q, want %q", x.what, x.network, x.address, got, x.want)
		}
	}
	for _, node := range []int{0, 2} {
		got := map[string]int{}
		sticky := map[string]int{}
		for range 6 {
			got[c.hosts[0].ask(c.far, "tcp4", nodeAddress(node)+":8080")]++
			sticky[c.hosts[0].ask(c.far, "tcp4", nodeAddress(node)+":8084")]++
		}
		if got["web.1 "+farClient] != 3 || got["web.2 "+farClient] != 3 {
			t.Errorf("by node %d: %v", node, got)
		}
		if len(sticky) != 1 {
			t.Errorf("sticky, by node %d: %v", node, sticky)
		}
	}
	// What is not published is not reached: not by a route to a task's address,
	// not from a task, not in a frame that says it comes from a node.
	c.hosts[1].serve(c.hosts[1].task("other"), "other", 81)
	c.hosts[0].in(c.client, func(h *netlink.Handle) error {
		return h.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("10.0.0.0/24")), Gw: net.ParseIP(nodeAddress(1))})
	})
	for _, x := range []struct {
		what string
		from netns.NsHandle
	}{
		{"a client with a route", c.client}, {"a task of another node", web1}, {"a task of the same node", web2},
	} {
		if got := c.hosts[0].askFor(silence, x.from, "tcp4", "10.0.0.13:81"); got != "silence" {
			t.Errorf("%s: got %q", x.what, got)
		}
	}
	c.untracked(t, web1)
	c.injectVXLAN(t)
}

// untracked says that no node remembers what carries the mesh as connections; others'
// packets to that port are ones as any.
func (c *cluster) untracked(t *testing.T, task netns.NsHandle) {
	t.Helper()
	c.hosts[0].serve(c.far, "far", vxlanPort)
	if got := c.hosts[0].ask(task, "udp4", fmt.Sprintf("%s:%d", farClient, vxlanPort)); got != "far "+nodeAddress(0) {
		t.Errorf("a task, to the port of VXLAN of somebody else: got %q", got)
	}
	for i, l := range c.hosts {
		l.in(l.host, func(h *netlink.Handle) error {
			flows, err := h.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
			if err == nil && len(flows) == 0 {
				t.Errorf("node %d remembers nothing", i)
			}
			for _, f := range flows {
				if f.Forward.DstPort == vxlanPort && !f.Forward.DstIP.Equal(net.ParseIP(farClient)) {
					t.Errorf("node %d remembers %s", i, f)
				}
			}
			return err
		})
	}
}

// injectVXLAN has the client, which is no node, send into the mesh and into an
// overlay.
func (c *cluster) injectVXLAN(t *testing.T) {
	t.Helper()
	inject := func(name string, vni int, own, target string, hardware net.HardwareAddr) {
		c.hosts[0].in(c.client, func(h *netlink.Handle) error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			link := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: vni, SrcAddr: net.ParseIP(clusterClient).To4(), Port: vxlanPort}
			if err := errors.Join(h.LinkAdd(link), h.LinkSetUp(link), ensureAddress(h, link, netip.MustParsePrefix(own))); err != nil {
				return err
			}
			f := newForwarding()
			a := netip.MustParseAddr(target)
			f.neighbours[a], f.stations[station(hardware)], f.routes[a] = station(hardware), netip.MustParseAddr(nodeAddress(0)), netip.Addr{}
			return newForwarding().become(f, h, link)
		})
	}
	inject("evil0", 4096, "10.0.0.66/32", "10.0.0.11", mac(netip.MustParseAddr("10.0.0.201")))
	inject("evil1", 4097, "10.0.1.66/32", "10.0.1.2", mac(netip.MustParseAddr("10.0.1.2")))
	for _, address := range []string{"10.0.0.11:80", "10.0.1.2:80"} {
		if got := c.hosts[0].askFor(silence, c.client, "tcp4", address); got != "silence" {
			t.Errorf("VXLAN from no node: %s: got %q", address, got)
		}
	}
}

// The mesh is found right by another process, and connections go on; what somebody
// breaks of it is named and repaired; in the end nothing is left.
func TestMeshIsKept(t *testing.T) {
	c := newCluster(t)
	all := plans([]place{{host: 0, task: "web.1", mesh: "10.0.0.11"}, {host: 1, task: "web.2", mesh: "10.0.0.12"}},
		"publish 8080/tcp 10.0.0.12:80")
	c.must(all)
	c.hosts[1].serve(c.hosts[1].task("web.2"), "web.2", 80)
	l := c.hosts[0]
	conn, err := l.dial(c.far, "tcp4", nodeAddress(0)+":8080")
	if err != nil {
		t.Fatal(err)
	}
	want := "web.2 " + farClient
	if got, err := say(conn); got != want {
		t.Fatal(got, err)
	}
	before := l.identity("web.1")
	l.net.write() // what is done once the plan has been answered
	l.restart()
	// Nobody has told the new process of the mesh yet.
	if a := l.apply("gateway 172.20.0.1/16\nkept\nendpoint web.1 172.20.0.10"); a.Err != nil || len(a.Failed) > 0 {
		t.Fatalf("keeping what is there: %v %v", a.Err, a.Failed)
	}
	if after := l.identity("web.1"); after != before {
		t.Errorf("a plan that keeps changed the kernel:\n%s\n---\n%s", before, after)
	}
	if got := l.ask(c.far, "tcp4", nodeAddress(0)+":8080"); got != want {
		t.Errorf("what is kept: got %q", got)
	}
	l.must(all[0])
	if after := l.identity("web.1"); after != before {
		t.Errorf("the restart changed the kernel:\n%s\n---\n%s", before, after)
	}
	if got, err := say(conn); got != want {
		t.Errorf("the connection did not survive: %q, %v", got, err)
	}
	for _, harm := range []string{
		"ip link del ing-4096", "ip rule del pref 1000", "ip route flush table 16781312", "ip neigh flush dev ing-4096 nud permanent",
		"ip route del 10.0.0.12", "ip route del 10.0.0.11", "nft delete table netdev swarmd", "nft flush set inet swarmd stations",
		"nft delete table ip swarmd", "nft flush chain ip swarmd zones", "nft add chain ip swarmd another",
		"ip link set ing-4096 down", "nft flush table inet swarmd",
	} {
		if err := inside(l.host, func() error {
			out, err := exec.Command("sh", "-c", harm).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", harm, err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		lines, err := l.net.Difference(l.plan(all[0]))
		if err != nil || len(lines) == 0 {
			t.Errorf("%s: the difference is %v, %v", harm, lines, err)
		}
		l.net.sweep()
		if lines, err := l.net.Difference(l.plan(all[0])); err != nil || len(lines) > 0 {
			t.Errorf("%s: after the sweep: %v %v", harm, lines, err)
		}
		if got := l.ask(c.far, "tcp4", nodeAddress(0)+":8080"); got != want {
			t.Errorf("%s: after the sweep: got %q", harm, got)
		}
	}
	l.must("gateway 172.20.0.1/16")
	if rules, err := l.net.kernel.meshRules(); err != nil || len(rules) > 0 {
		t.Errorf("rules are left: %v, %v", rules, err)
	}
}

// Tasks come, go and move between hosts; each time the kernel is as planned, with
// nothing left of where they were.
func TestPlacesChange(t *testing.T) {
	c := newCluster(t)
	const seed = 20261129
	draw := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		var places []place
		for n := range 6 {
			if draw.IntN(3) == 0 {
				continue
			}
			p := place{host: draw.IntN(3), task: fmt.Sprintf("task.%d", n), mesh: fmt.Sprintf("10.0.0.%d", 11+(n+draw.IntN(2)*6))}
			if draw.IntN(2) == 0 {
				p.on = []string{fmt.Sprintf("red=10.0.1.%d,fd00:1::%d", 11+n, 11+n)}
			}
			places = append(places, p)
		}
		all := plans(places, twoNetworks)
		if draw.IntN(4) == 0 {
			all[0] = "gateway 172.20.0.1/16" // this host has left
		}
		c.must(all)
	}
}

// The way to a task that has gone is there for as long as a port may lead to it.
func TestWaysOutliveWhatLeadsThere(t *testing.T) {
	c := newCluster(t)
	c.must(plans([]place{{host: 1, task: "web.1", mesh: "10.0.0.11", on: []string{"red=10.0.1.2"}}, {host: 0, task: "own", mesh: "10.0.0.12", on: []string{"red=10.0.1.3"}}},
		twoNetworks+"\npublish 8080/tcp 10.0.0.11:80 10.0.0.12:80"))
	l := c.hosts[0]
	gone, err := want(l.plan(plans(nil, twoNetworks)[0]), l.config, nil)
	if err != nil {
		t.Fatal(err)
	}
	ways := func() string {
		t.Helper()
		var out []byte
		if err := inside(l.host, func() (err error) {
			out, err = exec.Command("sh", "-c", "ip route show 10.0.0.11; ip route show 10.0.0.12; nsenter --net="+l.net.kernel.overlaysPath()+" bridge fdb | grep 'dst 10.99.0.2' || true").CombinedOutput()
			return err
		}); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	before := ways()
	if strings.Count(before, "\n") != 3 {
		t.Fatalf("the ways are\n%s", before)
	}
	k := l.net.kernel
	if err := errors.Join(k.ensureOverlays(gone, map[state.TaskID]string{}), k.ensureMesh(gone)); err != nil {
		t.Fatal(err)
	}
	if now := ways(); now != before {
		t.Errorf("the table of ports is as before, and the ways are\n%s\nwhich were\n%s", now, before)
	}
	if err := k.clearAway(); err != nil {
		t.Fatal(err)
	}
	if now := ways(); now != "" {
		t.Errorf("there are still\n%s", now)
	}
}
