package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/swarmd/swarmd/engine/state"
)

// fill drafts a service with so many tasks that the draft is full.
func (w *world) fill(d *state.Draft) {
	w.service(d, args{names: []string{"web"}})
	for !d.Full() {
		w.add(d, d.Service("web"), 1)
	}
	delta := d.Take()
	w.sched.Observe(&delta)
}

// A draft that is full takes no further object, but the tasks that it holds already
// are placed with it: they are born assigned.
func TestPlaceInFullDraft(t *testing.T) {
	w := newWorld()
	w.change(func(d *state.Draft) { d.PutNode(nodeOf("n1", args{})) })
	d := w.store.Draft()
	w.fill(d)
	objects := len(d.Changes())
	w.sched.Place(d, w.now, w.wall)
	if written := d.Take().Tasks; len(written) != w.made["web"] {
		t.Fatalf("%d tasks are placed of %d", len(written), w.made["web"])
	}
	if len(d.Changes()) != objects {
		t.Fatalf("placing makes %d objects of %d", len(d.Changes()), objects)
	}
	if w.sched.Pending() {
		t.Fatal("more is to be done")
	}
}

// Tasks that are not in it wait for the next draft, and are not overtaken.
func TestFullDraftHasNoRoom(t *testing.T) {
	w := newWorld()
	w.change(func(d *state.Draft) {
		d.PutNode(nodeOf("n1", args{}))
		w.service(d, args{names: []string{"old"}, by: map[string][]string{"tasks": {"10"}}})
	})
	d := w.store.Draft()
	w.fill(d)
	w.sched.Place(d, w.now, w.wall)
	if written := d.Take().Tasks; len(written) > 0 {
		t.Fatalf("%s is written to a full draft", written[0].After.ID)
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
	placed := 0
	for w.sched.Pending() {
		placed += len(w.place(nil))
	}
	if want := 10 + w.made["web"]; placed != want {
		t.Fatalf("%d tasks are placed of %d", placed, want)
	}
}

// Blocked tasks are told why as far as there is room, and the others later.
func TestExplainInFullDraft(t *testing.T) {
	w := newWorld()
	w.change(func(d *state.Draft) {
		w.service(d, args{names: []string{"web"}, by: map[string][]string{"tasks": {"5000"}}})
	})
	told := 0
	for passes := 0; w.sched.Pending(); passes++ {
		if passes > 2 {
			t.Fatal("there is no end to it")
		}
		told += len(w.place(nil))
	}
	if told != 5000 {
		t.Fatalf("%d tasks are told of 5000", told)
	}
}

// A class that was not used for many moves finds the emptiest node all the same.
func TestOrderAfterManyMoves(t *testing.T) {
	w := newWorld()
	few := args{names: []string{"few"}, by: map[string][]string{"tasks": {"1"}, "constraints": {"node.labels.disk==ssd"}}}
	w.change(func(d *state.Draft) {
		for i := range 10 {
			d.PutNode(nodeOf(fmt.Sprintf("n%d", i), args{by: map[string][]string{"labels": {[]string{"disk=ssd", "disk=hdd"}[i%2]}}}))
		}
		w.service(d, few)
		w.service(d, args{names: []string{"many"}, by: map[string][]string{"tasks": {"9995"}}})
	})
	for w.sched.Pending() {
		w.place(nil)
	}
	w.change(func(d *state.Draft) { // n6 loses its tasks
		for task := range d.TasksOn("n6") {
			d.DeleteTask(task.ID)
		}
	})
	w.change(func(d *state.Draft) { w.add(d, d.Service("few"), 1) })
	if written := w.place(nil); len(written) != 1 || written[0].After.Node != "n6" {
		t.Fatalf("placed on %s, want n6", written[0].After.Node)
	}
}
