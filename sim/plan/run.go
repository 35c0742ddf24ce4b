package plan

import (
	"fmt"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

// StepsMax is how many events the engines of one run may take: more is a loop.
const StepsMax = 600_000

// A Result is what a run came to.
type Result struct {
	Violations []sim.Violation
	Probes     map[string]uint64
	Virtual    time.Duration
	Steps      uint64
}

// Sentence is the one that was broken first, "" if none was.
func (r *Result) Sentence() string {
	if len(r.Violations) == 0 {
		return ""
	}
	return r.Violations[0].Sentence
}

// Run plays a plan in the simulated world, watched by every oracle. An error says
// that its scenario cannot be read.
func Run(p *Plan, parser script.Parser) (*Result, error) {
	s, err := script.Parse("plan.txt", p.Scenario(), parser)
	if err != nil {
		return nil, fmt.Errorf("the plan is no scenario: %w", err)
	}
	stage, err := script.NewModel(s.Config)
	if err != nil {
		return nil, fmt.Errorf("the plan makes no world: %w", err)
	}
	stage.World.Observe((*bound)(stage.World))
	outcome := script.Play(s, stage)
	return &Result{outcome.Violations, stage.Probes(), outcome.Virtual, stage.World.Steps()}, nil
}

// bound ends a run that does not end.
type bound sim.World

// Stepped implements [sim.Observer].
func (b *bound) Stepped(*sim.Host, engine.Event, engine.Step) {
	if w := (*sim.World)(b); w.Steps() > StepsMax {
		w.Violate("L10 a run ends", "engines have taken %d events in %v", w.Steps(), w.Now())
	}
}
