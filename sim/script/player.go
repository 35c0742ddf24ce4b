package script

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// An Outcome is what playing a scenario came to.
type Outcome struct {
	Line       int    // of the command that was being carried out, or was last
	Text       string // of that command
	Violations []sim.Violation
	Sometimes  []Sometime
	Virtual    time.Duration // on the stage's clock
}

// A Sometime is something that a scenario says must happen in some run.
type Sometime struct {
	Line    int
	Text    string
	Reached bool
}

// Passed reports whether no sentence was broken.
func (o *Outcome) Passed() bool { return len(o.Violations) == 0 }

// A player is a script that is being played.
type player struct {
	stage     Stage
	script    *Script
	draws     *sim.Stream
	current   step
	picks     map[string][]string
	suspended map[string]bool
	standing  []*standing
	services  map[state.ServiceID]string // names, of those that are gone too
	storms    []*storm
	waiting   int // answers that commands of another moment wait for
}

// Play plays a script on a stage that has not run yet. The outcome's line and
// violations say what did not hold.
func Play(s *Script, stage Stage) *Outcome {
	p := &player{
		stage: stage, script: s, draws: stage.Stream("script"), picks: map[string][]string{},
		suspended: map[string]bool{}, services: map[state.ServiceID]string{},
	}
	stage.OnChange(p.look)
	for _, step := range s.steps {
		p.current = step
		stage.Note(fmt.Sprintf("line %d:", step.line), step.text)
		if err := step.do(p); err != nil && len(stage.Violations()) == 0 {
			p.broken(step.line, step.text, err)
		}
		if len(stage.Violations()) > 0 {
			break
		}
	}
	o := &Outcome{Line: p.current.line, Text: p.current.text, Violations: stage.Violations(), Virtual: stage.Now()}
	for _, w := range p.standing {
		if w.verb == "sometimes" {
			o.Sometimes = append(o.Sometimes, Sometime{w.line, w.text, w.reached || w.now(p)})
		}
	}
	return o
}

// duration draws a duration: where time is dear, not a long one.
func (p *player) duration(s span) time.Duration {
	if most := p.stage.SpanMost(); most > 0 {
		s.hi = max(s.lo, min(s.hi, most))
	}
	return s.draw(p.draws)
}

// broken says that a line of the scenario does not hold.
func (p *player) broken(line int, text string, err error) {
	p.stage.Violate("the scenario holds", "line %d: %s: %v", line, text, err)
}

// serviceName is the name that a service has, or had.
func (p *player) serviceName(id state.ServiceID) string {
	if name := p.stage.View().name(id); name != "" {
		return name
	}
	return p.services[id]
}

// look looks at what stands: it comes after every change.
func (p *player) look() {
	for _, s := range p.stage.View().Services {
		p.services[s.ID] = s.Name
	}
	for _, w := range slices.Clone(p.standing) {
		w.look(p)
	}
}

// advance lets time pass.
func (p *parsing) advance(r *reader) (action, error) {
	d, err := r.duration()
	p.need("advance", d.lo)
	return func(p *player) error {
		p.stage.Run(p.stage.Now() + p.duration(d))
		return nil
	}, err
}

// idle lets time pass in which the swarm may write nothing to its log.
func (p *parsing) idle(r *reader) (action, error) {
	d, err := r.duration()
	p.need("idle", d.lo)
	return func(p *player) error {
		before := p.stage.View().Writes
		p.stage.Run(p.stage.Now() + p.duration(d))
		if n := p.stage.View().Writes - before; n > 0 {
			return fmt.Errorf("entries that the swarm wrote to its log: %d", n)
		}
		return nil
	}, err
}

// await lets time pass until a condition holds, at most so long.
func (p *parsing) await(r *reader) (action, error) {
	d, err := r.duration()
	if err != nil {
		return nil, err
	}
	c, err := r.condition()
	return func(p *player) error { return p.until(c, p.duration(d)) }, err
}

func (p *player) until(c condition, patience time.Duration) error {
	seen, looked := uint64(0), false
	held := p.stage.Until(patience, func() bool {
		if n := p.stage.Changes(); looked && n == seen && !c.volatile {
			return false
		} else {
			seen, looked = n, true
		}
		ok, _ := c.holds(p)
		return ok
	})
	if held {
		return nil
	}
	_, is := c.holds(p)
	return fmt.Errorf("not within %v: %s%s", patience, is, p.why())
}

// why tells of tasks that do not run, for those who wonder.
func (p *player) why() string {
	const told = 3
	v := p.stage.View()
	reasons := map[string]int{}
	for _, t := range v.Tasks {
		if t.wanted() && t.State != state.TaskRunning && t.State != state.TaskComplete {
			reason := fmt.Sprintf("%s of %s", t.State, p.serviceName(t.Service))
			if t.Err != "" {
				reason += " (" + t.Err + ")"
			}
			reasons[reason]++
		}
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		parts = append(parts, fmt.Sprintf("%d %s", reasons[reason], reason))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; tasks: " + strings.Join(parts[:min(told, len(parts))], ", ")
}

// expect sees to it that a condition holds now, or that the swarm refuses what it
// is asked.
func (p *parsing) expect(r *reader) (action, error) {
	if n := len(r.words); n > 3 && r.words[n-2] == "fails" {
		text := r.words[n-1]
		inner := &reader{words: r.words[1 : n-2], p: p}
		r.at = n
		var host target
		if inner.accept("on") {
			when, err := inner.before("expect on m2: service scale website=8 fails \"no leader\"")
			if err != nil {
				return nil, err
			}
			t, err := when.target()
			if err != nil {
				return nil, err
			}
			host = t
		}
		d, err := p.ask(inner, host, text)
		return d.wait, err
	}
	if n := len(r.words); n > 2 && r.words[n-1] == "fails" {
		r.at = n
		return nil, r.want("words of the refusal after fails, such as fails \"already in use\"")
	}
	c, err := r.condition()
	return func(p *player) error {
		if ok, is := c.holds(p); !ok {
			return errors.New(is)
		}
		return nil
	}, err
}
