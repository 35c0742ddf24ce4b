package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	dockerswarm "github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

const (
	pollPeriod = 20 * time.Millisecond // how exactly a state's time is known
	pollShare  = 10                    // asking takes at most one of so many parts of the time: it is not what is measured
	patience   = 3 * time.Minute       // how long a state may be waited for
	image      = "nginx:alpine"
)

// A swarm is a host with a swarm of its own.
type swarm struct {
	host   *lab.Host
	client *http.Client
}

func newSwarm(ctx context.Context, c lab.Config, archive string) (*swarm, error) {
	host, err := lab.NewHost(c)
	if err != nil {
		return nil, err
	}
	s := &swarm{host: host, client: host.Client()}
	if err := host.Start(ctx); err != nil {
		s.remove()
		return nil, err
	}
	err = host.Load(ctx, archive)
	if err == nil {
		err = s.post(ctx, "/swarm/init", map[string]string{"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": host.Addr})
	}
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *swarm) remove() {
	if err := s.host.Remove(); err != nil && s.host.Daemon == lab.Swarmd {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func (s *swarm) request(ctx context.Context, method, path string, body, answer any) error {
	return lab.Request(ctx, s.client, method, path, body, answer)
}

func (s *swarm) get(ctx context.Context, path string, answer any) error {
	return s.request(ctx, http.MethodGet, path, nil, answer)
}

func (s *swarm) post(ctx context.Context, path string, body any) error {
	return s.request(ctx, http.MethodPost, path, body, nil)
}

// spec is a service of containers that end at once when they are told to. On
// dockerd they use the host's network, which is what it is fastest with; on swarmd
// they have a network of their own.
func (s *swarm) spec(name string, replicas uint64) dockerswarm.ServiceSpec {
	delay, grace := time.Second, 10*time.Second
	spec := dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: name},
		TaskTemplate: dockerswarm.TaskSpec{
			ContainerSpec: &dockerswarm.ContainerSpec{
				Image: image, StopGracePeriod: &grace,
				Command: []string{"sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"},
			},
			RestartPolicy: &dockerswarm.RestartPolicy{Condition: dockerswarm.RestartPolicyConditionAny, Delay: &delay},
		},
		Mode:         dockerswarm.ServiceMode{Replicated: &dockerswarm.ReplicatedService{Replicas: &replicas}},
		UpdateConfig: &dockerswarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, FailureAction: "pause", Order: "stop-first"},
	}
	if s.host.Daemon == lab.Dockerd {
		spec.TaskTemplate.Networks = []dockerswarm.NetworkAttachmentConfig{{Target: "host"}}
	}
	return spec
}

func (s *swarm) create(ctx context.Context, name string, replicas uint64) error {
	return s.post(ctx, "/services/create", s.spec(name, replicas))
}

func (s *swarm) service(ctx context.Context, name string) (dockerswarm.Service, error) {
	var v dockerswarm.Service
	err := s.get(ctx, "/services/"+name, &v)
	return v, err
}

// update changes the service web. Dockerd counts up a service's version by itself, as
// its tasks start: then it is asked again, as a person would.
func (s *swarm) update(ctx context.Context, change func(*dockerswarm.ServiceSpec)) error {
	return until(ctx, func() (bool, error) {
		v, err := s.service(ctx, "web")
		if err != nil {
			return false, err
		}
		change(&v.Spec)
		err = s.post(ctx, fmt.Sprintf("/services/%s/update?version=%d", v.ID, v.Version.Index), v.Spec)
		if err != nil && strings.Contains(err.Error(), "update out of sequence") {
			return false, nil
		}
		return err == nil, err
	})
}

// running counts the tasks of a service that run and are meant to; those of its
// newest spec only, if asked for.
func (s *swarm) running(ctx context.Context, name string, newest bool) (int, error) {
	filters := map[string]map[string]bool{"service": {name: true}, "desired-state": {"running": true}}
	if newest {
		filters["_up-to-date"] = map[string]bool{"true": true}
	}
	text, err := json.Marshal(filters)
	if err != nil {
		return 0, err
	}
	var tasks []dockerswarm.Task
	if err := s.get(ctx, "/tasks?filters="+url.QueryEscape(string(text)), &tasks); err != nil {
		return 0, err
	}
	count := 0
	for _, t := range tasks {
		if t.Status.State == dockerswarm.TaskStateRunning {
			count++
		}
	}
	return count, nil
}

// until waits until done says so, for which it asks again and again.
func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		asked := time.Now()
		if ok, err := done(); ok || err != nil && !leaderless(err) {
			return err
		}
		pause := time.NewTimer(max(pollPeriod, (pollShare-1)*time.Since(asked)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("gave up: %w", ctx.Err())
		case <-pause.C:
		}
	}
}

// leaderless says that managers are electing one of them: whoever asks asks again.
func leaderless(err error) bool {
	return strings.Contains(err.Error(), "does not have a leader")
}

func (s *swarm) untilRunning(ctx context.Context, count int) error {
	return until(ctx, func() (bool, error) {
		n, err := s.running(ctx, "web", false)
		return n == count, err
	})
}

// containers are those on the host, running or not.
func (s *swarm) containers(ctx context.Context, query string) ([]string, error) {
	var list []struct{ ID string }
	if err := s.get(ctx, "/containers/json?"+query, &list); err != nil {
		return nil, err
	}
	var found []string
	for _, c := range list {
		found = append(found, c.ID)
	}
	return found, nil
}

// rm removes a service and waits until its containers are gone.
func (s *swarm) rm(ctx context.Context, name string) error {
	if err := s.request(ctx, http.MethodDelete, "/services/"+name, nil, nil); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		left, err := s.containers(ctx, "all=1")
		return len(left) == 0, err
	})
}
