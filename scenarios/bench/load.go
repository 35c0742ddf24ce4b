package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerswarm "github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

// loadName is what -only has for the load.
const loadName = "load"

const (
	loadManagers  = 3
	loadWorkers   = 1
	loadPort      = 8080
	loadReplicas  = 5
	loadScaleLow  = 2
	loadScaleHigh = 8
	checkPatience = 10 * time.Second
	outsideName   = "outside"
	lostPeriod    = 8 * time.Second // how long a daemon is dead: its node is held for lost
)

// loadImages are one image by two names: a service is updated from one to the other.
var loadImages = [...]string{"load:1", "load:2"}

// A load is clients on several hosts that ask a service while things happen to it.
type load struct {
	*cluster
	outside *lab.Host // a host that is no node
	s       *swarm    // by a host that nothing happens to
	pause   time.Duration
	ports   int
}

// A phase is what happens while clients ask.
type phase struct {
	name string
	do   func(ctx context.Context) error
}

// runLoad makes a swarm of several hosts and has clients ask it, all the time,
// while a service is updated and scaled, and nodes and daemons come and go. It
// prints the tally of each phase; the error is that a request was lost.
func runLoad(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "swarmd-load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // Remove has said what is left
	l, err := newLoad(ctx, dir, o.swarmd)
	if l != nil {
		defer func() { err = errors.Join(err, l.Remove()) }()
	}
	if err != nil {
		return err
	}
	l.pause, l.ports = o.pause, o.ports
	phases := l.phases(o)
	var all tally
	fmt.Fprintf(out, "| %-36s | %8s | %11s | %6s | %6s |\n", "while", "requests", "connections", "late", "lost")
	for _, p := range phases {
		t, err := l.during(ctx, p, o.requests/len(phases))
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		all.add(t)
		fmt.Fprintf(out, "| %-36s | %8d | %11d | %6d | %6d |\n", p.name, t.Requests, t.Connects, t.Late, t.Failed)
		for _, f := range t.Failures {
			fmt.Fprintln(out, "  lost:", f)
		}
		for _, f := range t.Lates {
			fmt.Fprintln(out, "  late:", f)
		}
	}
	fmt.Fprintf(out, "| %-36s | %8d | %11d | %6d | %6d |\n", "in all", all.Requests, all.Connects, all.Late, all.Failed)
	if all.Failed > 0 {
		return fmt.Errorf("%d of %d requests were lost", all.Failed, all.Requests)
	}
	return nil
}

func newLoad(ctx context.Context, dir, swarmd string) (*load, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(dir, "load.tar")
	if err := (lab.Image{Names: loadImages[:], Program: self, Arguments: []string{serveArgument}}).WriteFile(archive); err != nil {
		return nil, err
	}
	l, err := newHosts(ctx, filepath.Join(dir, "c"), swarmd, archive, loadManagers, loadWorkers)
	if err != nil {
		return l, err
	}
	if err := l.s.post(ctx, "/services/create", l.spec()); err != nil {
		return l, err
	}
	return l, l.settled(ctx, loadReplicas)
}

// newHosts is a swarm with an image, and a host beside it that is no node.
func newHosts(ctx context.Context, dir, swarmd, archive string, managers, workers int) (*load, error) {
	made, err := lab.NewCluster(dir, "")
	if err != nil {
		return nil, err
	}
	l := &load{cluster: &cluster{made, lab.Swarmd}}
	for i := range managers + workers {
		if _, err := l.Add(lab.Config{Name: fmt.Sprintf("host-%02d", i), Daemon: lab.Swarmd, Program: swarmd, Manager: i < managers}); err != nil {
			return l, err
		}
	}
	err = l.Each(func(h *lab.Host) error { return errors.Join(h.Start(ctx), h.Load(ctx, archive)) })
	if err == nil {
		_, err = l.form(ctx)
	}
	if err != nil {
		return l, err
	}
	by := l.Hosts[min(1, managers-1)]
	l.s = &swarm{host: by, client: by.Client()}
	nodes := l.Hosts
	l.outside, err = l.Add(lab.Config{Name: outsideName, Daemon: lab.Swarmd})
	l.Hosts = nodes
	return l, err
}

// Remove takes all hosts away, the one that is no node too.
func (l *load) Remove() error {
	if l.outside != nil {
		l.Hosts = append(l.Hosts, l.outside)
	}
	return l.Cluster.Remove()
}

func webPorts() *dockerswarm.EndpointSpec {
	return &dockerswarm.EndpointSpec{Ports: []dockerswarm.PortConfig{{
		Protocol: "tcp", TargetPort: 80, PublishedPort: loadPort, PublishMode: dockerswarm.PortConfigPublishModeIngress,
	}}}
}

// spec is a service that says when it is ready, and ends when it has answered.
func (l *load) spec() dockerswarm.ServiceSpec {
	s := &swarm{host: l.Hosts[0]}
	spec := s.spec("web", loadReplicas)
	c := spec.TaskTemplate.ContainerSpec
	c.Image, c.Command = loadImages[0], nil
	c.Healthcheck = &container.HealthConfig{
		Test: []string{"CMD", "/bin/program", checkArgument}, Interval: time.Second, Timeout: checkPatience, Retries: 3,
	}
	spec.EndpointSpec = webPorts()
	return spec
}

// phases are those that are asked for, as often as that.
func (l *load) phases(o options) (chosen []phase) {
	for range o.times {
		for _, p := range l.everyPhase() {
			if strings.Contains(p.name, o.phase) {
				chosen = append(chosen, p)
			}
		}
	}
	return chosen
}

func (l *load) everyPhase() []phase {
	return []phase{
		{"nothing happens", func(ctx context.Context) error { return rest(ctx, time.Second) }},
		{"a rolling update, start-first", l.roll(dockerswarm.UpdateOrderStartFirst)},
		{"a rolling update, stop-first", l.roll(dockerswarm.UpdateOrderStopFirst)},
		{"scaling 5 → 2 → 8 → 5", l.scale},
		{"a node is drained", l.drain},
		{"swarmd of a node is killed, and begins", l.killDaemon},
		{"the leader's swarmd is killed", l.killLeader},
	}
}

// during has clients ask while something happens, and returns what became of their
// requests.
func (l *load) during(ctx context.Context, p phase, requests int) (all tally, err error) {
	var targets []string
	for _, h := range l.Hosts {
		targets = append(targets, fmt.Sprintf("%s:%d", h.Addr, loadPort))
	}
	from := []*lab.Host{l.outside, l.Hosts[0], l.Hosts[len(l.Hosts)-1]}
	var groups []*group
	for _, h := range from {
		g, failed := startClients(ctx, h, "-targets", strings.Join(targets, ","), "-least", fmt.Sprint(requests/len(from)), "-keep", "2", "-new", "2", "-pause", l.pause.String(), "-ports", fmt.Sprint(l.ports))
		if failed != nil {
			err = errors.Join(err, failed)
			break
		}
		groups = append(groups, g)
	}
	if err == nil {
		err = p.do(ctx)
	}
	for _, g := range groups {
		t, failed := g.stop()
		all.add(t)
		err = errors.Join(err, failed)
	}
	return all, err
}

// roll updates the service to the image that it does not have.
func (l *load) roll(order dockerswarm.UpdateOrder) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		image := ""
		err := l.s.update(ctx, func(s *dockerswarm.ServiceSpec) {
			if image == "" {
				image = loadImages[0]
				if s.TaskTemplate.ContainerSpec.Image == image {
					image = loadImages[1]
				}
			}
			s.TaskTemplate.ContainerSpec.Image = image
			s.UpdateConfig.Order = order
		})
		if err != nil {
			return err
		}
		err = until(ctx, func() (bool, error) {
			s, err := l.s.service(ctx, "web")
			return s.UpdateStatus != nil && s.UpdateStatus.State == dockerswarm.UpdateStateCompleted && s.Spec.TaskTemplate.ContainerSpec.Image == image, err
		})
		return errors.Join(err, l.settled(ctx, loadReplicas))
	}
}

func (l *load) scale(ctx context.Context) error {
	for _, n := range []uint64{loadScaleLow, loadScaleHigh, loadReplicas} {
		err := l.s.update(ctx, func(s *dockerswarm.ServiceSpec) { s.Mode.Replicated.Replicas = &n })
		if err := errors.Join(err, l.settled(ctx, int(n))); err != nil {
			return err
		}
	}
	return nil
}

// drain empties a node, and lets it take tasks again.
func (l *load) drain(ctx context.Context) error {
	for _, a := range []dockerswarm.NodeAvailability{dockerswarm.NodeAvailabilityDrain, dockerswarm.NodeAvailabilityActive} {
		n, err := l.node(ctx, l.s.host, l.Hosts[2].Name)
		if err != nil {
			return err
		}
		n.Spec.Availability = a
		err = l.s.post(ctx, fmt.Sprintf("/nodes/%s/update?version=%d", n.ID, n.Version.Index), n.Spec)
		if err := errors.Join(err, l.settled(ctx, loadReplicas)); err != nil {
			return err
		}
	}
	return nil
}

// killDaemon kills the daemon of a node by which clients come in, for long enough
// that the node is held for lost and its tasks run elsewhere.
func (l *load) killDaemon(ctx context.Context) error {
	h := l.Hosts[len(l.Hosts)-1]
	return errors.Join(h.Kill(), rest(ctx, lostPeriod), l.s.untilRunning(ctx, loadReplicas), h.Start(ctx), l.whole(ctx), l.settled(ctx, loadReplicas))
}

func (l *load) killLeader(ctx context.Context) error {
	leader, err := l.leader(ctx)
	if err != nil {
		return err
	}
	by := l.Hosts[0]
	if leader == by {
		by = l.Hosts[1]
	}
	l.s = &swarm{host: by, client: by.Client()}
	return errors.Join(leader.Kill(), rest(ctx, lostPeriod), l.s.untilRunning(ctx, loadReplicas), leader.Start(ctx), l.whole(ctx), l.settled(ctx, loadReplicas))
}

// settled waits until as many tasks run as are to, and all others have ended: their
// containers too, on nodes that can be asked.
func (l *load) settled(ctx context.Context, replicas int) error {
	return until(ctx, func() (bool, error) {
		var tasks []dockerswarm.Task
		if err := l.s.request(ctx, http.MethodGet, "/tasks", nil, &tasks); err != nil {
			return false, nil //nolint:nilerr // asked again: another may be about to lead
		}
		running := 0
		for _, t := range tasks {
			switch t.Status.State {
			case dockerswarm.TaskStateRunning:
				if t.DesiredState != dockerswarm.TaskStateRunning {
					return false, nil
				}
				running++
			case dockerswarm.TaskStateComplete, dockerswarm.TaskStateShutdown, dockerswarm.TaskStateFailed, dockerswarm.TaskStateRejected,
				dockerswarm.TaskStateOrphaned, dockerswarm.TaskStateRemove:
			default:
				return false, nil
			}
		}
		return running == replicas, nil
	})
}
