package agent_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestStorm lets a leader change its mind while the node fails in every way that
// the contract allows: answers in any order, late, told twice; orders that fail
// before or after they took effect; containers that die; the agent's own death.
// When all is quiet the node has exactly the containers that it should.
func TestStorm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStorm(t)
		t.Repeat(map[string]func(*rapid.T){
			"assign":  s.assign,
			"forget":  s.forget,
			"change":  s.change,
			"answer":  s.answer,
			"answers": func(t *rapid.T) { s.answer(t); s.answer(t); s.answer(t) },
			"twice":   s.twice,
			"die":     s.die,
			"restart": s.restart,
			"refound": func(*rapid.T) { s.agent.Found(s.list(), s.now) },
			"session": func(*rapid.T) { s.session() },
			"tick": func(t *rapid.T) {
				s.now = s.now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) { s.drain(t) },
		})
		s.quieten(t)
	})
}

// A storm is a node with a runtime and a network that fail, and its leader.
type storm struct {
	agent    *agent.Agent
	now      time.Time
	template *state.Template
	minted   int

	tasks map[state.TaskID]*state.Task // as the leader has them
	delta wire.Assign

	boxes    map[state.TaskID]*crate
	ran      map[state.TaskID]bool // ever, by anybody
	orders   []agent.Order
	plans    []uint64 // generations not yet answered
	newest   []agent.Endpoint
	applied  map[state.TaskID]bool // endpoints that are made
	answered []func()
	calm     bool
}

// A crate is a container as the runtime has it.
type crate struct {
	made                      agent.Container
	started, running, settled bool
	code                      int
}

func newStorm(t *rapid.T) *storm {
	spec := &swarm.ContainerSpec{Image: "nginx"}
	if rapid.Bool().Draw(t, "health") {
		spec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: time.Second, Retries: 2}
	}
	s := &storm{
		now: time.Unix(1000, 0),
		template: &state.Template{
			Service: "s", Version: 1, ServiceName: "website", Spec: swarm.TaskSpec{ContainerSpec: spec},
			Ports: []swarm.PortConfig{{PublishedPort: 80, TargetPort: 80, PublishMode: swarm.PortConfigPublishModeIngress}},
		},
		tasks: map[state.TaskID]*state.Task{},
		boxes: map[state.TaskID]*crate{},
		ran:   map[state.TaskID]bool{},
	}
	s.restart(t)
	return s
}

func (s *storm) restart(t *rapid.T) {
	s.agent = agent.New(agent.Config{Self: "n", Gateway: netip.MustParsePrefix("10.0.0.1/24")})
	// What the dead process had been asked for may have been done.
	for _, o := range s.orders {
		if rapid.Bool().Draw(t, "done before the death") {
			s.perform(o, false)
		}
	}
	s.orders, s.plans, s.answered, s.applied = nil, nil, nil, map[state.TaskID]bool{}
	if rapid.Bool().Draw(t, "found first") {
		s.agent.Found(s.list(), s.now)
		s.session()
	} else {
		s.session()
		s.agent.Found(s.list(), s.now)
	}
}

// list is what is on the node.
func (s *storm) list() []agent.Found {
	var list []agent.Found
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		b := s.boxes[id]
		list = append(list, agent.Found{
			Task: id, ID: b.made.ID, Labels: b.made.Labels, Address: b.made.Address,
			Running: b.running, Started: b.started, ExitCode: b.code, PID: 1,
		})
	}
	return list
}

// session begins a session with the leader: it tells all, the agent reports all.
func (s *storm) session() {
	m := wire.Assign{Full: true}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		s.tell(&m, id)
	}
	s.delta = wire.Assign{}
	s.agent.Reconnect(s.now)
	s.agent.Assign(m, s.now)
}

func (s *storm) tell(m *wire.Assign, id state.TaskID) {
	switch t := s.tasks[id]; {
	case t == nil:
		m.Gone = append(m.Gone, id)
	case t.Status.State.Terminal():
		m.Keep = append(m.Keep, id)
	default:
		m.Tasks = append(m.Tasks, wire.Assignment{Task: t, Template: s.template})
	}
}

func (s *storm) assign(*rapid.T) {
	s.minted++
	id := state.TaskID(fmt.Sprintf("t%02d", s.minted))
	s.tasks[id] = &state.Task{
		ID: id, Service: "s", Slot: 1, Node: "n", Desired: state.TaskReady,
		Status: state.TaskStatus{State: state.TaskAssigned},
	}
	s.put(id)
}

func (s *storm) put(id state.TaskID) {
	var m wire.Assign
	s.tell(&m, id)
	s.agent.Assign(m, s.now)
}

func (s *storm) pick(t *rapid.T) state.TaskID {
	if len(s.tasks) == 0 {
		t.Skip("there is no task")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(s.tasks))).Draw(t, "task")
}

// change moves what is desired of a task forward.
func (s *storm) change(t *rapid.T) {
	id := s.pick(t)
	put := *s.tasks[id]
	put.Desired = rapid.SampledFrom([]state.TaskState{state.TaskRunning, state.TaskRunning, state.TaskShutdown, state.TaskRemove}).Draw(t, "desired")
	if put.Desired <= s.tasks[id].Desired {
		return
	}
	s.tasks[id] = &put
	s.put(id)
}

func (s *storm) forget(t *rapid.T) {
	id := s.pick(t)
	delete(s.tasks, id)
	s.put(id)
}

func (s *storm) die(t *rapid.T) {
	id := s.pick(t)
	if b := s.boxes[id]; b != nil && b.running && b.settled {
		b.running, b.code = false, 1
		s.tellAgain(func() { s.agent.Exited(id, 1, false, nil, s.now) })
	}
}

// answer carries out one of the orders, in any order.
func (s *storm) answer(t *rapid.T) {
	if n := len(s.plans); n > 0 && rapid.Bool().Draw(t, "network") {
		s.networked(t, s.plans[n-1])
		return
	}
	if len(s.orders) == 0 {
		t.Skip("nothing was ordered")
	}
	i := rapid.IntRange(0, len(s.orders)-1).Draw(t, "order")
	o := s.orders[i]
	s.orders = slices.Delete(s.orders, i, i+1)
	var err error
	if !s.calm && rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
		err = errors.New("it did not work")
	}
	if err == nil || rapid.Bool().Draw(t, "takes effect all the same") {
		s.perform(o, true)
	}
	s.tellAgain(s.reply(t, o, err))
}

func (s *storm) networked(t *rapid.T, generation uint64) {
	s.plans = nil
	var err error
	failed := map[state.TaskID]string{}
	if !s.calm {
		switch rapid.IntRange(0, 5).Draw(t, "network fails") {
		case 0:
			err = errors.New("netlink: no buffer space")
		case 1:
			for _, e := range s.newest {
				if rapid.Bool().Draw(t, "endpoint fails") {
					failed[e.Task] = "no such device"
				}
			}
		}
	}
	if err == nil {
		s.applied = map[state.TaskID]bool{}
		for _, e := range s.newest {
			if failed[e.Task] == "" {
				s.applied[e.Task] = true
			}
		}
	}
	s.tellAgain(func() { s.agent.Networked(generation, failed, err, s.now) })
}

// tellAgain tells something, and remembers it to be told twice.
func (s *storm) tellAgain(tell func()) {
	tell()
	s.answered = append(s.answered, tell)
}

func (s *storm) twice(t *rapid.T) {
	if len(s.answered) == 0 {
		t.Skip("nothing was answered")
	}
	// Only exits are told twice; the agent bears more: any answer that it does not
	// wait for. To one that it waits for again, an old one would be a lie.
	i := rapid.IntRange(0, len(s.answered)-1).Draw(t, "which")
	if len(s.orders) == 0 {
		s.answered[i]()
	}
}

// perform does what was ordered.
func (s *storm) perform(o agent.Order, settled bool) {
	switch o := o.(type) {
	case agent.Create:
		if s.boxes[o.Container.Task] == nil {
			s.boxes[o.Container.Task] = &crate{made: o.Container}
		}
	case agent.Start:
		if b := s.boxes[o.Task]; b != nil && !b.started {
			b.started, b.running, b.settled = true, true, settled
			s.ran[o.Task] = true
		}
	case agent.Stop:
		if b := s.boxes[o.Task]; b != nil && b.running {
			b.running, b.code = false, 143
		}
	case agent.Remove:
		delete(s.boxes, o.Task)
	case agent.Pull, agent.Probe:
	}
}

// reply is the answer to an order.
func (s *storm) reply(t *rapid.T, o agent.Order, err error) func() {
	switch o := o.(type) {
	case agent.Pull:
		return func() { s.agent.Pulled(o.Task, err, s.now) }
	case agent.Create:
		return func() { s.agent.Created(o.Container.Task, nil, err, s.now) }
	case agent.Start:
		if b := s.boxes[o.Task]; err == nil && (b == nil || !b.started) {
			err = errors.New("there is no container")
		}
		return func() { s.agent.Started(o.Task, 1, err, s.now) }
	case agent.Probe:
		healthy := s.calm || rapid.Bool().Draw(t, "healthy")
		return func() { s.agent.Probed(o.Task, healthy, "", s.now) }
	case agent.Stop:
		return func() { s.agent.Exited(o.Task, 143, false, err, s.now) }
	case agent.Remove:
		return func() { s.agent.Removed(o.Task, err, s.now) }
	default:
		t.Fatalf("unknown order %T", o)
		return nil
	}
}
