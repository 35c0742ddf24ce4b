package main

import (
	"context"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// unpluggedPeriod is how long a cable is out: twice as long as it takes a manager to
// hold a node for lost.
const unpluggedPeriod = 10 * time.Second

// on runs a program on a host.
func (c *cluster) on(h *lab.Host, words ...string) (string, error) {
	out, err := h.Command(context.WithoutCancel(c.t.Context()), words[0], words[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// in runs a program in the network of a task of that name on a host.
func (c *cluster) in(h *lab.Host, task string, words ...string) string {
	c.t.Helper()
	out, err := c.programs.docker(h, append([]string{"exec", c.container(h, task)}, words...)...)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", h.Name, task, err)
	}
	return out
}

func (c *cluster) container(h *lab.Host, task string) string {
	c.t.Helper()
	id, _, _ := strings.Cut(c.docker(h, "ps", "-q", "--filter", "name="+task), "\n")
	if id == "" {
		c.t.Fatalf("%s runs nothing named %s", h.Name, task)
	}
	return id
}

// check is what swarmd network check says on a host.
func (c *cluster) check(h *lab.Host, flags ...string) (string, error) {
	return c.on(h, append([]string{c.programs.swarmd, "network", "check", "--host", "unix://" + h.Socket()}, flags...)...)
}

// asPlanned fails the test unless the kernels of all hosts are as planned, which
// they are once the last plan has been applied.
func (c *cluster) asPlanned() {
	c.t.Helper()
	for _, h := range c.hosts {
		c.await(h.Name+" is as planned", func() (string, bool) {
			out, err := c.check(h)
			return out, err == nil && out == ""
		})
	}
}

// await waits until something is so.
func (c *cluster) await(what string, is func() (string, bool)) {
	c.t.Helper()
	last := ""
	for began := time.Now(); time.Since(began) < patience; time.Sleep(pollPeriod) { // a look at the real world
		said, yes := is()
		if yes {
			return
		}
		last = said
	}
	c.t.Fatalf("gave up waiting until %s:\n%s", what, last)
}

// state is what a host's kernel has of the networks, in a form that can be compared:
// maps and rules, who is behind which node, and addresses. The wire is not of them,
// nor is the order in which a port's backends have their turns.
func (c *cluster) state(h *lab.Host) string {
	c.t.Helper()
	index := regexp.MustCompile(`\. 0x[0-9a-f]{8} : `)
	var out []string
	overlays := filepath.Join(h.Dir, "run", "netns", ".overlays")
	for _, words := range [][]string{
		{"nft", "-n", "list", "table", "inet", tableName},
		{"ip", "-o", "addr"},
		{"ip", "route", "show", "table", "all"},
		{"ip", "neigh", "show", "nud", "permanent"},
		{"bridge", "fdb"},
		{"nsenter", "--net=" + overlays, "bridge", "fdb"},
		{"nsenter", "--net=" + overlays, "ip", "neigh", "show", "nud", "permanent"},
	} {
		text, err := c.on(h, words...)
		if err != nil {
			c.t.Fatalf("%s: %v: %v: %s", h.Name, words, err, text)
		}
		lines := strings.Split(index.ReplaceAllString(text, ": "), "\n")
		for i, line := range lines {
			lines[i] = strings.TrimSuffix(strings.TrimPrefix(strings.Join(strings.Fields(line), " "), "elements = { "), " }")
			lines[i] = strings.TrimSuffix(lines[i], ",")
		}
		lines = slices.DeleteFunc(lines, func(line string) bool {
			return strings.Contains(line, " dev eth0") || strings.Contains(line, "fe80::")
		})
		slices.Sort(lines)
		out = append(out, strings.Join(words, " "))
		out = append(out, lines...)
	}
	return strings.Join(out, "\n")
}

// A node whose cable is out for a while, and whose tasks are waited for, has, once it is in again, the network that
// it had, to the last entry, and so have the others. What somebody breaks by hand is
// told, and repaired.
func TestNetworkHeals(t *testing.T) {
	c := newCluster(t, 3)
	a, b, w := c.hosts[0], c.hosts[1], c.hosts[2]
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	for _, h := range []*lab.Host{b, w} {
		c.docker(h, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	}
	c.nodes(a, "swarm-00 Ready Leader", "swarm-01 Ready", "swarm-02 Ready")
	c.docker(a, "network", "create", "-d", "overlay", "back")
	const serve = "trap exit TERM; while :; do hostname | nc -l -p 80 >/dev/null; done & wait"
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "web", "--mode", "global", "--label", "swarmd.lost.patience=3m", "--network", "back", "--publish", "80:80", "busybox", "sh", "-c", serve)
	c.replicas(a, "3/3")
	c.asPlanned()

	before, names := map[string]string{}, map[string]string{}
	for _, h := range c.hosts {
		before[h.Name], names[h.Name] = c.state(h), c.lookUps(h)
	}
	t.Log("the cable of a node is out, for longer than it takes to be missed")
	began := time.Now()
	c.cut(w, true)
	c.nodes(a, "swarm-02 Down")
	c.await("the cable has been out for a while", func() (string, bool) { return "", time.Since(began) >= unpluggedPeriod })
	c.cut(w, false)
	c.nodes(a, "swarm-02 Ready")
	c.replicas(a, "3/3")
	for _, h := range c.hosts {
		c.await(h.Name+" has the network that it had", func() (string, bool) {
			now := c.state(h)
			return "before:\n" + before[h.Name] + "\nnow:\n" + now, now == before[h.Name]
		})
		if now := c.lookUps(h); now != names[h.Name] {
			t.Errorf("%s: names before:\n%s\nnow:\n%s", h.Name, names[h.Name], now)
		}
	}
	c.asPlanned()
	c.breakByHand(b)
	c.namesWithoutDaemon(b)
}

// namesWithoutDaemon asks for names in a container of a host whose daemon is dead, and
// all the while it begins again.
func (c *cluster) namesWithoutDaemon(h *lab.Host) {
	t := c.t
	spaces, err := filepath.Glob(filepath.Join(h.Dir, "run", "netns", "[0-9a-z]*"))
	if err != nil || len(spaces) != 1 {
		t.Fatalf("the network namespaces of %s are %v, %v", h.Name, spaces, err)
	}
	asked, failed := 0, 0
	ask := func() {
		asked++
		out, err := c.on(h, "nsenter", "--net="+spaces[0], "busybox", "nslookup", "-type=a", "web", "127.0.0.11")
		if err != nil || !strings.Contains(out, "Address: 10.0.1.") {
			failed++
			t.Logf("question %d: %v: %s", asked, err, out)
		}
	}
	ask()
	t.Log("the daemon is killed")
	c.kill(h)
	for range 20 {
		ask()
	}
	began := make(chan error, 1)
	go func() { began <- h.Start(context.WithoutCancel(t.Context())) }()
	for done := false; !done; {
		select {
		case err := <-began:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
			ask()
		}
	}
	c.nodes(c.hosts[0], h.Name+" Ready")
	c.asPlanned()
	ask()
	if failed > 0 {
		t.Errorf("%d of %d questions had no answer", failed, asked)
	}
	t.Logf("%d questions were answered", asked)
}

// lookUps are the names of the network as a task on a host is told them.
func (c *cluster) lookUps(h *lab.Host) string {
	c.t.Helper()
	var out []string
	for _, name := range []string{"web", "tasks.web"} {
		text := c.in(h, "web", "nslookup", "-type=a", name)
		lines := map[string]bool{}
		for line := range strings.Lines(text) {
			lines[strings.TrimSpace(line)] = true
		}
		out = append(out, slices.Sorted(maps.Keys(lines))...)
	}
	return strings.Join(out, "\n")
}

// breakByHand takes out of a host's kernel what somebody might, one after the other.
func (c *cluster) breakByHand(h *lab.Host) {
	t := c.t
	overlays := "--net=" + filepath.Join(h.Dir, "run", "netns", ".overlays")
	entry := func(words ...string) []string { // the first line that a command prints, as words
		t.Helper()
		text, err := c.on(h, words...)
		if err != nil || text == "" {
			t.Fatalf("%v: %v: %s", words, err, text)
		}
		for line := range strings.Lines(text) {
			if fields := strings.Fields(line); slices.Contains(fields, "dst") || !slices.Contains(words, "fdb") {
				return fields
			}
		}
		t.Fatalf("%v has no entry for another node:\n%s", words, text)
		return nil
	}
	fdb := entry("nsenter", overlays, "bridge", "fdb")
	route := entry("ip", "route", "show", "dev", "ing-4096")
	for _, x := range []struct {
		what string
		harm []string
		line string
	}{
		{
			"who is behind a node",
			[]string{"nsenter", overlays, "bridge", "fdb", "del", fdb[0], "dev", fdb[2], "self"},
			"the station " + fdb[0] + " is not behind " + fdb[4],
		},
		{"a rule", []string{"nft", "flush", "chain", "inet", tableName, "spoofed"}, "lacks the chain spoofed rule"},
		{"a route", []string{"ip", "route", "del", route[0]}, "the mesh: there is no direct route to " + route[0]},
	} {
		if out, err := c.on(h, x.harm...); err != nil {
			t.Fatalf("%s: %v: %v: %s", x.what, x.harm, err, out)
		}
		told, err := c.check(h, "--repair")
		if err == nil || !strings.Contains(told, x.line) || !strings.Contains(told, "ways, and has been repaired") {
			t.Errorf("%s is gone, and the check says %v:\n%s", x.what, err, told)
		}
		t.Logf("%s is gone: %s", x.what, told)
		if left, err := c.check(h); err != nil || left != "" {
			t.Errorf("%s was repaired, and the check says %v:\n%s", x.what, err, left)
		}
	}
}

// Traffic between containers goes by the addresses that nodes were given for it, and
// does so after a restart; what the swarm says of itself goes by the others.
func TestDataPath(t *testing.T) {
	c := newCluster(t, 2)
	a, b := c.hosts[0], c.hosts[1]
	path := map[*lab.Host]string{a: "10.78.0.10", b: "10.78.0.11"}
	for h, address := range path {
		if out, err := c.on(h, "ip", "addr", "add", address+"/24", "dev", "eth0"); err != nil {
			t.Fatal(err, out)
		}
	}
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr, "--data-path-addr", path[a])
	c.docker(b, "swarm", "join", "--advertise-addr", b.Addr, "--data-path-addr", path[b], "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	c.docker(a, "network", "create", "-d", "overlay", "back")
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "web", "--mode", "global", "--network", "back", "--publish", "80:80", "busybox", "sh", "-c",
		"hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp")
	c.replicas(a, "2/2")
	for range 2 {
		c.asPlanned()
		for h, other := range map[*lab.Host]string{a: path[b], b: path[a]} {
			for _, words := range [][]string{
				{"bridge", "fdb", "show", "dev", "ing-4096"},
				{"nsenter", "--net=" + filepath.Join(h.Dir, "run", "netns", ".overlays"), "bridge", "fdb"},
			} {
				out, err := c.on(h, words...)
				if err != nil || strings.Count(out, " dst ") != 1 || !strings.Contains(out, " dst "+other+" ") {
					t.Errorf("%s: %v: %v\n%s", h.Name, words, err, out)
				}
			}
			seen := map[string]bool{}
			for range 4 {
				out, err := c.on(h, "curl", "-sS", "--max-time", "5", "http://"+h.Addr+"/")
				if err != nil {
					t.Errorf("%s: %v: %s", h.Name, err, out)
				}
				seen[out] = true
			}
			if len(seen) != 2 {
				t.Errorf("%s is answered by %v", h.Name, seen)
			}
		}
		if got := c.docker(a, "node", "inspect", b.Name, "--format", "{{.Status.Addr}}"); got != b.Addr {
			t.Errorf("the node's address is %s", got)
		}
		c.kill(b)
		c.restart(b)
		c.nodes(a, b.Name+" Ready")
		c.replicas(a, "2/2")
	}
}
