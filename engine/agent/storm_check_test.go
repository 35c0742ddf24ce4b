package agent_test

import (
	"maps"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// drain takes what the agent wants and checks that it may want it.
func (s *storm) drain(t *rapid.T) agent.Output {
	s.agent.Tick(s.now)
	out := s.agent.Drain(state.Wall(s.now.UnixNano()))
	for _, o := range out.Orders {
		s.ordered(t, o)
	}
	if out.NetworkChanged {
		s.plans, s.newest = append(s.plans, out.Generation), out.Endpoints
		s.planned(t, out.Endpoints)
	}
	for _, r := range out.Statuses {
		s.reported(t, r)
	}
	return out
}

func (s *storm) ordered(t *rapid.T, o agent.Order) {
	id, probe := taskOf(o)
	for _, other := range s.orders {
		if _, stop := other.(agent.Stop); stop && (s.boxes[id] == nil || !s.boxes[id].running) {
			continue // its end was told before the stop got to it; it will be told again
		}
		if who, p := taskOf(other); who == id && probe == p {
			t.Fatalf("%T for %s while %T is out", o, id, other)
		}
	}
	switch o := o.(type) {
	case agent.Create:
		if !s.applied[id] {
			t.Fatalf("%s is created before its network is there", id)
		}
	case agent.Start:
		if s.ran[id] {
			t.Fatalf("%s is run twice", id)
		}
	case agent.Remove:
		if b := s.boxes[id]; b != nil && b.running {
			t.Fatalf("%s is removed while it runs", id)
		}
	case agent.Pull, agent.Probe, agent.Stop:
	default:
		t.Fatalf("unknown order %T", o)
	}
	s.orders = append(s.orders, o)
}

func taskOf(o agent.Order) (id state.TaskID, probe bool) {
	switch o := o.(type) {
	case agent.Pull:
		return o.Task, false
	case agent.Create:
		return o.Container.Task, false
	case agent.Start:
		return o.Task, false
	case agent.Stop:
		return o.Task, false
	case agent.Remove:
		return o.Task, false
	case agent.Probe:
		return o.Task, true
	default:
		return "", false
	}
}

// planned checks a plan: no address twice, and no running container without one.
func (s *storm) planned(t *rapid.T, endpoints []agent.Endpoint) {
	addresses := map[netip.Addr]state.TaskID{}
	for _, e := range endpoints {
		if other, ok := addresses[e.Address]; ok {
			t.Fatalf("%s and %s both have %s", other, e.Task, e.Address)
		}
		addresses[e.Address] = e.Task
	}
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		b := s.boxes[id]
		if b.running && b.settled && addresses[b.made.Address] != id {
			t.Fatalf("%s runs, and its address %s is taken from it", id, b.made.Address)
		}
	}
}

// reported checks a status and has the leader take it in, as the dispatcher does.
func (s *storm) reported(t *rapid.T, r wire.Status) {
	task := s.tasks[r.Task]
	if task == nil {
		return
	}
	if r.Status.At == 0 {
		t.Fatalf("%s %s was reported without its time", r.Task, r.Status.State)
	}
	if owner, ok := state.Transition(task.Status.State, r.Status.State); !ok || owner != state.OwnerAgent {
		if r.Status.State < task.Status.State {
			t.Fatalf("%s goes back from %s to %s", r.Task, task.Status.State, r.Status.State)
		}
		return
	}
	put := *task
	put.Status = r.Status
	s.tasks[r.Task] = &put
	if put.Status.State.Terminal() {
		s.put(r.Task)
	}
}

// quieten ends all faults, lets everything that is out be answered, and looks at
// what is there.
func (s *storm) quieten(t *rapid.T) {
	s.calm = true
	// The runtime tells of itself what has become of what it does not run any more.
	s.agent.Found(s.list(), s.now)
	s.session()
	for range 1000 {
		out := s.drain(t)
		switch {
		case len(s.plans) > 0:
			s.networked(t, s.plans[len(s.plans)-1])
		case len(s.orders) > 0:
			o := s.orders[0]
			s.orders = s.orders[1:]
			s.perform(o, true)
			s.reply(t, o, nil)()
		case len(out.Statuses) > 0:
		case out.Wake.IsZero() || s.settled():
			s.inspect(t)
			return
		default:
			s.now = out.Wake
		}
	}
	t.Fatal("the agent does not come to rest")
}

// settled reports whether what is still due is only health checks.
func (s *storm) settled() bool {
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		b, task := s.boxes[id], s.tasks[id]
		switch {
		case task == nil:
			return false
		case b.running && (task.Status.State.Terminal() || task.Desired > state.TaskComplete):
			return false
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		task := s.tasks[id]
		if !task.Status.State.Terminal() && task.Status.State < min(task.Desired, state.TaskRunning) {
			return false
		}
	}
	return true
}

func (s *storm) inspect(t *rapid.T) {
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		if s.tasks[id] == nil {
			t.Errorf("the container of %s is left", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.tasks)) {
		task, b := s.tasks[id], s.boxes[id]
		runs := b != nil && b.running
		switch ended := task.Status.State.Terminal(); {
		case runs && ended:
			t.Errorf("%s is %s and runs", id, task.Status.State)
		case ended:
		case task.Desired > state.TaskComplete:
			t.Errorf("%s should have ended, it is %s", id, task.Status.State)
		case task.Desired == state.TaskReady && (b == nil || task.Status.State != state.TaskReady):
			t.Errorf("%s should be ready, it is %s", id, task.Status.State)
		case task.Desired == state.TaskRunning && (!runs || task.Status.State != state.TaskRunning):
			t.Errorf("%s should run, it is %s", id, task.Status.State)
		}
	}
}
