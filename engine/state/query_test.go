package state_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/state"
)

// Tasks come and go at random, some drafted and some applied. What a draft says
// of slots and nodes is what a plain list of the tasks says; and so it is after
// a snapshot.
func TestQueriesAgreeWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, index := state.NewStore(), uint64(0)
		d, all := store.Draft(), map[state.TaskID]*state.Task{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := state.TaskID(fmt.Sprintf("t%02d", i)) // no identifier is minted twice
			if ids := slices.Sorted(maps.Keys(all)); len(ids) > 0 && rapid.Bool().Draw(t, "known") {
				id = rapid.SampledFrom(ids).Draw(t, "task")
			}
			old := all[id]
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				index++
				store.Apply(index, d.Changes())
				d = store.Draft()
			case 1:
				d.DeleteTask(id)
				delete(all, id)
			case 2:
				store = restored(t, store)
				d = store.Draft()
				all = map[state.TaskID]*state.Task{}
				for task := range d.Tasks() {
					all[task.ID] = task
				}
			default:
				task := &state.Task{ID: id, Service: "s", Meta: state.Meta{Created: state.Wall(rapid.IntRange(0, 3).Draw(t, "created"))}}
				if old != nil {
					c := *old
					task = &c
				} else if task.Global = rapid.Bool().Draw(t, "global"); task.Global {
					task.Node = rapid.SampledFrom([]state.NodeID{"n1", "n2"}).Draw(t, "node")
				} else {
					task.Slot = uint64(rapid.IntRange(0, 4).Draw(t, "slot"))
				}
				if task.Node == "" && rapid.Bool().Draw(t, "place") {
					task.Node = rapid.SampledFrom([]state.NodeID{"n1", "n2"}).Draw(t, "node")
				}
				d.PutTask(task)
				all[id] = task
			}
		}
		agree(t, d, all)
	})
}

func agree(t *rapid.T, d *state.Draft, all map[state.TaskID]*state.Task) {
	var list []*state.Task
	for _, task := range all {
		list = append(list, task)
	}
	slices.SortFunc(list, func(a, b *state.Task) int { return strings.Compare(line(a), line(b)) })
	var want, got []string
	onNode := map[state.NodeID][]string{}
	for _, task := range list {
		want = append(want, line(task))
		onNode[task.Node] = append(onNode[task.Node], string(task.ID))
	}
	from := state.SlotKey{Number: 2}
	var tail, gotTail []string
	for key, tasks := range d.Slots("s") {
		for _, task := range tasks {
			got = append(got, line(task))
			if key.Number >= 2 {
				tail = append(tail, line(task))
			}
		}
		if diff := cmp.Diff(tasks, d.Slot("s", key), compareObjects()); diff != "" {
			t.Fatalf("slot %v:\n%s", key, diff)
		}
	}
	for _, tasks := range d.SlotsFrom("s", from) {
		for _, task := range tasks {
			gotTail = append(gotTail, line(task))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("by slot:\n%s", diff)
	}
	if diff := cmp.Diff(tail, gotTail); diff != "" {
		t.Fatalf("from slot 2:\n%s", diff)
	}
	for _, node := range []state.NodeID{"n1", "n2"} {
		var on []string
		for task := range d.TasksOn(node) {
			on = append(on, string(task.ID))
		}
		slices.Sort(onNode[node])
		if diff := cmp.Diff(onNode[node], on); diff != "" {
			t.Fatalf("on %s:\n%s", node, diff)
		}
	}
	if d.TaskCount("s") != len(list) {
		t.Fatalf("%d tasks, want %d", d.TaskCount("s"), len(list))
	}
}

// line writes a task so that lines sort as the tasks should.
func line(t *state.Task) string {
	k := t.SlotKey()
	return fmt.Sprintf("%d %s %d %s on %s", k.Number, k.Node, t.Created, t.ID, t.Node)
}

// A removed service's last template is found by who looks for it.
func TestServicesWithTemplates(t *testing.T) {
	store := state.NewStore()
	d := store.Draft()
	d.PutTemplate(&state.Template{Service: "b", Version: 1})
	d.PutTemplate(&state.Template{Service: "a", Version: 2})
	store.Apply(1, d.Changes())
	d = store.Draft()
	d.DeleteTemplate("b", 1)
	d.PutTemplate(&state.Template{Service: "c", Version: 3})
	if diff := cmp.Diff([]state.ServiceID{"a", "c"}, d.ServicesWithTemplates()); diff != "" {
		t.Error(diff)
	}
}
