package consensus

import (
	"sync"
	"testing"
)

// Everything put is taken, in order, by a taker that never takes nothing before
// it is stopped, however puts and takes meet.
func TestQueue(t *testing.T) {
	const each = 20_000
	q := newQueue[int]()
	stop := make(chan struct{})
	var putters sync.WaitGroup
	for range 4 {
		putters.Go(func() {
			for i := range each {
				q.put(i)
			}
		})
	}
	for taken := 0; taken < 4*each; {
		items := q.take(stop)
		if len(items) == 0 {
			t.Fatalf("nothing was taken after %d of %d, though nobody stopped it", taken, 4*each)
		}
		taken += len(items)
	}
	putters.Wait()
	close(stop)
	if items := q.take(stop); items != nil {
		t.Errorf("stopped, it took %v", items)
	}
}
