package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Shrinker makes a plan that fails small: fewer events first, then fewer hosts,
// then shorter times, then simpler commands, as long as the same sentence is broken.
type Shrinker struct {
	Stage Stage
	// Enough reports whether it has taken long enough; nil is never.
	Enough func() bool
	// Tried, if set, is told after every try.
	Tried func(tries int, smallest *Plan)

	sentence string
	tries    int
	best     *Plan
}

// Shrink returns the smallest plan that it has found that breaks the sentence
// which p breaks, and that sentence; "" if p breaks none.
func (s *Shrinker) Shrink(p *Plan) (*Plan, string, error) {
	r, err := s.Stage.Run(p)
	if err != nil {
		return nil, "", err
	}
	s.sentence = r.Sentence()
	if s.sentence == "" {
		return p, "", nil
	}
	s.best = p
	s.cutOff(r.Violations[0].At)
	for size := -1; size != s.size() && !s.enough(); {
		size = s.size()
		s.events()
		s.hosts()
		s.times()
		s.words()
	}
	return s.best, s.sentence, nil
}

// Necessary tells which faults of a shrunk plan were needed: all that are left.
func (p *Plan) Necessary() []string {
	var list []string
	for _, e := range p.Events {
		if e.Fault != "" {
			list = append(list, fmt.Sprintf("%s at %v: %s", e.Fault, e.At, strings.ReplaceAll(e.Do, "%", e.Target)))
		}
	}
	return list
}

func (s *Shrinker) enough() bool { return s.Enough != nil && s.Enough() }

// size is what must become less for another round to be worth it.
func (s *Shrinker) size() int {
	n := s.best.Managers + s.best.Workers + len(s.best.Events)*10
	for _, e := range s.best.Events {
		n += len(strings.Fields(e.Do))
	}
	return n
}

// try keeps a smaller plan if it breaks the same sentence.
func (s *Shrinker) try(p *Plan) bool {
	if s.enough() {
		return false
	}
	s.tries++
	r, err := s.Stage.Run(p)
	kept := err == nil && r.Sentence() == s.sentence
	if kept {
		s.best = p
	}
	if s.Tried != nil {
		s.Tried(s.tries, s.best)
	}
	return kept
}

// cutOff leaves out what comes after the sentence was broken.
func (s *Shrinker) cutOff(at time.Duration) {
	p := s.best.Clone()
	p.Events = slices.DeleteFunc(p.Events, func(e Event) bool { return e.At > at })
	if len(p.Events) < len(s.best.Events) {
		s.try(p)
	}
}

// events leaves out as many events as it can: halves, then quarters, and so on.
func (s *Shrinker) events() {
	for chunk := (len(s.best.Events) + 1) / 2; chunk > 0; chunk /= 2 {
		for again := true; again; {
			again = false
			for from := 0; from < len(s.best.Events) && !s.enough(); {
				p := s.best.Clone()
				p.Events = slices.Delete(p.Events, from, min(from+chunk, len(p.Events)))
				if s.try(p) {
					again = chunk == 1
				} else {
					from += chunk
				}
			}
		}
	}
}

// hosts leaves out hosts that nothing speaks of, and what hosts are made of.
func (s *Shrinker) hosts() {
	for s.best.Workers > 0 {
		p := s.best.Clone()
		p.drop(fmt.Sprintf("w%d", p.Workers))
		if p.Workers--; !s.try(p) {
			break
		}
	}
	for s.best.Managers > 1 {
		p := s.best.Clone()
		p.drop(fmt.Sprintf("m%d", p.Managers))
		if p.Managers--; !s.try(p) {
			break
		}
	}
	for i := range slices.Backward(s.best.Hosts) {
		p := s.best.Clone()
		p.Hosts = slices.Delete(p.Hosts, i, i+1)
		s.try(p)
	}
	for i := range slices.Backward(s.best.Broken) {
		p := s.best.Clone()
		p.Broken = slices.Delete(p.Broken, i, i+1)
		s.try(p)
	}
	if s.best.Knobs != "" {
		p := s.best.Clone()
		p.Knobs = ""
		s.try(p)
	}
}

// drop forgets a host that is to go: its own line, and that it is broken.
func (p *Plan) drop(name string) {
	p.Hosts = slices.DeleteFunc(p.Hosts, func(line string) bool { return strings.HasPrefix(line, "host "+name+" ") })
	p.Broken = slices.DeleteFunc(p.Broken, func(h string) bool { return h == name })
}

// times makes the run, and faults, shorter.
func (s *Shrinker) times() {
	end := time.Duration(0)
	for _, e := range s.best.Events {
		end = max(end, e.At+e.Lasts)
	}
	for _, calm := range []time.Duration{end + time.Second, end + 30*time.Second} {
		if calm = calm.Round(time.Second); calm < s.best.Calm {
			p := s.best.Clone()
			if p.Calm = calm; s.try(p) {
				break
			}
		}
	}
	for i := range s.best.Events {
		for s.best.Events[i].Lasts > time.Second {
			p := s.best.Clone()
			if p.Events[i].Lasts = (p.Events[i].Lasts / 2).Round(100 * time.Millisecond); !s.try(p) {
				break
			}
		}
	}
}

// words leaves out flags of commands.
func (s *Shrinker) words() {
	for i := range s.best.Events {
		for at := 0; ; {
			words := strings.Fields(s.best.Events[i].Do)
			for at < len(words) && (!strings.HasPrefix(words[at], "--") || words[at] == "--name") {
				at++
			}
			if at >= len(words)-1 || s.enough() {
				break
			}
			upto := at + 1
			if !strings.Contains(words[at], "=") && !strings.HasPrefix(words[upto], "--") && words[at] != "--force" {
				upto++
			}
			p := s.best.Clone()
			p.Events[i].Do = strings.Join(slices.Delete(words, at, upto), " ")
			if !s.try(p) {
				at++
			}
		}
	}
}
