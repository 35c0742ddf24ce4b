package consensus

import "sync"

// A queue is unbounded, so that putting never blocks; what bounds it is that the
// engine has one proposal and one question out at a time.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

func (q *queue[T]) put(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits until there is something and takes all there is, or nothing once
// stop is closed. What was put while another take was about to look leaves ready
// set behind it: then there is nothing yet, and it waits again.
func (q *queue[T]) take(stop <-chan struct{}) []T {
	for {
		select {
		case <-q.ready:
		case <-stop:
			return nil
		}
		q.mu.Lock()
		items := q.items
		q.items = nil
		q.mu.Unlock()
		if len(items) > 0 {
			return items
		}
	}
}
