package check

import (
	"reflect"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// watch holds what managers publish against the log. A manager that takes a
// snapshot skips what that covers.
type watch struct {
	events map[uint64][]control.Event // by index, their times left out
	last   map[*sim.Host]published
}

type published struct{ life, index uint64 }

// Sentence implements [Oracle].
func (*watch) Sentence() string {
	return "S14 watchers are told of every change, in order and once"
}

// Committed implements [Committer].
func (o *watch) Committed(_ *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	if events := control.Events(delta, index, 0); len(events) > 0 {
		o.events[index] = events
	}
}

// Stepped implements [Stepper].
func (o *watch) Stepped(c *Checker, h *sim.Host, event engine.Event, step engine.Step) {
	e, ok := event.(engine.Committed)
	if !ok {
		return
	}
	var told []control.Event
	for _, f := range step.Effects {
		if p, ok := f.(engine.Publish); ok {
			told = append(told, p.Events...)
		}
	}
	o.judge(c, h, h.Life(), e.Index, told)
}

// judge looks at what a host publishes as it applies an entry.
func (o *watch) judge(c *Checker, h *sim.Host, life, index uint64, told []control.Event) {
	if old := o.last[h]; old.life == life && index <= old.index {
		c.Violate(o, "%s publishes entry %d after %d", h.Name, index, old.index)
	}
	o.last[h] = published{life, index}
	want := o.events[index]
	if len(told) != len(want) {
		c.Violate(o, "%s publishes %d events of entry %d, which has %d", h.Name, len(told), index, len(want))
		return
	}
	for i, e := range told {
		e.At = 0
		if !reflect.DeepEqual(e, want[i]) {
			c.Violate(o, "%s publishes %+v of entry %d, which is %+v", h.Name, e, index, want[i])
		}
	}
}
