package network

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ti-mo/conntrack"

	"github.com/swarmd/swarmd/engine/state"
)

// answerPatience is how long a connection may wait for the first answer of a
// backend that has left. One that has waited longer has lost a packet, or its
// backend hears nothing: when its client asks again, a second after it began, it
// is to come to one that is there. Those that are just being answered are let be.
// A task that is to stop runs on for twice as long (lingerPeriod of engine/agent).
const answerPatience = 100 * time.Millisecond

// A forgetter has the kernel forget connections, beside everything else: on a machine
// that has too much to do it takes seconds, and the next plan must not wait for that.
type forgetter struct {
	host  *host
	log   *slog.Logger
	netns func(state.TaskID) string
	wake  chan struct{}

	mu      sync.Mutex
	asked   []oblivion
	working bool
	rested  *sync.Cond // nothing is due, or it has stopped
	stopped bool
}

// An oblivion is flows to be forgotten, from when it is due.
type oblivion struct {
	due        time.Time
	task       state.TaskID // in whose namespace; "": the host's
	selections []selection
	match      func(f conntrack.Flow) bool
}

func newForgetter(h *host, log *slog.Logger, netns func(state.TaskID) string) *forgetter {
	f := &forgetter{host: h, log: log, netns: netns, wake: make(chan struct{}, 1)}
	f.rested = sync.NewCond(&f.mu)
	return f
}

// now and later have flows forgotten: later is when what is being answered has been.
func (f *forgetter) now(task state.TaskID, selections []selection, match func(f conntrack.Flow) bool) {
	f.ask(oblivion{time.Now(), task, selections, match})
}

func (f *forgetter) later(task state.TaskID, selections []selection, match func(f conntrack.Flow) bool) {
	f.ask(oblivion{time.Now().Add(answerPatience), task, selections, match})
}

func (f *forgetter) ask(o oblivion) {
	f.mu.Lock()
	f.asked = append(f.asked, o)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run works until ctx is done. What is asked for while it is at work is done in one.
func (f *forgetter) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer f.stop()
	for {
		due, next := f.take(time.Now())
		if len(due) == 0 {
			if !next.IsZero() {
				timer.Reset(time.Until(next))
			}
			select {
			case <-ctx.Done():
				return
			case <-f.wake:
			case <-timer.C:
			}
			continue
		}
		byTask := map[state.TaskID][]oblivion{}
		for _, o := range due {
			byTask[o.task] = append(byTask[o.task], o)
		}
		for _, task := range sorted(byTask) {
			if ctx.Err() != nil {
				return
			}
			f.forget(task, byTask[task])
		}
	}
}

// take returns what is due, and when the next will be.
func (f *forgetter) take(now time.Time) (due []oblivion, next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = slices.DeleteFunc(f.asked, func(o oblivion) bool {
		if !o.due.After(now) {
			due = append(due, o)
			return true
		}
		if next.IsZero() || o.due.Before(next) {
			next = o.due
		}
		return false
	})
	f.working = len(due) > 0
	f.rested.Broadcast()
	return due, next
}

func (f *forgetter) forget(task state.TaskID, asked []oblivion) {
	selected := map[selection]bool{}
	for _, o := range asked {
		for _, s := range o.selections {
			selected[s] = true
		}
	}
	work := func() error {
		return forgetFlows(slices.Collect(maps.Keys(selected)), func(flow conntrack.Flow) bool {
			return slices.ContainsFunc(asked, func(o oblivion) bool { return o.match(flow) })
		})
	}
	var err error
	if task == "" {
		err = inside(f.host.ns, work)
	} else if err = insideAt(f.netns(task), work); err != nil && !isNamespace(f.netns(task)) {
		return // it has gone, and all that it remembered
	}
	if err != nil {
		f.log.Warn("connections may go on to tasks that have left", "err", err)
	}
}

// rest waits until nothing is due.
func (f *forgetter) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := func(o oblivion) bool { return !o.due.After(time.Now()) }
	for !f.stopped && (f.working || slices.ContainsFunc(f.asked, due)) {
		f.rested.Wait()
	}
}

func (f *forgetter) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.working, f.stopped = false, true
	f.rested.Broadcast()
}
