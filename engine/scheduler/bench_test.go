package scheduler_test

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/scheduler"
	"github.com/swarmd/swarmd/engine/state"
)

// A shape is a swarm and what it is to place.
type shape struct {
	name                   string
	nodes, services, tasks int
	args                   map[string][]string
	interleaved            bool // tasks of the services take turns
	blocked                int  // services that wait for a node for ever
}

// BenchmarkPlace measures whole passes: tasks are made in the draft, placed, and
// the draft encoded; the time to commit is left out.
func BenchmarkPlace(b *testing.B) {
	for _, s := range []shape{
		{name: "nodes=1000/tasks=100000", nodes: 1000, services: 10, tasks: 100_000},
		{name: "nodes=5000/tasks=150000", nodes: 5000, services: 10, tasks: 150_000},
		{name: "nodes=100000/tasks=1000", nodes: 100_000, services: 1, tasks: 1000},
		{name: "nodes=100000/tasks=1000/services=1000", nodes: 100_000, services: 1000, tasks: 1000},
		{name: "nodes=5000/tasks=100000/constraint", nodes: 5000, services: 10, tasks: 100_000, args: map[string][]string{"constraints": {"node.labels.disk==ssd"}}},
		{name: "nodes=100000/tasks=1000/services=1000/constraint", nodes: 100_000, services: 1000, tasks: 1000, args: map[string][]string{"constraints": {"node.labels.disk==ssd"}}},
		{name: "nodes=5000/tasks=100000/rare-constraint", nodes: 5000, services: 10, tasks: 100_000, args: map[string][]string{"constraints": {"node.labels.rack==7"}}},
		{name: "nodes=5000/tasks=100000/spread", nodes: 5000, services: 10, tasks: 100_000, args: map[string][]string{"spread": {"node.labels.rack"}}},
		{name: "nodes=5000/tasks=100000/reserved", nodes: 5000, services: 10, tasks: 100_000, args: map[string][]string{"cpus": {"1"}, "memory": {"1"}}},
		{name: "nodes=5000/tasks=100000/services=1000/interleaved", nodes: 5000, services: 1000, tasks: 100_000, interleaved: true},
		{name: "nodes=5000/tasks=100000/blocked=100", nodes: 5000, services: 10, tasks: 100_000, blocked: 100},
	} {
		b.Run(s.name, s.bench)
	}
}

func (s shape) bench(b *testing.B) {
	runtime.LockOSThread() // whose time is measured: other work on the machine does not count
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	placed, busy := 0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		w, services := s.build()
		runtime.GC()
		b.StartTimer()
		n, took := s.run(b, w, services)
		placed, busy = placed+n, busy+took
	}
	b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placements/s")
	b.ReportMetric(float64(placed)/busy.Seconds(), "placements/cpu-s")
}

// threadTime is how long the calling thread has been at work.
func threadTime(b *testing.B) time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// build makes the nodes and the services of the shape, and no tasks.
func (s shape) build() (*world, []*state.Service) {
	w := &world{store: state.NewStore(), now: time.Unix(1000, 0), wall: 1795000000000000000, made: map[string]int{}}
	mint := entropy.New(entropy.Seed{1})
	d := w.store.Draft()
	ids := make([]string, s.nodes)
	for i := range ids {
		ids[i] = mint.ID()
	}
	slices.Sort(ids) // the store is filled faster so
	for i, id := range ids {
		words := map[string][]string{"cpus": {"1000"}, "memory": {"1000"}, "labels": {fmt.Sprintf("rack=%d", i%40), "disk=" + []string{"ssd", "hdd"}[i%2]}}
		d.PutNode(nodeOf(id, args{by: words}))
	}
	var services []*state.Service
	for i := range s.services + s.blocked {
		v := &state.Service{ID: state.ServiceID(mint.ID()), Template: 1}
		v.Spec.Name = fmt.Sprintf("s%d", i)
		d.PutService(v)
		a := args{by: s.args}
		if i >= s.services {
			a = args{by: map[string][]string{"cpus": {"5000"}}}
		}
		t := templateOf(v.ID, 1, a)
		t.Spec.ContainerSpec = &swarm.ContainerSpec{Image: "nginx:latest"}
		d.PutTemplate(t)
		services = append(services, v)
		if i >= s.services {
			w.add(d, v, 1)
		}
	}
	w.store.Apply(1, d.Changes())
	w.lead()
	if s.blocked > 0 {
		w.place(nil)
	}
	return w, services[:s.services]
}

// run makes and places all tasks, draft by draft. It returns how many that were and
// the time that the thread was at work.
func (s shape) run(b *testing.B, w *world, services []*state.Service) (int, time.Duration) {
	busy := time.Duration(0)
	mint := entropy.New(entropy.Seed{2})
	placed, made := 0, 0
	for made < s.tasks || w.sched.Pending() {
		start := threadTime(b)
		d := w.store.Draft()
		for made < s.tasks && !d.Full() {
			v := services[made*len(services)/s.tasks]
			if s.interleaved {
				v = services[made%len(services)]
			}
			made++
			d.PutTask(&state.Task{
				ID: state.TaskID(mint.ID()), Meta: state.Meta{Created: w.wall, Updated: w.wall},
				Service: v.ID, Slot: uint64(made), Template: 1, Desired: state.TaskRunning,
				Status: state.TaskStatus{State: state.TaskNew, At: w.wall, Message: "created"},
			})
		}
		delta := d.Take()
		w.sched.Observe(&delta)
		w.sched.Place(d, w.now, w.wall)
		for _, t := range d.Take().Tasks {
			if t.After.Node != "" {
				placed++
			}
		}
		changes := d.Changes()
		busy += threadTime(b) - start
		b.StopTimer()
		w.store.Apply(w.store.Index()+1, changes)
		b.StartTimer()
	}
	if placed != s.tasks {
		b.Fatalf("%d tasks are placed of %d", placed, s.tasks)
	}
	return placed, busy
}

// BenchmarkReplace measures one task that ended and its successor, in a swarm that
// is full of one wide service.
func BenchmarkReplace(b *testing.B) {
	s := shape{nodes: 5000, services: 1, tasks: 20_000}
	w, services := s.build()
	s.run(b, w, services)
	var running []state.TaskID
	for t := range w.store.Draft().Tasks() {
		running = append(running, t.ID)
	}
	i := 0
	for b.Loop() {
		d := w.store.Draft()
		id := running[i%len(running)]
		i++
		w.put(d, id, func(t *state.Task) {
			if t.Status.State < state.TaskFailed {
				t.Status = state.TaskStatus{State: state.TaskFailed, At: w.wall}
			}
		})
		w.add(d, services[0], 1)
		delta := d.Take()
		w.sched.Observe(&delta)
		w.sched.Place(d, w.now, w.wall)
		d.Changes()
	}
}

// BenchmarkNew measures what a new leader of 5000 nodes and 150000 tasks spends.
func BenchmarkNew(b *testing.B) {
	s := shape{nodes: 5000, services: 10, tasks: 150_000}
	w, services := s.build()
	s.run(b, w, services)
	for b.Loop() {
		scheduler.New(w.store.Draft(), w.now)
	}
}
