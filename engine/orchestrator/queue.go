package orchestrator

import (
	"container/heap"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// A queue holds each value at most once, in the order in which they came.
type queue[T comparable] struct {
	values []T
	in     map[T]bool
}

func (q *queue[T]) len() int { return len(q.in) }

func (q *queue[T]) push(v T) {
	if q.in[v] {
		return
	}
	if q.in == nil {
		q.in = map[T]bool{}
	}
	q.in[v] = true
	q.values = append(q.values, v)
}

// pop takes the first value; the queue must not be empty.
func (q *queue[T]) pop() T {
	for !q.in[q.values[0]] { // removed
		q.values = q.values[1:]
	}
	v := q.values[0]
	q.values = q.values[1:]
	q.remove(v)
	return v
}

// remove takes a value out, wherever it is; its place is left for pop to skip.
func (q *queue[T]) remove(v T) {
	delete(q.in, v)
	if len(q.in) == 0 {
		q.values = nil
	}
}

// all returns the values in order.
func (q *queue[T]) all() []T {
	kept := make([]T, 0, len(q.in))
	seen := map[T]bool{}
	for _, v := range q.values {
		if q.in[v] && !seen[v] {
			seen[v] = true
			kept = append(kept, v)
		}
	}
	q.values = kept
	return kept
}

// A cause is what a deadline is about: a node that has been down for long, an
// update that goes on, or a slot.
type cause struct {
	node state.NodeID
	roll bool
	slot slotRef
}

// An agenda says what is to be looked at when. Of one cause it keeps the
// earliest time: who looks and finds nothing due says again when to come back.
type agenda struct {
	times timeHeap
	at    map[cause]time.Time
}

type appointment struct {
	at    time.Time
	cause cause
}

// add has cause looked at, at the latest at the time given.
func (a *agenda) add(at time.Time, c cause) {
	if old, ok := a.at[c]; ok && !at.Before(old) {
		return
	}
	if a.at == nil {
		a.at = map[cause]time.Time{}
	}
	a.at[c] = at
	heap.Push(&a.times, appointment{at, c})
}

// expire takes out what is due.
func (a *agenda) expire(now time.Time) []cause {
	var due []cause
	for len(a.times) > 0 && !a.times[0].at.After(now) {
		first := heap.Pop(&a.times).(appointment)
		if at, ok := a.at[first.cause]; ok && at.Equal(first.at) {
			delete(a.at, first.cause)
			due = append(due, first.cause)
		}
	}
	return due
}

// next is when something is due, zero when nothing will be.
func (a *agenda) next() time.Time {
	if len(a.times) == 0 {
		return time.Time{}
	}
	return a.times[0].at
}

type timeHeap []appointment

func (h timeHeap) Len() int           { return len(h) }
func (h timeHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timeHeap) Push(x any)        { *h = append(*h, x.(appointment)) }
func (h *timeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
