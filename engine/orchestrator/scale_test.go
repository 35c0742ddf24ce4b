package orchestrator_test

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

func replicated(n uint64) swarm.ServiceSpec {
	delay := time.Duration(0)
	spec := swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}}
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Delay: &delay}
	return spec
}

// large returns a world with one service of so many tasks, all running, on one node.
func large(t testing.TB, n uint64) *world {
	w := newWorld(t.Fatalf)
	w.change(func(d *state.Draft) {
		node := &state.Node{ID: "n1", State: state.NodeReady}
		node.Spec.Availability = swarm.NodeAvailabilityActive
		d.PutNode(node)
	})
	w.revise("web", replicated(n), false)
	w.decide(t)
	w.everyTask(place)
	w.everyTask(func(task *state.Task) { task.Status.State = state.TaskRunning })
	w.decide(t)
	return w
}

func place(task *state.Task) {
	if task.Status.State < state.TaskAssigned {
		task.Node, task.Status.State = "n1", state.TaskAssigned
	}
}

// decide is pass without the scheduler, whose naive twin here scans everything.
// It returns how many drafts it took.
func (w *world) decide(t testing.TB) int {
	for drafts := 0; ; drafts++ {
		d := w.store.Draft()
		w.o.Reconcile(d, w.mint, w.now, w.wall)
		if !d.Dirty() {
			return drafts
		}
		changes := d.Changes()
		if len(changes) > state.ChangesMax+8 {
			t.Fatalf("a draft of %d changes", len(changes))
		}
		delta := w.store.Apply(w.store.Index()+1, changes)
		w.o.Observe(&delta)
	}
}

// everyTask changes every task, in entries of a bounded size.
func (w *world) everyTask(change func(*state.Task)) {
	var all []*state.Task
	for task := range w.store.Draft().Tasks() {
		all = append(all, task)
	}
	for len(all) > 0 {
		some := all[:min(4096, len(all))]
		all = all[len(some):]
		w.change(func(d *state.Draft) {
			for _, task := range some {
				c := *task
				change(&c)
				d.PutTask(&c)
			}
		})
	}
}

// Far more tasks than fit into one draft are made, scaled down and removed, over
// as many drafts as it takes and no more.
func TestMoreThanADraftHolds(t *testing.T) {
	const n = 3*state.ChangesMax + 100
	w := large(t, n)
	if got := w.store.Draft().TaskCount("web"); got != n {
		t.Fatalf("%d tasks, want %d", got, n)
	}
	w.revise("web", replicated(10), false)
	if drafts := w.decide(t); drafts < 3 || drafts > 5 {
		t.Errorf("scaling down took %d drafts", drafts)
	}
	w.everyTask(func(task *state.Task) {
		if task.Desired == state.TaskRemove {
			task.Status.State = state.TaskShutdown
		}
	})
	w.decide(t)
	if got := w.store.Draft().TaskCount("web"); got != 10 {
		t.Errorf("%d tasks, want 10", got)
	}
	w.revise("web", replicated(n), false)
	w.decide(t)
	w.everyTask(place)
	w.change(func(d *state.Draft) { d.DeleteService("web") })
	w.elect() // who knows nothing of how far it has come
	w.decide(t)
	w.everyTask(func(task *state.Task) { task.Status.State = state.TaskShutdown })
	w.decide(t)
	if got := w.store.Draft(); got.TaskCount("web") != 0 || len(got.ServicesWithTemplates()) != 0 {
		t.Errorf("%d tasks and the templates of %v are left", got.TaskCount("web"), got.ServicesWithTemplates())
	}
}

// failOne has one task of a large service fail, and lets its successor run.
func (w *world) failOne(slot uint64) {
	list := w.store.Draft().Slot("web", state.SlotKey{Number: slot})
	w.change(func(d *state.Draft) {
		placed := *list[len(list)-1]
		place(&placed)
		d.PutTask(&placed)
		failed := placed
		failed.Status.State = state.TaskFailed
		d.PutTask(&failed)
	})
	d := w.store.Draft()
	w.o.Reconcile(d, w.mint, w.now, w.wall)
	delta := w.store.Apply(w.store.Index()+1, d.Changes())
	w.o.Observe(&delta)
}

// A task of a large service fails. What that costs does not grow with the service.
func TestOneFailureCostsTheSameInALargeService(t *testing.T) {
	cost := func(n uint64) float64 {
		w, slot := large(t, n), uint64(0)
		return testing.AllocsPerRun(50, func() {
			slot++
			w.failOne(slot)
		})
	}
	small, big := cost(100), cost(20_000)
	if big > small+5 {
		t.Errorf("%.0f allocations among 100 tasks, %.0f among 20000", small, big)
	}
}

// BenchmarkFailure is one failed task among a hundred thousand, noticed and
// replaced, the commits included.
func BenchmarkFailure(b *testing.B) {
	w, slot := large(b, 100_000), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		slot = slot%100_000 + 1
		w.failOne(slot)
	}
}

// BenchmarkScale makes a hundred thousand tasks: decided, encoded, applied.
func BenchmarkScale(b *testing.B) {
	for b.Loop() {
		w := newWorld(b.Fatalf)
		w.revise("web", replicated(100_000), false)
		w.decide(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/task")
}
