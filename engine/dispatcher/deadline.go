package dispatcher

import (
	"container/heap"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// A clock runs while the leader does. The engine's time goes on while its
// process is stopped or its machine sleeps, and the messages that came meanwhile
// are read only afterwards: the silence was the leader's, and no node's.
type clock struct {
	last  time.Time     // the latest that is known
	shown time.Duration // what has counted
}

// advance moves the clock to now. A gap of stall or more is sleep: a leader that
// runs is stepped more often, if only to hear its own worker.
func (c *clock) advance(now time.Time, stall time.Duration) {
	gap := now.Sub(c.last)
	if gap <= 0 {
		return
	}
	c.last = now
	if gap < stall {
		c.shown += gap
	}
}

// Leap moves the clock by which nodes are silent. It runs by itself; only where it
// is to be wrong, as a planted bug, does it follow the wall's.
func (p *Dispatcher) Leap(by time.Duration) { p.clock.shown += by }

// when is the time at which the clock will show d, if the leader does not sleep.
func (c *clock) when(d time.Duration) time.Time { return c.last.Add(d - c.shown) }

// stall is how long a leader that runs never goes without hearing anything.
func (p *Dispatcher) stall() time.Duration { return max(stallBeats*p.beat, stallMin) }

// grace is how long the node may be silent. One that has not acknowledged anything may
// have to say Hello again first, if this session is not the one that it knows: its
// Hello was overtaken by an older one.
func (n *node) grace() time.Duration {
	grace := beatsMissed * max(n.beat, n.slowest)
	if n.acked == 0 {
		grace = max(grace, greetGrace)
	}
	return grace
}

// An alarm says when to look whether a node has been silent for too long. That
// the node spoke meanwhile shows only then: a heartbeat costs nothing here.
type alarm struct {
	at   time.Duration
	node *node
}

// watch gives a node a grace from now. The leader's own node is not watched: who
// would be there to notice?
func (p *Dispatcher) watch(n *node, grace time.Duration) {
	if n.id == p.self {
		return
	}
	n.deadline = p.clock.shown + grace
	if n.alarm == 0 || n.deadline < n.alarm {
		p.setAlarm(n)
	}
}

func (p *Dispatcher) setAlarm(n *node) {
	n.alarm = n.deadline
	heap.Push(&p.times, alarm{n.alarm, n})
}

func (p *Dispatcher) alive(n *node) { p.watch(n, n.grace()) }

// expire returns the nodes that have been silent for too long.
func (p *Dispatcher) expire() []state.NodeID {
	var silent []state.NodeID
	for len(p.times) > 0 && p.times[0].at <= p.clock.shown {
		a := heap.Pop(&p.times).(alarm)
		n := a.node
		if p.nodes[n.id] != n || n.alarm != a.at { // removed, or another alarm stands
			continue
		}
		n.alarm = 0
		if n.deadline > p.clock.shown {
			p.setAlarm(n)
			continue
		}
		silent = append(silent, n.id)
	}
	return silent
}

type deadlines []alarm

func (h deadlines) Len() int { return len(h) }
func (h deadlines) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].node.id < h[j].node.id
}
func (h deadlines) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deadlines) Push(x any)   { *h = append(*h, x.(alarm)) }
func (h *deadlines) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
