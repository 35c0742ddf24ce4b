package apitest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// A Swarm is a real engine of one node whose world is in memory: what it proposes
// is committed at once, what it has pulled, created and started is there at once.
// It is an api.Engine. Images with "missing" in their names cannot be pulled.
// Make one with [NewSwarm]; it runs until [Swarm.Close].
type Swarm struct {
	events chan engine.Event
	stop   chan struct{}
	ended  sync.WaitGroup

	mu         sync.Mutex
	nextID     engine.RequestID
	pending    map[engine.RequestID]chan control.Answer
	watchers   map[chan []control.Event]struct{}
	containers map[state.TaskID]*Container
}

// A Container is one that the engine has asked for.
type Container struct {
	agent.Container
	Running  bool
	ExitCode int
	Created  time.Time
}

// rootPEM is a root certificate that dockerd made, for what is shown of it.
const rootPEM = `-----BEGIN CERTIFICATE-----
MIIBajCCARCgAwIBAgIUQcEkZKEXTmUXQpws0uktOi/rYFgwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIzMTQ0MDAwWhcNNDYxMTE4MTQ0
MDAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABOfbMybfpZcEXX/oO36SW05o6dwwh494/kAGb48NzqEKYDLo3ZalPxlBFfvp
3DNJPCkY/IqUfuRx9hHfdQIaImWjQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB
Af8EBTADAQH/MB0GA1UdDgQWBBSWRLttpWu3rvvD5oFypw+KllAJKTAKBggqhkjO
PQQDAgNIADBFAiEA/JCkpkccjuU+phah+HjS/KDHMsyFZ1gLGeBZw+mSqhsCIBDr
CuVcXIdO6jbOhZgfSV9wfZ+ths380R+SgxvSrU93
-----END CERTIFICATE-----
`

// NewSwarm starts a node that is in no swarm.
func NewSwarm() *Swarm {
	s := &Swarm{
		events: make(chan engine.Event, 64), stop: make(chan struct{}),
		pending: map[engine.RequestID]chan control.Answer{}, watchers: map[chan []control.Event]struct{}{},
		containers: map[state.TaskID]*Container{},
	}
	s.ended.Go(s.run)
	return s
}

// Close stops the node.
func (s *Swarm) Close() {
	close(s.stop)
	s.ended.Wait()
}

// Call implements api.Engine.
func (s *Swarm) Call(ctx context.Context, call control.Call) (control.Answer, error) {
	answer := make(chan control.Answer, 1)
	s.mu.Lock()
	s.nextID++
	id := s.nextID
	s.pending[id] = answer
	s.mu.Unlock()
	select {
	case s.events <- engine.Called{Request: id, Call: call}:
	case <-s.stop:
		return nil, errors.New("the engine has stopped")
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stop:
		return nil, errors.New("the engine has stopped")
	}
}

// Subscribe implements api.Engine.
func (s *Swarm) Subscribe(ctx context.Context) <-chan []control.Event {
	events := make(chan []control.Event, 1024)
	s.mu.Lock()
	s.watchers[events] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, events)
		close(events)
	})
	return events
}

// Containers are the containers that there are, in no order.
func (s *Swarm) Containers() []Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Container
	for _, c := range s.containers {
		all = append(all, *c)
	}
	return all
}

// Exit ends a container's process by itself.
func (s *Swarm) Exit(task state.TaskID, code int) {
	s.ran(task, false, code)
	s.events <- engine.ContainerExited{Task: task, Code: code}
}

func (s *Swarm) ran(task state.TaskID, running bool, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[task]
	if c != nil {
		c.Running, c.ExitCode = running, code
	}
}

// A loop is what the goroutine that owns the node has.
type loop struct {
	*Swarm
	node  engine.Node
	index uint64
	next  []engine.Event // answers, oldest first
}

func (s *Swarm) run() {
	l := &loop{Swarm: s}
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	l.next = []engine.Event{
		engine.Started{Seed: entropy.Seed{1}, Description: swarm.NodeDescription{
			Hostname:  "host1",
			Platform:  swarm.Platform{Architecture: "x86_64", OS: "linux"},
			Resources: swarm.Resources{NanoCPUs: 2e9, MemoryBytes: 8 << 30},
			Engine:    swarm.EngineDescription{EngineVersion: "0.1.0"},
		}},
		engine.ContainersFound{},
	}
	for {
		for len(l.next) > 0 {
			e := l.next[0]
			l.next = l.next[1:]
			step := l.node.Step(time.Now(), e)
			for _, f := range step.Effects {
				l.perform(f)
			}
			wake.Stop()
			if !step.Wake.IsZero() {
				wake.Reset(max(0, time.Until(step.Wake)))
			}
		}
		select {
		case e := <-s.events:
			l.next = append(l.next, e)
		case <-wake.C:
			l.next = append(l.next, engine.Woken{})
		case <-s.stop:
			return
		}
	}
}

func (l *loop) answer(e engine.Event) { l.next = append(l.next, e) }

func (l *loop) perform(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.Reply:
		l.mu.Lock()
		l.pending[f.Request] <- f.Answer
		delete(l.pending, f.Request)
		l.mu.Unlock()
	case engine.Publish:
		l.mu.Lock()
		for w := range l.watchers {
			w <- f.Events
		}
		l.mu.Unlock()
	case engine.CreateAuthority:
		l.answer(engine.AuthorityCreated{Cluster: f.Cluster, Cert: []byte(rootPEM), Digest: strings.Repeat("d", 50)})
	case engine.Bootstrap:
		l.answer(engine.Elected{Term: 1})
	case engine.Leave:
		l.index = 0
		l.answer(engine.Left{})
	case engine.Propose:
		l.index++
		l.answer(engine.Committed{Index: l.index, Entry: f.Entry})
	case engine.Verify:
		l.answer(engine.Verified{ID: f.ID})
	case engine.ApplyNetwork:
		l.answer(engine.NetworkApplied{Generation: f.Plan.Generation})
	default:
		l.contain(effect)
	}
}

// contain does what is asked of the container runtime.
func (l *loop) contain(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.PullImage:
		var err error
		if strings.Contains(f.Image, "missing") {
			err = errors.New("No such image: " + f.Image)
		}
		l.answer(engine.ImagePulled{Task: f.Task, Err: err})
	case engine.CreateContainer:
		l.mu.Lock()
		l.containers[f.Container.Task] = &Container{Container: f.Container, Created: time.Now()}
		l.mu.Unlock()
		l.answer(engine.ContainerCreated{Task: f.Container.Task})
	case engine.StartContainer:
		l.ran(f.Task, true, 0)
		l.answer(engine.ContainerStarted{Task: f.Task, PID: 4711})
	case engine.ProbeContainer:
		l.answer(engine.ContainerProbed{Task: f.Task, Healthy: true})
	case engine.StopContainer:
		l.ran(f.Task, false, 143)
		l.answer(engine.ContainerExited{Task: f.Task, Code: 143})
	case engine.RemoveContainer:
		l.mu.Lock()
		delete(l.containers, f.Task)
		l.mu.Unlock()
		l.answer(engine.ContainerRemoved{Task: f.Task})
	default:
	}
}
