package main

import (
	"strings"
	"testing"

	"github.com/swarmd/swarmd/real/lab"
)

// A manager's host gets another address while it is off, and its daemon is told: the
// other nodes learn of it and the swarm goes on, though it has no quorum without that
// manager. A worker that starts later finds it too.
func TestMovedManager(t *testing.T) {
	c := newCluster(t, 3)
	a, b, w := c.hosts[0], c.hosts[1], c.hosts[2]
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	c.docker(b, "swarm", "join", "--listen-addr", b.Addr, "--token", c.docker(a, "swarm", "join-token", "-q", "manager"), a.Addr)
	c.docker(w, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	c.whole(a, 1)
	const where = "{{.Status.Addr}} {{.ManagerStatus.Addr}}"
	if got := c.docker(a, "node", "inspect", "swarm-01", "--format", where); got != b.Addr+" "+b.Addr+":2377" {
		t.Fatalf("the manager is at %s", got)
	}

	t.Log("the host gets another address, and the daemon does not know")
	before, after := b.Addr, "10.77.0.51"
	c.move(b, after)
	c.logged(b, "no interface of this host has the address that other nodes reach it at", "--advertise-addr", before)
	c.logged(b, "the swarm's port cannot be served yet", before)

	t.Log("it is told by the name of an interface, and by the address")
	c.move(b, after, "--advertise-addr", "eth0", "--listen-addr", after)
	c.until(a, is(after+" "+after+":2377"), "node", "inspect", "swarm-01", "--format", where)
	c.whole(b, 1)
	managers := func(out string) bool {
		return strings.Contains(out, after+":2377") && strings.Contains(out, a.Addr+":2377") && !strings.Contains(out, before)
	}
	c.until(w, managers, "info", "--format", "{{range .Swarm.RemoteManagers}}{{.Addr}} {{end}}")

	t.Log("it keeps the address without being told again")
	c.kill(b)
	b.Args = []string{"--listen-addr", after}
	c.restart(b)
	c.whole(b, 1)
	if got := c.docker(a, "node", "inspect", "swarm-01", "--format", where); got != after+" "+after+":2377" {
		t.Errorf("the manager is at %s", got)
	}
}

// move has a host lose its power, and come back with another address.
func (c *cluster) move(h *lab.Host, addr string, args ...string) {
	c.t.Helper()
	if err := h.PowerOff(); err != nil {
		c.t.Fatal(err)
	}
	if err := h.Move(addr, args...); err != nil {
		c.t.Fatal(err)
	}
	c.restart(h)
}
