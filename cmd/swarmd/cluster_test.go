package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// A cluster is hosts on one network.
type cluster struct {
	t        *testing.T
	programs *programs
	hosts    []*lab.Host
}

// newCluster starts hosts that are in no swarm, with an image loaded.
func newCluster(t *testing.T, n int, args ...string) *cluster {
	p := needHosts(t)
	dir, err := os.MkdirTemp(p.dir, "") //nolint:usetesting // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	network, err := lab.NewCluster(filepath.Join(dir, "c"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, h := range network.Hosts {
			if t.Failed() {
				log, _ := os.ReadFile(h.LogFile())
				t.Logf("the log of %s:\n%s", h.Name, log)
			}
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
		}
		if err := network.Remove(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{t: t, programs: p}
	for i := range n {
		h, err := network.Add(lab.Config{Name: fmt.Sprintf("swarm-%02d", i), Daemon: lab.Swarmd, Program: p.swarmd, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Start(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		c.docker(h, "load", "-q", "-i", p.images["busybox:latest"])
	}
	c.hosts = network.Hosts
	return c
}

// docker types a command on a host.
func (c *cluster) docker(h *lab.Host, words ...string) string {
	c.t.Helper()
	out, err := c.programs.docker(h, words...)
	if err != nil {
		c.t.Fatal(h.Name, err)
	}
	return out
}

// until waits until a command on a host says something, and returns how long that
// took.
func (c *cluster) until(h *lab.Host, says func(string) bool, words ...string) time.Duration {
	c.t.Helper()
	began, last := time.Now(), ""
	for time.Since(began) < patience {
		out, err := c.programs.docker(h, words...)
		if err == nil && says(out) {
			return time.Since(began)
		}
		if last = out; err != nil {
			last = err.Error()
		}
		time.Sleep(pollPeriod) // a look at the real world
	}
	c.t.Fatalf("%s: gave up waiting for docker %v; it says\n%s", h.Name, words, last)
	return 0
}

func is(want string) func(string) bool { return func(got string) bool { return got == want } }

// nodes waits until a manager shows the nodes so.
func (c *cluster) nodes(h *lab.Host, want ...string) time.Duration {
	c.t.Helper()
	return c.until(h, func(out string) bool {
		for _, w := range want {
			if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.TrimSpace(line) == w }) {
				return false
			}
		}
		return true
	}, "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")
}

// whole waits until a manager shows every node ready, one manager that leads, whichever
// that is, and so many that follow.
func (c *cluster) whole(h *lab.Host, follow int) {
	c.t.Helper()
	c.until(h, func(out string) bool {
		return strings.Count(out, "Ready") == len(c.hosts) && strings.Count(out, "Leader") == 1 && strings.Count(out, "Reachable") == follow
	}, "node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}")
}

// replicas waits until as many tasks of the service run as it should have.
func (c *cluster) replicas(h *lab.Host, want string) {
	c.t.Helper()
	c.until(h, is(want), "service", "ls", "--filter", "name=web", "--format", "{{.Replicas}}")
}

// running waits until so many of the service's tasks that should run do.
func (c *cluster) running(h *lab.Host, want int) {
	c.t.Helper()
	c.until(h, func(out string) bool {
		states := strings.Fields(out)
		return len(states) == want && !slices.ContainsFunc(states, func(s string) bool { return s != "Running" })
	}, "service", "ps", "web", "--filter", "desired-state=running", "--format", "{{index (split .CurrentState \" \") 0}}")
}

// where counts the service's tasks that should run, by host.
func (c *cluster) where(h *lab.Host) map[string]int {
	c.t.Helper()
	count := map[string]int{}
	for name := range strings.FieldsSeq(c.docker(h, "service", "ps", "web", "--filter", "desired-state=running", "--format", "{{.Node}}")) {
		count[name]++
	}
	return count
}

// cut pulls a host's cable out, or plugs it in again.
func (c *cluster) cut(h *lab.Host, out bool) {
	c.t.Helper()
	if err := h.Unplug(out); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) kill(h *lab.Host) {
	c.t.Helper()
	if err := h.Kill(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) restart(h *lab.Host) {
	c.t.Helper()
	if err := h.Start(context.WithoutCancel(c.t.Context())); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) refused(h *lab.Host, want string, words ...string) {
	c.t.Helper()
	if out, err := c.programs.docker(h, words...); err == nil || !strings.Contains(err.Error(), want) {
		c.t.Errorf("%s: docker %v: got %q, %v; want %s", h.Name, words, out, err, want)
	}
}

// Three hosts become a swarm, lose a worker, and then their leader.
func TestCluster(t *testing.T) {
	c := newCluster(t, 3)
	a, b, w := c.hosts[0], c.hosts[1], c.hosts[2]
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	worker := c.docker(a, "swarm", "join-token", "-q", "worker")
	manager := c.docker(a, "swarm", "join-token", "-q", "manager")

	t.Log("who has no token, or another's, is not let in")
	digest, secret := worker[:60], worker[60:]
	c.refused(b, "invalid join token", "swarm", "join", "--token", "bogus", a.Addr)
	c.refused(b, "A valid join token is necessary to join this cluster", "swarm", "join", "--token", digest+strings.Repeat("0", 25), a.Addr)
	c.refused(b, "remote CA does not match fingerprint. Expected: ", "swarm", "join", "--token", "SWMTKN-1-"+strings.Repeat("1", 50)+"-"+secret, a.Addr)
	c.refused(b, "dial tcp "+a.Addr+":9999: connect: connection refused", "swarm", "join", "--token", worker, a.Addr+":9999")

	if got := c.docker(b, "swarm", "join", "--token", manager, a.Addr); got != "This node joined a swarm as a manager." {
		t.Error(got)
	}
	if got := c.docker(w, "swarm", "join", "--token", worker, b.Addr+":2377"); got != "This node joined a swarm as a worker." { // by a manager that follows
		t.Error(got)
	}
	c.refused(w, "This node is already part of a swarm", "swarm", "join", "--token", worker, a.Addr)
	c.refused(w, "This node is not a swarm manager. Worker nodes can't be used", "node", "ls")
	c.nodes(b, "swarm-00 Ready Leader", "swarm-01 Ready Reachable", "swarm-02 Ready")
	if got := c.docker(w, "info", "--format", "{{len .Swarm.RemoteManagers}} {{.Swarm.NodeAddr}} {{.Swarm.ControlAvailable}}"); got != "2 "+w.Addr+" false" {
		t.Errorf("the worker's info: %s", got)
	}

	t.Log("five replicas spread; a manager that follows takes the call, and has everybody's logs")
	c.docker(b, "service", "create", "--no-resolve-image", "-d", "--name", "web", "--replicas", "5", "busybox", "sh", "-c", "echo says $(hostname); trap exit TERM; sleep 100000 & wait")
	c.replicas(b, "5/5")
	for name, n := range c.where(a) {
		if n > 2 {
			t.Errorf("%s has %d of 5 tasks", name, n)
		}
	}
	c.until(b, func(out string) bool { return strings.Count(out, "says") == 5 }, "service", "logs", "web")

	c.loseWorker(a, b, w)
	c.loseLeader(a, b, w)
}

// loseWorker has a worker's machine fail, and come back.
func (c *cluster) loseWorker(a, b, w *lab.Host) {
	t := c.t
	t.Log("the worker's cable is out, and its daemon dead")
	c.cut(w, true)
	c.kill(w)
	if took := c.nodes(a, "swarm-02 Down"); took > 5*time.Second {
		t.Errorf("it took %v to see that a worker is down", took)
	}
	c.running(a, 5) // service ls counts what ran on the host that is down, as Docker's does
	if n := c.where(b)["swarm-02"]; n != 0 {
		t.Errorf("%d tasks are to run on a host that is down", n)
	}
	began := time.Now()
	c.refused(b, "is not available", "service", "logs", "web")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("logs of a host that is down took %v", took)
	}
	t.Log("it comes back, and what it ran meanwhile is stopped")
	c.cut(w, false)
	c.restart(w)
	c.nodes(a, "swarm-02 Ready")
	c.until(w, is(""), "ps", "-q")
	c.replicas(a, "5/5")
}

// loseLeader makes the worker a manager, has the leader fail, and come back.
func (c *cluster) loseLeader(a, b, w *lab.Host) {
	t := c.t
	t.Log("the worker is promoted, and the leader's machine fails")
	c.docker(b, "node", "promote", "swarm-02")
	c.nodes(w, "swarm-00 Ready Leader", "swarm-01 Ready Reachable", "swarm-02 Ready Reachable")
	c.cut(a, true)
	c.kill(a)
	took := c.until(w, func(out string) bool { return strings.Contains(out, "Leader") }, "node", "ls", "--format", "{{.ManagerStatus}}")
	t.Logf("another leads after %v", took)
	c.docker(w, "service", "scale", "-d", "web=6")
	c.docker(b, "service", "update", "-d", "--label-add", "changed=yes", "web")
	c.nodes(w, "swarm-00 Down Unreachable")
	c.running(w, 6)

	t.Log("it comes back, follows, and knows what has changed")
	c.cut(a, false)
	c.restart(a)
	c.nodes(a, "swarm-00 Ready Reachable", "swarm-01 Ready "+c.status(b), "swarm-02 Ready "+c.status(w))
	c.replicas(a, "6/6")
	if got := c.docker(a, "service", "inspect", "web", "--format", "{{.Spec.Labels.changed}}"); got != "yes" {
		t.Errorf("the label is %q", got)
	}

	t.Log("a manager is demoted and promoted again; a worker leaves and is removed")
	c.docker(b, "node", "demote", "swarm-00")
	c.nodes(b, "swarm-00 Ready")
	c.until(a, is("false"), "info", "--format", "{{.Swarm.ControlAvailable}}")
	c.docker(b, "node", "promote", "swarm-00")
	c.nodes(a, "swarm-00 Ready Reachable")
	c.docker(b, "node", "demote", "swarm-00")
	c.until(a, is("false"), "info", "--format", "{{.Swarm.ControlAvailable}}")
	c.docker(a, "swarm", "leave")
	c.nodes(b, "swarm-00 Down")
	c.docker(b, "node", "rm", "swarm-00")
	c.replicas(b, "6/6")
	if left, err := filepath.Glob(filepath.Join(a.Dir, "data", "swarm", "certificates", "*")); err != nil || len(left) > 0 {
		t.Errorf("a host that has left keeps %v, %v", left, err)
	}
}

// status is whether a manager leads, as it shows itself.
func (c *cluster) status(h *lab.Host) string {
	c.t.Helper()
	return c.docker(h, "node", "inspect", "self", "--format", "{{if .ManagerStatus.Leader}}Leader{{else}}Reachable{{end}}")
}
