package check

import (
	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/sim"
)

// logOnlyGrows remembers every manager's log as it was.
type logOnlyGrows struct{ seen map[*sim.Host]logSeen }

type logSeen struct {
	life uint64
	log  sim.LogView
}

// Sentence implements [Oracle].
func (*logOnlyGrows) Sentence() string {
	return "S5 commit and applied indexes do not decrease in a life, nor terms across lives"
}

// Stepped implements [Stepper].
func (o *logOnlyGrows) Stepped(c *Checker, h *sim.Host, event engine.Event, _ engine.Step) {
	switch event.(type) {
	case engine.Committed, engine.Restored, engine.Elected, engine.Deposed, engine.LeaderChanged:
		if h.Manager {
			o.judge(c, h, h.Life(), h.Log())
		}
	default:
	}
}

func (o *logOnlyGrows) judge(c *Checker, h *sim.Host, life uint64, log sim.LogView) {
	old, known := o.seen[h]
	o.seen[h] = logSeen{life, log}
	switch {
	case !known:
	case log.Term < old.log.Term:
		c.Violate(o, "%s knows of term %d, and knew of %d", h.Name, log.Term, old.log.Term)
	case life == old.life && log.Commit < old.log.Commit:
		c.Violate(o, "%s takes entry %d for the last committed, and took %d", h.Name, log.Commit, old.log.Commit)
	case life == old.life && log.Delivered < old.log.Delivered:
		c.Violate(o, "%s has applied entry %d, and had applied %d", h.Name, log.Delivered, old.log.Delivered)
	}
}
