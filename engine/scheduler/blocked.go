package scheduler

import (
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// A verdict is what every node says to a group that is blocked.
type verdict struct {
	why    []reason // by index of the node; nil while the group is not blocked
	counts [reasons]int
	accept []*node // have changed their mind

	text  string    // the reason as it was last written
	until time.Time // and how long that stands
}

// block asks every node for its reason. From now on only nodes that change are
// asked.
func (s *Scheduler) block(g *group) {
	g.accept = nil
	if g.why == nil {
		g.why = make([]reason, len(s.slots))
		g.counts = [reasons]int{}
		for i, n := range s.slots {
			g.why[i] = gone
			if n != nil {
				g.why[i] = g.reason(n)
			}
			g.counts[g.why[i]]++
		}
		g.class.blocked++
		s.blocked = append(s.blocked, g)
	}
	s.markStale(g)
}

// unblock forgets what nodes said: no task waits for them.
func (s *Scheduler) unblock(g *group) {
	if g.why == nil {
		return
	}
	g.class.blocked--
	g.verdict = verdict{}
	s.blocked = slices.DeleteFunc(s.blocked, func(o *group) bool { return o == g })
	s.quiet = slices.DeleteFunc(s.quiet, func(o *group) bool { return o == g })
}

// review asks a node that has changed again.
func (s *Scheduler) review(g *group, n *node) {
	for len(g.why) <= int(n.index) {
		g.why = append(g.why, gone)
		g.counts[gone]++
	}
	old, now := g.why[n.index], g.reason(n)
	if old == now {
		return
	}
	g.why[n.index] = now
	g.counts[old]--
	g.counts[now]++
	if now == accepted && !mutant.On(mutant.PendingForgotten) {
		g.accept = append(g.accept, n)
		s.markReady(g)
		return
	}
	s.markStale(g)
}

// speak has reasons written that have been held back for long enough.
func (s *Scheduler) speak(now time.Time) {
	s.quiet = slices.DeleteFunc(s.quiet, func(g *group) bool {
		if now.Before(g.until) {
			return false
		}
		s.markStale(g)
		return true
	})
}

// explain writes why the tasks of blocked groups are pending, where that has
// changed.
func (p *pass) explain() {
	stale := p.stale
	p.stale = nil
	for i, g := range stale {
		g.stale = false
		if g.why == nil || g.ready {
			continue
		}
		if text := explanation(g.counts); text != g.text {
			if g.text == "" || !p.now.Before(g.until) {
				g.text, g.until = text, p.now.Add(ExplainPeriod)
			} else if !slices.Contains(p.quiet, g) {
				p.quiet = append(p.quiet, g)
			}
		}
		if !p.explainTo(g) {
			for _, g := range stale[i:] {
				p.markStale(g)
			}
			return
		}
	}
}

// explainTo writes the group's reason to its tasks, and reports whether the draft
// had room for all.
func (p *pass) explainTo(g *group) bool {
	for _, id := range g.queue {
		t := p.pendingTask(id)
		if t == nil || t.Status.Err == g.text {
			continue
		}
		if !p.writable(t) {
			return false
		}
		p.refuse(t, g.text)
	}
	return true
}

// refuse writes why a task is pending.
func (p *pass) refuse(t *state.Task, why string) {
	c := *t
	c.Updated = p.wall
	c.Status = state.TaskStatus{State: state.TaskPending, At: p.wall, Message: textPending, Err: why}
	p.d.PutTask(&c)
}
