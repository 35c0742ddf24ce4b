package agent

import (
	"container/heap"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// deadlines are the times at which tasks are to be looked at. An entry that is
// not its task's present deadline is stale and passed over.
type deadlines struct{ entries deadlineHeap }

type deadline struct {
	at   time.Time
	task state.TaskID
}

// add notes a task's deadline; zero is none.
func (d *deadlines) add(t *task, at time.Time) {
	if at.Equal(t.due) {
		return
	}
	t.due = at
	if !at.IsZero() {
		heap.Push(&d.entries, deadline{at, t.id})
	}
}

// next returns the earliest deadline, zero when there is none.
func (d *deadlines) next(tasks map[state.TaskID]*task) time.Time {
	for len(d.entries) > 0 {
		e := d.entries[0]
		if t := tasks[e.task]; t != nil && t.due.Equal(e.at) {
			return e.at
		}
		heap.Pop(&d.entries)
	}
	return time.Time{}
}

// expire takes out the deadlines that have come and passes on their tasks.
func (d *deadlines) expire(tasks map[state.TaskID]*task, now time.Time, mark func(*task)) {
	for len(d.entries) > 0 && !now.Before(d.entries[0].at) {
		e := heap.Pop(&d.entries).(deadline)
		if t := tasks[e.task]; t != nil && t.due.Equal(e.at) {
			t.due = time.Time{}
			mark(t)
		}
	}
}

type deadlineHeap []deadline

func (h deadlineHeap) Len() int { return len(h) }
func (h deadlineHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].task < h[j].task
}
func (h deadlineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deadlineHeap) Push(x any)   { *h = append(*h, x.(deadline)) }
func (h *deadlineHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
