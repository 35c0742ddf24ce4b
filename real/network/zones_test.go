package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dialFrom connects from a port of the namespace's that others may use as well.
func (l *lab) dialFrom(ns netns.NsHandle, network string, port int, address string) (net.Conn, error) {
	var local net.Addr = &net.TCPAddr{Port: port}
	if network == "udp4" {
		local = &net.UDPAddr{Port: port}
	}
	d := net.Dialer{LocalAddr: local, Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}), err)
	}}
	var c net.Conn
	err := inside(ns, func() (err error) {
		c, err = d.DialContext(context.Background(), network, address)
		return err
	})
	if err == nil {
		l.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// A client that uses one port of its own for connections by several nodes to one task
// has an answer on each, and goes on having it, in whatever order they came, and is
// seen as itself. When the task goes, nothing of them is remembered.
func TestOnePortByEveryNode(t *testing.T) {
	for _, network := range []string{"tcp4", "udp4"} {
		for _, order := range [][]int{{0, 2, 1}, {1, 0, 2}} {
			t.Run(fmt.Sprint(network, order), func(t *testing.T) {
				c := newCluster(t)
				web := place{host: 1, task: "web.1", mesh: "10.0.0.11"}
				ports := "publish 8080/tcp 10.0.0.11:80\npublish 8080/udp 10.0.0.11:80"
				c.must(plans([]place{web}, ports))
				l := c.hosts[1]
				l.serve(l.task("web.1"), "web.1", 80)
				var all []net.Conn
				for _, node := range order {
					conn, err := l.dialFrom(c.far, network, 40001, nodeAddress(node)+":8080")
					if err != nil {
						t.Fatalf("by node %d: %v", node, err)
					}
					all = append(all, conn)
				}
				for range 3 {
					for i, conn := range all {
						if got, err := say(conn); err != nil || got != "web.1 "+farClient {
							t.Errorf("by node %d: got %q, %v", order[i], got, err)
						}
					}
				}
				l.restart()
				c.must(plans([]place{web}, ports))
				for i, conn := range all {
					if got, err := say(conn); err != nil || got != "web.1 "+farClient {
						t.Errorf("by node %d, after a restart: got %q, %v", order[i], got, err)
					}
				}
				c.must(plans(nil, ""))
				for i, h := range c.hosts {
					if left := remembered(t, h.host, selection{server: netip.MustParseAddr("10.0.0.11")}); len(left) > 0 {
						t.Errorf("host %d remembers %v", i, left)
					}
				}
			})
		}
	}
}

// A kernel without zones is in the mesh without them, and nothing is amiss.
func TestNoZones(t *testing.T) {
	c := newCluster(t)
	for _, l := range c.hosts {
		l.net.kernel.zones.unsupported = true
	}
	c.must(plans([]place{{host: 1, task: "web.1", mesh: "10.0.0.11"}}, "publish 8080/tcp 10.0.0.11:80"))
	l := c.hosts[1]
	l.serve(l.task("web.1"), "web.1", 80)
	if got := l.ask(c.far, "tcp4", nodeAddress(0)+":8080"); got != "web.1 "+farClient {
		t.Errorf("got %q", got)
	}
	k := l.net.kernel
	if _, there, err := tableLines(k.table.conn, k.table.raw, k.zones.kernel(k)); there || err != nil {
		t.Errorf("there is a table of zones: %v, %v", there, err)
	}
}
