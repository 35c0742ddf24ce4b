package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/scheduler"
	"github.com/swarmd/swarmd/engine/state"
)

// A world is a store, a scheduler that watches it, and the time.
type world struct {
	store *state.Store
	sched *scheduler.Scheduler
	now   time.Time
	wall  state.Wall
	made  map[string]int // tasks by service
}

func newWorld() *world {
	w := &world{
		store: state.NewStore(), now: time.Unix(1000, 0), wall: 1795000000000000000,
		made: map[string]int{},
	}
	w.lead()
	return w
}

// lead begins anew with what is in the store, as a new leader does.
func (w *world) lead() { w.sched = scheduler.New(w.store.Draft(), w.now) }

func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.wall = w.wall.Add(d)
}

// change commits what f drafts; the scheduler sees it as drafted.
func (w *world) change(f func(d *state.Draft)) {
	d := w.store.Draft()
	f(d)
	delta := d.Take()
	w.sched.Observe(&delta)
	w.store.Apply(w.store.Index()+1, d.Changes())
}

// place makes one pass, after f has drafted something, and returns what it wrote.
func (w *world) place(f func(d *state.Draft)) []state.Diff[state.Task] {
	d := w.store.Draft()
	if f != nil {
		f(d)
	}
	delta := d.Take()
	w.sched.Observe(&delta)
	w.sched.Place(d, w.now, w.wall)
	written := d.Take()
	if d.Dirty() {
		committed := w.store.Apply(w.store.Index()+1, d.Changes())
		w.sched.Observe(&committed) // an echo must not be counted again
	}
	return written.Tasks
}

// add makes so many tasks of a service, newest last.
func (w *world) add(d *state.Draft, s *state.Service, count int, nodes ...state.NodeID) {
	for i := range max(count, len(nodes)) {
		w.made[string(s.ID)]++
		n := w.made[string(s.ID)]
		id := state.TaskID(fmt.Sprintf("%s.%d", s.ID, n))
		t := &state.Task{
			ID: id, Meta: state.Meta{Created: w.wall + state.Wall(i), Updated: w.wall},
			Service: s.ID, Slot: uint64(n), Template: s.Template, Desired: state.TaskRunning,
			Status: state.TaskStatus{State: state.TaskNew, At: w.wall, Message: "created"},
		}
		if len(nodes) > 0 {
			t.Slot, t.Global, t.Node = 0, true, nodes[i]
		}
		d.PutTask(t)
	}
}

// put writes a changed copy of a task.
func (w *world) put(d *state.Draft, id state.TaskID, change func(t *state.Task)) {
	c := *d.Task(id)
	c.Updated = w.wall
	change(&c)
	d.PutTask(&c)
}

func pendingTasks(d *state.Draft) []*state.Task {
	var all []*state.Task
	for t := range d.Tasks() {
		if t.Status.State < state.TaskAssigned && t.Desired < state.TaskShutdown {
			all = append(all, t)
		}
	}
	return all
}

// generics parses gpu=2 (so many) or gpu=a+b (these).
func generics(words []string) []swarm.GenericResource {
	var all []swarm.GenericResource
	for _, word := range words {
		kind, value, _ := strings.Cut(word, "=")
		count := int64(0)
		if _, err := fmt.Sscanf(value, "%d", &count); err == nil {
			all = append(all, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: count}})
			continue
		}
		for name := range strings.SplitSeq(value, "+") {
			all = append(all, swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: kind, Value: name}})
		}
	}
	return all
}

func showGenerics(all []swarm.GenericResource) string {
	var words []string
	for _, r := range all {
		if r.NamedResourceSpec != nil {
			words = append(words, r.NamedResourceSpec.Kind+"="+r.NamedResourceSpec.Value)
		} else {
			words = append(words, fmt.Sprintf("%s=%d", r.DiscreteResourceSpec.Kind, r.DiscreteResourceSpec.Value))
		}
	}
	return strings.Join(words, " ")
}

func labels(words []string) map[string]string {
	all := map[string]string{}
	for _, word := range words {
		k, v, _ := strings.Cut(word, "=")
		all[k] = v
	}
	return all
}

func stateNamed(name string) state.TaskState {
	all := []state.TaskState{
		state.TaskNew, state.TaskPending, state.TaskAssigned, state.TaskAccepted, state.TaskPreparing, state.TaskReady, state.TaskStarting,
		state.TaskRunning, state.TaskComplete, state.TaskShutdown, state.TaskFailed, state.TaskRejected, state.TaskRemove, state.TaskOrphaned,
	}
	i := slices.IndexFunc(all, func(s state.TaskState) bool { return s.String() == name })
	return all[i]
}
