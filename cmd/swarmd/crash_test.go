package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/lab"
)

const (
	crashRounds  = 4
	crashClients = 8
	patience     = 60 * time.Second
	pollPeriod   = 50 * time.Millisecond
)

// TestCrash kills the daemon, again and again, while clients create and update
// services. What was acknowledged is there afterwards, and the containers have
// not noticed.
func TestCrash(t *testing.T) {
	c := newCrashed(t)
	before := c.containers(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	// Service → the value it was last given, acknowledged or not.
	acknowledged, attempted := make(map[string]int), make(map[string]int)
	for round := range crashRounds {
		clients := c.startClients(round)
		<-clients.first                                                       // there is something to lose
		time.Sleep(time.Duration(draw.Int64N(int64(300 * time.Millisecond)))) // the moment of the crash, not a wait for anything
		if err := c.host.Kill(); err != nil {
			t.Fatal(err)
		}
		clients.wait()
		maps.Copy(acknowledged, clients.acknowledged)
		maps.Copy(attempted, clients.attempted)
		c.start(t)
		c.expectServices(t, acknowledged, attempted)
		c.expectContainers(t, before)
	}
	t.Logf("%d services acknowledged over %d crashes", len(acknowledged), crashRounds)
	c.expectImages(t)
}

// TestRestart ends the daemon in order, and kills its containerd; a container
// that dies while nobody looks is noticed and replaced.
func TestRestart(t *testing.T) {
	c := newCrashed(t)
	before := c.containers(t)

	t.Log("SIGTERM, and a start")
	if err := c.host.Stop(); err != nil {
		t.Fatalf("an orderly end: %v", err)
	}
	c.start(t)
	c.expectContainers(t, before)

	t.Log("a container dies while the daemon does not run")
	if err := c.host.Kill(); err != nil {
		t.Fatal(err)
	}
	victim := slices.Min(slices.Collect(maps.Keys(before)))
	if err := unix.Kill(before[victim], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	c.await(t, "the dead one's failure is told", func() bool {
		return strings.Contains(c.docker(t, "service", "ps", "steady", "--format", "{{.CurrentState}} {{.Error}}"), "task: non-zero exit (137)")
	})
	c.await(t, "another takes its place", func() bool { return len(c.containers(t)) == len(before) })
	delete(before, victim)
	c.expectContainers(t, before)

	t.Log("containerd is killed under the daemon")
	containerd := c.containerd(t)
	if err := unix.Kill(containerd, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.await(t, "another containerd runs", func() bool {
		pid := c.findContainerd()
		return pid != 0 && pid != containerd
	})
	c.docker(t, "service", "create", "--no-resolve-image", "--detach", "--name", "after", "busybox", "sleep", "1000")
	c.await(t, "a new service runs", func() bool {
		return c.docker(t, "service", "ls", "--filter", "name=after", "--format", "{{.Replicas}}") == "1/1"
	})
	c.expectContainers(t, before)
	c.expectImages(t)
}

// A crashed is a host with a service that must not be disturbed.
type crashed struct {
	programs *programs
	host     *lab.Host
	client   *http.Client
	header   http.Header // of requests
}

func newCrashed(t *testing.T) *crashed {
	p := needHosts(t)
	c := &crashed{programs: p, host: p.startHost(t, lab.Swarmd, "swarm-00")}
	if c.host == nil {
		t.FailNow()
	}
	c.client = c.host.Client()
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(c.host.LogFile())
			t.Logf("the daemon's log:\n%s", log)
		}
		if err := c.host.Remove(); err != nil {
			t.Error(err)
		}
	})
	c.docker(t, "swarm", "init", "--advertise-addr", c.host.Addr)
	c.docker(t, "service", "create", "--no-resolve-image", "--quiet", "--update-monitor", "1ms", "--restart-delay", "100ms", "--replicas", "3", "--stop-grace-period", "1s", "--name", "steady", "busybox", "sleep", "100000")
	c.await(t, "the service runs", func() bool { return len(c.containers(t)) == 3 })
	return c
}

func (c *crashed) docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.programs.docker(c.host, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// start starts the daemon and waits until the swarm answers.
func (c *crashed) start(t *testing.T) {
	t.Helper()
	if err := c.host.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(t, "the swarm answers", func() bool { return c.request(http.MethodGet, "/services", nil, nil) == nil })
}

// await waits for something of the real world.
func (c *crashed) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(pollPeriod) {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// containers are the running ones of the steady service, with their processes.
func (c *crashed) containers(t *testing.T) map[string]int {
	t.Helper()
	found := make(map[string]int)
	list := c.docker(t, "ps", "-q", "--no-trunc", "--filter", "label=com.docker.swarm.service.name=steady")
	for id := range strings.FieldsSeq(list) {
		pid, err := strconv.Atoi(c.docker(t, "inspect", "--format", "{{.State.Pid}}", id))
		if err != nil {
			t.Fatal(err)
		}
		found[id] = pid
	}
	return found
}

// expectContainers fails if a container is gone, or is another process.
func (c *crashed) expectContainers(t *testing.T, before map[string]int) {
	t.Helper()
	now := c.containers(t)
	for id, pid := range before {
		if now[id] != pid {
			t.Errorf("container %.12s was process %d and is %d", id, pid, now[id])
		}
		if err := unix.Kill(pid, 0); err != nil {
			t.Errorf("process %d of container %.12s: %v", pid, id, err)
		}
	}
}

func (c *crashed) expectImages(t *testing.T) {
	t.Helper()
	list := c.docker(t, "images", "--format", "{{.Repository}}:{{.Tag}}")
	for image := range c.programs.images {
		if !strings.Contains(list, image) {
			t.Errorf("image %s is gone: there are %q", image, list)
		}
	}
}

// expectServices fails if an acknowledged service is gone or is older than what
// was acknowledged. What was attempted may or may not have happened.
func (c *crashed) expectServices(t *testing.T, acknowledged, attempted map[string]int) {
	t.Helper()
	var services []swarm.Service
	if err := c.request(http.MethodGet, "/services", nil, &services); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]int)
	for _, v := range services {
		if value, err := strconv.Atoi(v.Spec.Labels["value"]); err == nil {
			values[v.Spec.Name] = value
		}
	}
	for name, value := range acknowledged {
		if got, ok := values[name]; !ok {
			t.Errorf("service %s was acknowledged and is lost", name)
		} else if got != value && got != attempted[name] {
			t.Errorf("service %s was given the value %d, and has %d", name, value, got)
		}
	}
}

// containerd is the daemon's own.
func (c *crashed) containerd(t *testing.T) int {
	t.Helper()
	pid := c.findContainerd()
	if pid == 0 {
		t.Fatal("the daemon has no containerd")
	}
	return pid
}

func (c *crashed) findContainerd() int {
	out, err := exec.Command("pgrep", "-f", "^[^ ]*containerd .*"+c.host.Dir+"/").Output()
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.Fields(string(out))[0])
	if err != nil {
		return 0
	}
	return pid
}

// Clients create services and change them until the daemon is gone.
type clients struct {
	first chan struct{} // closed at the first acknowledgement
	once  sync.Once
	work  sync.WaitGroup

	mu                      sync.Mutex
	acknowledged, attempted map[string]int
}

func (c *crashed) startClients(round int) *clients {
	all := &clients{first: make(chan struct{}), acknowledged: make(map[string]int), attempted: make(map[string]int)}
	for client := range crashClients {
		all.work.Go(func() { all.run(c, fmt.Sprintf("s-%d-%d", round, client)) })
	}
	return all
}

func (all *clients) wait() { all.work.Wait() }

// run goes on until a request fails. No container is made of these services: it
// is the swarm's state that is looked at.
func (all *clients) run(c *crashed, prefix string) {
	defer all.once.Do(func() { close(all.first) })
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s-%d", prefix, n)
		for value := range 2 {
			all.mu.Lock()
			all.attempted[name] = value
			all.mu.Unlock()
			if c.give(name, value) != nil {
				return
			}
			all.mu.Lock()
			all.acknowledged[name] = value
			all.mu.Unlock()
			all.once.Do(func() { close(all.first) })
		}
	}
}

// give creates the service with value 0, and gives it the others.
func (c *crashed) give(name string, value int) error {
	replicas := uint64(0)
	spec := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name, Labels: map[string]string{"value": strconv.Itoa(value)}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "busybox"}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
	if value == 0 {
		return c.request(http.MethodPost, "/services/create", spec, nil)
	}
	var service swarm.Service
	if err := c.request(http.MethodGet, "/services/"+name, nil, &service); err != nil {
		return err
	}
	return c.request(http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d", service.ID, service.Version.Index), spec, nil)
}

func (c *crashed) request(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://daemon"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	maps.Copy(request.Header, c.header)
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
