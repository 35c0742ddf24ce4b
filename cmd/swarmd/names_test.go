package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/lab"
)

const (
	gapMax      = time.Second // between two answers, whatever happens to swarmd
	askPeriod   = 5 * time.Millisecond
	askPatience = 100 * time.Millisecond // with one question: another may be heard by a server that this one missed
)

// An asker asks for a name in a container's network all the time.
type asker struct {
	netns string
	stop  chan struct{}
	work  sync.WaitGroup

	mu               sync.Mutex
	failed           error // for good
	answered, missed int
	last             time.Time // that there was an answer
	gap              time.Duration
}

func newAsker(t *testing.T, pid, name string) *asker {
	a := &asker{netns: "/proc/" + pid + "/ns/net", stop: make(chan struct{}), last: time.Now()}
	a.work.Go(func() { a.run(name) })
	t.Cleanup(a.end)
	return a
}

func (a *asker) run(name string) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	space, err := os.Open(a.netns)
	if err == nil {
		defer space.Close() //nolint:errcheck // it was only read
		err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		a.mu.Lock()
		a.failed = err
		a.mu.Unlock()
		return
	}
	for n := uint16(0); ; n++ {
		select {
		case <-a.stop:
			return
		case <-time.After(askPeriod):
		}
		_, err := question(n, name)
		a.mu.Lock()
		if err != nil {
			a.missed++
		} else {
			now := time.Now()
			a.gap, a.last, a.answered = max(a.gap, now.Sub(a.last)), now, a.answered+1
		}
		a.mu.Unlock()
	}
}

func (a *asker) end() {
	select {
	case <-a.stop:
	default:
		close(a.stop)
	}
	a.work.Wait()
}

// longest is the longest time without an answer since it was asked for before, one that
// is not over included, and starts anew.
func (a *asker) longest() (gap time.Duration, answered, missed int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gap, answered, missed = max(a.gap, time.Since(a.last)), a.answered, a.missed
	a.gap, a.answered, a.missed = 0, 0, 0
	return gap, answered, missed, a.failed
}

// question asks the name server of the thread's network for an IPv4 address.
func question(number uint16, name string) (netip.Addr, error) {
	c, err := net.Dial("udp4", "127.0.0.11:53")
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return netip.Addr{}, err
	}
	q := []byte{byte(number >> 8), byte(number), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(name))}
	q = append(append(q, name...), 0, 0, 1, 0, 1)
	if _, err := c.Write(q); err != nil {
		return netip.Addr{}, err
	}
	r := make([]byte, 512)
	n, err := c.Read(r)
	switch {
	case err != nil:
		return netip.Addr{}, err
	case n < len(q) || r[0] != q[0] || r[1] != q[1] || r[3]&0xf != 0 || r[7] == 0:
		return netip.Addr{}, fmt.Errorf("%s is answered with % x", name, r[:n])
	}
	return netip.AddrFrom4([4]byte(r[n-4 : n])), nil // of an answer with nothing behind it
}

// namer is the process that answers for names on a host.
func (c *cluster) namer(h *lab.Host) int {
	c.t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.Contains(string(text), namesArgument+"\x00"+filepath.Join(h.Dir, "run", "names.sock")+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}

// killNamer kills the process that answers for names on a host, and waits until
// another has taken its place.
func (c *cluster) killNamer(h *lab.Host) {
	c.t.Helper()
	before := c.namer(h)
	if before == 0 {
		c.t.Fatalf("%s has no name server", h.Name)
	}
	if err := unix.Kill(before, unix.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	c.await("another name server serves "+h.Name, func() (string, bool) {
		now := c.namer(h)
		return fmt.Sprint(now), now != 0 && now != before
	})
}

// Containers' questions for names are answered all the time, but for a second at most,
// when the daemon is killed and begins again, and when what answers is killed; what has
// changed meanwhile is told afterwards.
func TestNamesAreAnsweredAllTheTime(t *testing.T) {
	c := newCluster(t, 2)
	a, b := c.hosts[0], c.hosts[1]
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	c.docker(b, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	c.docker(a, "network", "create", "-d", "overlay", "back")
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "web", "--mode", "global", "--network", "back", "busybox", "sleep", "100000")
	c.replicas(a, "2/2")
	c.asPlanned()
	askers := map[string]*asker{}
	for _, h := range c.hosts {
		askers[h.Name] = newAsker(t, c.docker(h, "inspect", "--format", "{{.State.Pid}}", c.container(h, "web")), "web")
	}
	knows := func(h *lab.Host, name string) {
		t.Helper()
		c.await(h.Name+" knows "+name, func() (string, bool) {
			out, err := c.programs.docker(h, "exec", c.container(h, "web"), "nslookup", "-type=a", name)
			return fmt.Sprint(out, err), err == nil && strings.Contains(out, "Address: 10.0.1.")
		})
	}
	quick := func(what string) {
		t.Helper()
		c.asPlanned()
		for _, h := range c.hosts {
			gap, answered, missed, err := askers[h.Name].longest()
			t.Logf("%s: %s: %d answers, %d questions without, the longest time without %v", what, h.Name, answered, missed, gap)
			if err != nil || gap > gapMax || answered == 0 {
				t.Errorf("%s: on %s no name was answered for %v, %v", what, h.Name, gap, err)
			}
		}
	}
	quick("nothing happens")

	c.kill(b)
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "new", "--constraint", "node.hostname=="+a.Name, "--network", "back", "busybox", "sleep", "100000")
	knows(a, "new")
	c.restart(b)
	knows(b, "new")
	quick("a worker's daemon is killed and begins again")

	c.kill(a)
	c.restart(a)
	c.nodes(a, a.Name+" Ready Leader", b.Name+" Ready")
	quick("a manager's daemon is killed and begins again")

	c.killNamer(b)
	quick("the name server is killed")
	c.killNamer(b)
	c.killNamer(b)
	quick("the name server is killed, and the next too")
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "newer", "--constraint", "node.hostname=="+a.Name, "--network", "back", "busybox", "sleep", "100000")
	knows(b, "newer")

	if err := errors.Join(b.Kill(), unix.Kill(c.namer(b), unix.SIGKILL), b.Start(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
	c.nodes(a, b.Name+" Ready")
	quick("the daemon and the name server are killed, and the daemon begins again")
	knows(b, "newer")
}
