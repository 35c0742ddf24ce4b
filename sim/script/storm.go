package script

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/sim"
)

// A storm is random faults, each kind at its rate, each mended after a while.
type storm struct {
	name   string
	kinds  []stormKind
	during span
	lasts  span
	spare  bool // a majority of the managers is left alone
	hit    map[string]int
	over   bool
}

// A stormKind is one kind of fault of a storm.
type stormKind struct {
	name string
	rate float64 // per second
}

// stormKinds are all there are.
func stormKinds() []string {
	return []string{
		"kill", "poweroff", "pause", "suspend", "isolate", "cut", "one-way", "clog", "flaky", "clock", "drift",
		"disk-slow", "disk-stuck", "lose-runtime", "mishaps", "end",
	}
}

// storm reads a storm, which begins now and rages on while the scenario goes on.
func (p *parsing) storm(r *reader) (deed, error) {
	during, err := r.duration()
	if err != nil {
		return nil, err
	}
	rates := make([]float64, len(stormKinds()))
	lasts, spare := span{time.Second, 20 * time.Second}, false
	known := []flag{spanFlag("last", &lasts), onFlag("spare-majority", &spare)}
	for i, kind := range stormKinds() {
		known = append(known, rateFlag(kind, &rates[i]))
	}
	if err := r.flags(known); err != nil {
		return nil, err
	}
	var kinds []stormKind
	for i, kind := range stormKinds() {
		if rates[i] > 0 {
			kinds = append(kinds, stormKind{kind, rates[i]})
		}
	}
	if len(kinds) == 0 {
		return nil, r.want("what it is made of, such as --kill 0.1/s --cut 0.05/s")
	}
	return func(p *player, done func(error)) {
		s := &storm{
			name: "storm/" + strconv.Itoa(len(p.storms)+1), kinds: kinds, during: during, lasts: lasts, spare: spare, hit: map[string]int{},
		}
		p.storms = append(p.storms, s)
		s.begin(p)
		done(nil)
	}, nil
}

// begin plans the faults of each kind, drawn from a stream of its own.
func (s *storm) begin(p *player) {
	until := p.stage.Now() + p.duration(s.during)
	for _, k := range s.kinds {
		draws := p.stage.Stream(s.name + "/" + k.name)
		mean := time.Duration(float64(time.Second) / k.rate)
		var next func()
		next = func() {
			p.stage.At(p.stage.Now()+draws.Exponential(mean), func() {
				if s.over || p.stage.Now() > until {
					return
				}
				s.strike(p, k.name, draws)
				next()
			})
		}
		next()
	}
}

// victim draws a host: half of the time the leader, if it may be hit.
func (s *storm) victim(p *player, draws *sim.Stream) string {
	hosts := p.stage.Hosts()
	leader := p.stage.Leader()
	if draws.Chance(0.5) && leader != "" && s.mayHit(p, leader) {
		return leader
	}
	names := named(hosts, func(h Host) bool { return s.mayHit(p, h.Name) })
	if len(names) == 0 {
		return ""
	}
	return sim.Pick(draws, names)
}

// mayHit reports whether a host may be hit without the majority being.
func (s *storm) mayHit(p *player, name string) bool {
	if !s.spare || s.hit[name] > 0 {
		return true
	}
	managers, hit := 0, 0
	for _, h := range p.stage.Hosts() {
		if !h.Manager {
			if h.Name == name {
				return true
			}
			continue
		}
		managers++
		if s.hit[h.Name] > 0 || !h.Running || h.Paused {
			hit++
		}
	}
	return hit+1 <= (managers-1)/2
}

// strike has one fault happen, and plans its end.
func (s *storm) strike(p *player, kind string, draws *sim.Stream) {
	name := s.victim(p, draws)
	other := s.victim(p, draws)
	lasts := s.lasts.draw(draws)
	if name == "" {
		return
	}
	do, undo := s.fault(p, kind, name, other, draws)
	if do == nil {
		return
	}
	s.hit[name]++
	if err := do(); err != nil {
		p.stage.Note("left out:", kind, name+":", err.Error())
	}
	p.stage.At(p.stage.Now()+lasts, func() {
		s.hit[name]--
		if undo == nil || s.over {
			return
		}
		if err := undo(); err != nil {
			p.stage.Note("left out:", kind, name+":", err.Error())
		}
	})
}

// fault is one fault of a kind, and what mends it.
func (s *storm) fault(p *player, kind, a, b string, draws *sim.Stream) (do, undo func() error) {
	others := func() []string { return named(p.stage.Hosts(), func(h Host) bool { return h.Name != a }) }
	process := func(verb, back string) (func() error, func() error) {
		return func() error { return p.processOf(verb, a) }, func() error { return p.processOf(back, a) }
	}
	path := func(to []string, both bool, change func(*sim.Path)) (func() error, func() error) {
		return func() error {
				return p.between([]string{a}, to, both, func(p *player, x, y string) error {
					return p.fault(ChangePath{x, y, change}, kind, x, "->", y)
				})
			}, func() error {
				return p.between([]string{a}, to, both, healed)
			}
	}
	single := func(f, back Fault, words ...string) (func() error, func() error) {
		mend := func() error { return p.fault(back, append([]string{"mend"}, words...)...) }
		if back == nil {
			mend = nil
		}
		return func() error { return p.fault(f, words...) }, mend
	}
	switch kind {
	case "kill", "poweroff":
		return process(kind, "start")
	case "pause":
		return process("pause", "resume")
	case "suspend":
		return process("suspend", "wakeup")
	case "isolate":
		return path(others(), true, func(p *sim.Path) { p.Cut = true })
	case "flaky":
		return path(others(), true, func(p *sim.Path) { p.Loss, p.Twice, p.Late = 0.1, 0.1, 0.02 })
	case "cut", "one-way", "clog":
		if a == b || b == "" {
			return nil, nil
		}
		if kind == "clog" {
			return path([]string{b}, true, func(p *sim.Path) { p.Clogged = true })
		}
		return path([]string{b}, kind == "cut", func(p *sim.Path) { p.Cut = true })
	case "clock":
		by := draws.Between(0, 2*day) - day
		return single(SetClock{a, by}, nil, "clock", a, by.String())
	case "drift":
		ppm := draws.N(2001) - 1000
		return single(SetDrift{a, ppm}, SetDrift{a, 0}, "drift", a, strconv.Itoa(ppm)+"ppm")
	case "disk-slow":
		slow := draws.Between(10*time.Millisecond, 5*time.Second)
		return single(SetDisk{a, slow, false}, SetDisk{a, 0, false}, "disk", a, "slow", slow.String())
	case "disk-stuck":
		return single(SetDisk{a, 0, true}, SetDisk{a, 0, false}, "disk", a, "stuck")
	case "lose-runtime":
		return single(LoseRuntime{a, draws.Between(time.Second, 20*time.Second)}, nil, "lose-runtime", a)
	case "mishaps":
		m := sim.Mishaps{PullFail: 0.3, TimedOut: 0.1, ExitLost: 0.3, ExitTwice: 0.1, Slow: 0.05, CreateFail: 0.1, NetworkFail: 0.2, NetworkSlow: 0.2, EndpointFail: 0.05}
		return single(SetMishaps{a, m}, SetMishaps{a, sim.Mishaps{}}, "mishaps", a, fmt.Sprintf("%+v", m))
	default: // end
		return func() error { return p.endOne(draws) }, nil
	}
}

// endOne ends a container, whichever.
func (p *player) endOne(draws *sim.Stream) error {
	running := p.stage.View().Containers
	if len(running) == 0 {
		return nil
	}
	c := sim.Pick(draws, running)
	return p.fault(EndContainer{c.Host, c.Task, 1, false}, "end", string(c.Task), "on", c.Host)
}

// clients reads concurrent clients, which begin now.
func (p *parsing) clients(r *reader) (deed, error) {
	n, err := r.number()
	if err == nil && n == 0 {
		err = expected("0 clients", "at least one")
	}
	if err != nil {
		return nil, err
	}
	if !r.accept("for") {
		return nil, r.want("for and a duration")
	}
	during, err := r.duration()
	if err != nil {
		return nil, err
	}
	p.clientsMake = true
	c := sim.ClientsConfig{Clients: n}
	err = r.flags([]flag{
		numberFlag("services", &c.Services), durationFlag("think", &c.Think),
		chanceFlag("lose-request", &c.LoseRequest), chanceFlag("lose-answer", &c.LoseAnswer),
		{name: "mix", what: "what they do and how often, such as create=2,scale=5 (" + mixes + ")", set: func(v string) error {
			c.Mix = sim.Mix{}
			for part := range strings.SplitSeq(v, ",") {
				kind, weight, _ := strings.Cut(part, "=")
				w, err := strconv.ParseUint(weight, 10, 16)
				if err == nil {
					err = oneOf(kind, strings.Split(mixes, ", ")...)
				}
				if err != nil {
					return err
				}
				c.Mix[sim.OperationKind(kind)] = int(w)
			}
			return nil
		}},
	})
	return func(p *player, done func(error)) {
		c := c
		c.Until = p.stage.Now() + p.duration(during)
		done(p.stage.StartClients(c))
	}, err
}

// mixes are what clients do.
const mixes = "create, inspect, update, scale, remove, list"
