package real

import (
	"context"
	"sync"

	"github.com/swarmd/swarmd/engine/control"
)

// feedQueueMax is how many batches of events a subscriber may be behind before
// it is dropped.
const feedQueueMax = 4096

// A Feed passes the swarm's events on to whoever subscribes. Its zero value is
// ready. Publishing never blocks: a subscriber that has fallen far behind is
// dropped, which its closed channel tells it.
type Feed struct {
	mu          sync.Mutex
	subscribers map[chan []control.Event]bool
}

// Publish hands events to every subscriber, in order.
func (f *Feed) Publish(events []control.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subscribers {
		select {
		case ch <- events:
		default:
			f.drop(ch)
		}
	}
}

// Subscribe returns the events that are published from now on. The channel
// closes when ctx ends, or when its reader has fallen far behind.
func (f *Feed) Subscribe(ctx context.Context) <-chan []control.Event {
	ch := make(chan []control.Event, feedQueueMax)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscribers == nil {
		f.subscribers = make(map[chan []control.Event]bool)
	}
	f.subscribers[ch] = true
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(ch)
	})
	return ch
}

// drop ends a subscription, once.
func (f *Feed) drop(ch chan []control.Event) {
	if f.subscribers[ch] {
		delete(f.subscribers, ch)
		close(ch)
	}
}
