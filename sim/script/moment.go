package script

import (
	"slices"
	"strings"
	"time"
)

// A standing is a condition that is looked at whenever something has changed.
type standing struct {
	verb    string // always, never, sometimes, when, whenever
	line    int
	text    string
	c       condition
	reached bool
	over    bool
	fire    func(p *player)
}

func (w *standing) now(p *player) bool {
	ok, _ := w.c.holds(p)
	return ok
}

func (w *standing) look(p *player) {
	if w.over {
		return
	}
	ok, is := w.c.holds(p)
	switch w.verb {
	case "always":
		if !ok {
			w.over = true
			p.stage.Violate("the scenario holds", "line %d: %s: %s", w.line, w.text, is)
		}
	case "never":
		if ok {
			w.over = true
			p.stage.Violate("the scenario holds", "line %d: %s: it did", w.line, w.text)
		}
	case "sometimes":
		w.over, w.reached = ok, ok
	case "when":
		if ok {
			w.over = true
			w.fire(p)
		}
	case "whenever":
		if ok && !w.reached {
			w.fire(p)
		}
		w.reached = ok
	}
}

// standing reads always, never and sometimes.
func (p *parsing) standing(verb string, r *reader) (action, error) {
	c, err := r.condition()
	return func(p *player) error {
		w := &standing{verb: verb, line: p.current.line, text: p.current.text, c: c}
		p.standing = append(p.standing, w)
		w.look(p)
		return nil
	}, err
}

// moment reads a command that happens at another moment: its words before the
// colon say when.
func (p *parsing) moment(verb string, r *reader) (action, error) {
	when, err := r.before(momentExample(verb))
	if err != nil {
		return nil, err
	}
	switch verb {
	case "at", "after":
		d, err := when.duration()
		if err == nil {
			err = when.end()
		}
		if err != nil {
			return nil, err
		}
		do, err := p.after(r)
		return func(p *player) error {
			at := p.duration(d)
			if verb == "after" {
				at += p.stage.Now()
			}
			p.plan(at, p.current, do)
			return nil
		}, err
	case "every":
		return p.every(when, r)
	}
	delay, err := when.delay()
	if err != nil {
		return nil, err
	}
	c, err := when.condition()
	if err == nil {
		err = when.end()
	}
	if err != nil {
		return nil, err
	}
	do, err := p.after(r)
	return func(p *player) error {
		w := &standing{verb: verb, line: p.current.line, text: p.current.text, c: c}
		from := p.current
		w.fire = func(p *player) { p.plan(p.stage.Now()+p.duration(delay), from, do) }
		w.reached = verb == "whenever" && w.now(p)
		p.standing = append(p.standing, w)
		w.look(p)
		return nil
	}, err
}

// every reads a command that comes again and again.
func (p *parsing) every(when, r *reader) (action, error) {
	d, err := when.duration()
	if err == nil && d.lo <= 0 {
		err = expected(d.String(), "a period longer than 0s")
	}
	during := span{hi: -1}
	if err == nil && when.accept("for") {
		during, err = when.duration()
	}
	if err == nil {
		err = when.end()
	}
	if err != nil {
		return nil, err
	}
	do, err := p.after(r)
	return func(p *player) error {
		until, from := time.Duration(-1), p.current
		if during.hi >= 0 {
			until = p.stage.Now() + p.duration(during)
		}
		var again func()
		again = func() {
			p.stage.At(p.stage.Now()+p.duration(d), func() {
				if until < 0 || p.stage.Now() <= until {
					p.run(from, do)
					again()
				}
			})
		}
		again()
		return nil
	}, err
}

// momentExample is a line with one of the words that say when.
func momentExample(verb string) string {
	switch verb {
	case "when", "whenever":
		return verb + " no leader: start crashed"
	default:
		return verb + " 41s: crash leader"
	}
}

// before takes the words up to the one that ends with a colon.
func (r *reader) before(example string) (*reader, error) {
	for i := r.at; i < len(r.words); i++ {
		if word, ok := strings.CutSuffix(r.words[i], ":"); ok {
			words := append([]string{}, r.words[r.at:i]...)
			if word != "" {
				words = append(words, word)
			}
			r.at = i + 1
			return &reader{words: words, p: r.p}, nil
		}
	}
	return nil, expected("no colon", "one before the command, such as %s", example)
}

// delay takes +3s off the end.
func (r *reader) delay() (span, error) {
	n := len(r.words)
	if n == 0 || !strings.HasPrefix(r.words[n-1], "+") {
		return span{}, nil
	}
	s, err := parseSpan(r.words[n-1][1:])
	if err != nil {
		return span{}, expected(`"`+r.words[n-1]+`"`, "a delay such as +3s or +1s..5s")
	}
	r.words = r.words[:n-1]
	return s, nil
}

// after reads the command after the colon.
func (p *parsing) after(r *reader) (deed, error) {
	const what = "a command that takes no time: a fault, a storm, or one of the swarm's own"
	if !r.more() {
		return nil, r.want(what)
	}
	if takesTime(r.peek()) {
		return nil, r.want(what)
	}
	return p.instant(r)
}

// takesTime reports whether a command may let time pass, or looks ahead.
func takesTime(verb string) bool {
	return slices.Contains([]string{
		"advance", "await", "idle", "expect", "check", "settle", "always", "never", "sometimes", "at", "after", "every", "when", "whenever",
	}, verb)
}

// plan has a deed of a line done at a time.
func (p *player) plan(at time.Duration, from step, do deed) {
	p.stage.At(at, func() { p.run(from, do) })
}

// run does a deed of another moment. What has nobody to be done to is left out.
func (p *player) run(from step, do deed) {
	p.waiting++
	do(p, func(err error) {
		p.waiting--
		switch {
		case err == nil:
		case isNobody(err):
			p.stage.Note("left out:", err.Error())
		default:
			p.broken(from.line, from.text, err)
		}
	})
}
