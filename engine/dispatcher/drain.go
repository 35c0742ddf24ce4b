package dispatcher

import (
	"maps"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// drainPatience is how long a task is kept from stopping for the sake of nodes that
// have not said that nothing of theirs leads to it any more.
const drainPatience = 10 * time.Second

// A wave is tasks that are to stop, and the nodes that are waited for: what leads to
// the tasks must be gone there first. It is memory of one leader: the next waits
// anew.
type wave struct {
	tasks    []state.TaskID
	need     map[state.NodeID]uint64 // the assignment that tells each
	deadline time.Duration           // by the dispatcher's clock
}

// drain keeps a task from being told to stop until every node that is Ready and
// concerned has applied tables without it. Its own node sees to itself.
func (p *Dispatcher) drain(d *state.Draft, e *wire.Endpoint) {
	if own := d.Node(e.Node); own == nil || own.State == state.NodeDown {
		return
	}
	need := map[state.NodeID]uint64{}
	for _, id := range p.table.order {
		n, o := p.nodes[id], d.Node(id)
		if n != nil && o != nil && o.State == state.NodeReady && id != e.Node && n.concerned(e) {
			need[id] = n.sequence + 1
		}
	}
	if len(need) == 0 || mutant.On(mutant.DrainUnwaited) {
		return
	}
	p.table.draining[e.Task] = true
	if n := len(p.table.waves); n > 0 && maps.Equal(p.table.waves[n-1].need, need) {
		w := p.table.waves[n-1]
		w.tasks = append(w.tasks, e.Task)
		return
	}
	p.table.waves = append(p.table.waves, &wave{tasks: []state.TaskID{e.Task}, need: need, deadline: p.clock.shown + drainPatience})
}

// applied takes note of how far a node's network has come.
func (p *Dispatcher) applied(n *node, sequence uint64) {
	if sequence <= n.news.applied {
		return
	}
	n.news.applied = sequence
	p.unneed(func(w *wave) {
		if at, waited := w.need[n.id]; waited && at <= sequence {
			delete(w.need, n.id)
		}
	})
}

// unwait lets nobody wait for a node that is gone.
func (p *Dispatcher) unwait(id state.NodeID) {
	p.unneed(func(w *wave) { delete(w.need, id) })
}

// expireWaves lets tasks stop that have waited for long enough.
func (p *Dispatcher) expireWaves() {
	p.unneed(func(w *wave) {
		if w.deadline <= p.clock.shown {
			clear(w.need)
		}
	})
}

// unneed has do look at every wave, and lets the tasks stop of those that wait for
// nobody any more.
func (p *Dispatcher) unneed(do func(w *wave)) {
	p.table.waves = slices.DeleteFunc(p.table.waves, func(w *wave) bool {
		do(w)
		if len(w.need) > 0 {
			return false
		}
		for _, id := range w.tasks {
			if e := p.table.endpoints[id]; e != nil && p.table.draining[id] {
				p.touch(e.Node, id)
			}
			delete(p.table.draining, id)
		}
		return true
	})
}

// held is the task as its node may know of it by now: one that drains is not to stop
// yet.
func (p *Dispatcher) held(t *state.Task) *state.Task {
	if t == nil || !p.table.draining[t.ID] || t.Desired <= state.TaskComplete {
		return t
	}
	kept := *t
	kept.Desired = state.TaskRunning
	return &kept
}
