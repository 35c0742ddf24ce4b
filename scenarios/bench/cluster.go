package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	dockerswarm "github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

// Names of what is measured of several hosts, as the table has them.
const (
	joined        = "join → ready"
	leaderLost    = "leader kill -9 → next acknowledged write"
	workerDown    = "worker kill -9 → Down"
	workerMoved   = "worker kill -9 → tasks running elsewhere"
	managerMemory = "idle memory of a manager (RSS), MiB"
	managerCPU    = "idle CPU of a manager, % of a core"
)

const (
	clusterManagers = 3
	clusterWorkers  = 2
	clusterTasks    = 6
	clusterIdle     = 20 * time.Second
	writePatience   = 500 * time.Millisecond // with one write, before another manager is asked
)

// A cluster is a swarm of several hosts.
type cluster struct {
	*lab.Cluster
	daemon string
}

// measureCluster makes a swarm of several hosts of a daemon and measures what
// becomes of it when hosts are lost.
func measureCluster(ctx context.Context, dir string, config lab.Config, archive string, rounds int, add func(map[string]float64)) (err error) {
	made, err := lab.NewCluster(filepath.Join(dir, "c-"+config.Daemon), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Remove()) }()
	c := &cluster{made, config.Daemon}
	for i := range clusterManagers + clusterWorkers {
		h := lab.Config{Name: fmt.Sprintf("host-%02d", i), Daemon: config.Daemon, Program: config.Program, Manager: i < clusterManagers}
		if _, err := c.Add(h); err != nil {
			return err
		}
	}
	err = c.Each(func(h *lab.Host) error {
		if err := h.Start(ctx); err != nil {
			return err
		}
		return h.Load(ctx, archive)
	})
	if err != nil {
		return err
	}
	steps := []func(context.Context) (map[string]float64, error){c.form, c.idle}
	for range rounds {
		steps = append(steps, c.loseLeader)
	}
	for range max(1, rounds/2) {
		steps = append(steps, c.loseWorker)
	}
	for _, step := range steps {
		values, err := step(ctx)
		if err != nil {
			return err
		}
		add(values)
	}
	return nil
}

// form makes the swarm, host by host.
func (c *cluster) form(ctx context.Context) (map[string]float64, error) {
	const listen = "0.0.0.0:2377"
	first := c.Hosts[0]
	var founded dockerswarm.Swarm
	err := errors.Join(
		ask(ctx, first, http.MethodPost, "/swarm/init", dockerswarm.InitRequest{ListenAddr: listen, AdvertiseAddr: first.Addr}, nil),
		ask(ctx, first, http.MethodGet, "/swarm", nil, &founded))
	if err != nil {
		return nil, err
	}
	took := 0.0
	for _, h := range c.Hosts[1:] {
		token := founded.JoinTokens.Worker
		if h.Manager {
			token = founded.JoinTokens.Manager
		}
		start := time.Now()
		request := dockerswarm.JoinRequest{ListenAddr: listen, AdvertiseAddr: h.Addr, RemoteAddrs: []string{first.Addr + ":2377"}, JoinToken: token}
		if err := ask(ctx, h, http.MethodPost, "/swarm/join", request, nil); err != nil {
			return nil, err
		}
		err := until(ctx, func() (bool, error) {
			n, err := c.node(ctx, first, h.Name)
			return n != nil && n.Status.State == dockerswarm.NodeStateReady, err
		})
		if err != nil {
			return nil, err
		}
		took += since(start)
	}
	return map[string]float64{joined: took / float64(len(c.Hosts)-1)}, c.whole(ctx)
}

// idle watches the managers of a swarm to which nothing happens.
func (c *cluster) idle(ctx context.Context) (map[string]float64, error) {
	if err := rest(ctx, 10*time.Second); err != nil { // what joining has set off
		return nil, err
	}
	var pids []int
	for _, h := range c.Hosts[:clusterManagers] {
		pids = append(pids, h.PID())
	}
	s := &swarm{host: &lab.Host{}}
	before, err := s.look(ctx, pids...)
	if err != nil {
		return nil, err
	}
	if err := rest(ctx, clusterIdle); err != nil {
		return nil, err
	}
	after, err := s.look(ctx, pids...)
	if err != nil {
		return nil, err
	}
	memory := 0.0
	for _, pid := range pids {
		memory += resident(pid) / 1024
	}
	return map[string]float64{
		managerMemory: memory / clusterManagers,
		managerCPU:    (after.seconds - before.seconds) / clusterIdle.Seconds() * 100 / clusterManagers,
	}, nil
}

// loseLeader kills the daemon of the manager that leads.
func (c *cluster) loseLeader(ctx context.Context) (map[string]float64, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := leader.Kill(); err != nil {
		return nil, err
	}
	start := time.Now()
	next, none := 0, uint64(0)
	spec := dockerswarm.ServiceSpec{
		TaskTemplate: dockerswarm.TaskSpec{ContainerSpec: &dockerswarm.ContainerSpec{Image: image}},
		Mode:         dockerswarm.ServiceMode{Replicated: &dockerswarm.ReplicatedService{Replicas: &none}},
	}
	write := func(h *lab.Host) bool {
		// One that was not answered may have been made: the next has another name.
		spec.Name = fmt.Sprintf("after-%d-%d", start.UnixNano(), next)
		short, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		return ask(short, h, http.MethodPost, "/services/create", spec, nil) == nil
	}
	for h := leader; h == leader || !write(h); h = c.Hosts[next%clusterManagers] {
		next++
		if err := rest(ctx, pollPeriod); err != nil { // not in proportion to what it took, as elsewhere: nobody is busy
			return nil, err
		}
	}
	values := map[string]float64{leaderLost: since(start)}
	return values, errors.Join(leader.Start(ctx), c.whole(ctx))
}

// loseWorker kills the daemon of a worker that runs half of a service's tasks.
func (c *cluster) loseWorker(ctx context.Context) (map[string]float64, error) {
	lost, first := c.Hosts[len(c.Hosts)-1], c.Hosts[0]
	s := &swarm{host: first, client: first.Client()}
	defer s.client.CloseIdleConnections()
	spec := s.spec("web", clusterTasks)
	spec.TaskTemplate.Placement = &dockerswarm.Placement{Constraints: []string{"node.role==worker"}}
	if err := errors.Join(s.post(ctx, "/services/create", spec), s.untilRunning(ctx, clusterTasks)); err != nil {
		return nil, err
	}
	if err := lost.Kill(); err != nil {
		return nil, err
	}
	start := time.Now()
	values := map[string]float64{}
	err := until(ctx, func() (bool, error) {
		n, err := c.node(ctx, first, lost.Name)
		return n != nil && n.Status.State == dockerswarm.NodeStateDown, err
	})
	values[workerDown] = since(start)
	if err == nil {
		err = until(ctx, func() (bool, error) { return c.elsewhere(ctx, first, lost) })
	}
	values[workerMoved] = since(start)
	err = errors.Join(err, lost.Start(ctx), c.whole(ctx), s.request(ctx, http.MethodDelete, "/services/web", nil, nil))
	return values, errors.Join(err, until(ctx, func() (bool, error) {
		var tasks []dockerswarm.Task
		err := s.get(ctx, "/tasks", &tasks)
		return len(tasks) == 0, err
	}))
}

// elsewhere reports whether all tasks run on other nodes than the lost one.
func (c *cluster) elsewhere(ctx context.Context, by, lost *lab.Host) (bool, error) {
	n, err := c.node(ctx, by, lost.Name)
	if err != nil || n == nil {
		return false, err
	}
	var tasks []dockerswarm.Task
	filters := url.QueryEscape(`{"service":{"web":true},"desired-state":{"running":true}}`)
	if err := ask(ctx, by, http.MethodGet, "/tasks?filters="+filters, nil, &tasks); err != nil {
		return false, err
	}
	count := 0
	for _, t := range tasks {
		if t.NodeID != n.ID && t.Status.State == dockerswarm.TaskStateRunning {
			count++
		}
	}
	return count == clusterTasks, nil
}

// node is a host's node, nil if there is none that is not down but one before it.
func (c *cluster) node(ctx context.Context, by *lab.Host, name string) (*dockerswarm.Node, error) {
	var nodes []dockerswarm.Node
	if err := ask(ctx, by, http.MethodGet, "/nodes", nil, &nodes); err != nil {
		return nil, err
	}
	for i := range nodes {
		if nodes[i].Description.Hostname == name {
			return &nodes[i], nil
		}
	}
	return nil, nil
}

// leader is the host that leads.
func (c *cluster) leader(ctx context.Context) (*lab.Host, error) {
	var found *lab.Host
	err := until(ctx, func() (bool, error) {
		var nodes []dockerswarm.Node
		if err := ask(ctx, c.Hosts[0], http.MethodGet, "/nodes", nil, &nodes); err != nil {
			return false, nil //nolint:nilerr // asked again
		}
		for _, n := range nodes {
			if n.ManagerStatus != nil && n.ManagerStatus.Leader {
				found = c.Host(n.Description.Hostname)
			}
		}
		return found != nil, nil
	})
	return found, err
}

// whole waits until all nodes are ready, and all managers reachable.
func (c *cluster) whole(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		var nodes []dockerswarm.Node
		if err := ask(ctx, c.Hosts[0], http.MethodGet, "/nodes", nil, &nodes); err != nil {
			return false, nil //nolint:nilerr // asked again
		}
		well := 0
		for _, n := range nodes {
			reachable := n.ManagerStatus == nil || n.ManagerStatus.Reachability == dockerswarm.ReachabilityReachable
			if n.Status.State == dockerswarm.NodeStateReady && reachable {
				well++
			}
		}
		return well == len(c.Hosts), nil
	})
}

// ask makes a request of a host's daemon.
func ask(ctx context.Context, h *lab.Host, method, path string, body, answer any) error {
	client := h.Client()
	defer client.CloseIdleConnections()
	return lab.Request(ctx, client, method, path, body, answer)
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
