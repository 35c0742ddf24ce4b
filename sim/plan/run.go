package plan

import (
	"fmt"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

// StepsMax is how many events the engines of one run may take: more is a loop.
const StepsMax = 1_000_000

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

// A Stage is how plans are played.
type Stage struct {
	Parser script.Parser
	// Shape, if set, changes the world that a plan has asked for.
	Shape func(*sim.Config)
}

// Run plays a plan in a simulated world, watched by every oracle. An error says
// that its scenario cannot be read.
func (in Stage) Run(p *Plan) (*Result, error) {
	s, err := script.Parse("plan.txt", p.Scenario(), in.Parser)
	if err != nil {
		return nil, fmt.Errorf("the plan is no scenario: %w", err)
	}
	if in.Shape != nil {
		in.Shape(&s.Config)
	}
	stage, err := script.NewModel(s.Config)
	if err != nil {
		return nil, fmt.Errorf("the plan makes no world: %w", err)
	}
	defer stage.World.Close()
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
