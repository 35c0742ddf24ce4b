package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/sim"
)

// A deed is a command that happens at a moment. done comes once, with what went
// wrong: at once, or, of what the swarm has to answer, later.
type deed func(p *player, done func(error))

// Patience with what a command needs.
const (
	targetPatience = 30 * time.Second // for somebody to be the target, such as a leader
	answerPatience = time.Minute      // for the swarm to answer
)

// wait carries a deed out and lets time pass until it is done. While its target
// is nobody, it waits for somebody.
func (d deed) wait(p *player) error {
	over, result := false, error(nil)
	attempt := func() {
		over = false
		d(p, func(err error) { over, result = true, err })
	}
	attempt()
	nobody := func() bool { return over && isNobody(result) }
	if nobody() {
		p.stage.Until(targetPatience, func() bool { attempt(); return !nobody() })
		if nobody() {
			return fmt.Errorf("waited %v: %w", targetPatience, result)
		}
	}
	if !over {
		p.stage.Until(answerPatience, func() bool { return over })
	}
	if !over {
		return fmt.Errorf("there was no answer within %v", answerPatience)
	}
	return result
}

// each is a deed that does something to every host of a target.
func each(t target, do func(p *player, host string) error) deed {
	return func(p *player, done func(error)) {
		hosts, err := p.resolve(t)
		for _, h := range hosts {
			if err == nil {
				err = do(p, h)
			}
		}
		done(err)
	}
}

// fault does something to a host, and says so in the trace.
func (p *player) fault(f Fault, words ...string) error {
	p.stage.Note(words...)
	return p.stage.Do(f)
}

// process reads a command about the processes of hosts.
func (p *parsing) process(verb string, r *reader) (deed, error) {
	t, err := r.targets()
	if err != nil {
		return nil, err
	}
	return each(t, func(p *player, h string) error { return p.processOf(verb, h) }), nil
}

func (p *player) processOf(verb, h string) error {
	var f Fault
	switch verb {
	case "crash", "kill":
		f = Kill{h}
	case "poweroff":
		f = PowerOff{h}
	case "start", "restart":
		f = Start{h}
	case "pause":
		f = Pause{h}
	case "suspend":
		f = Suspend{h}
		p.suspended[h] = true
	default: // resume, wakeup
		f = Resume{h}
		if p.suspended[h] {
			f = Wakeup{h}
		}
	}
	if _, is := f.(Suspend); !is {
		delete(p.suspended, h)
	}
	return p.fault(f, verb, h)
}

func (p *parsing) clock(r *reader) (deed, error) {
	t, err := r.target()
	if err != nil {
		return nil, err
	}
	const what = "a jump such as +1h or -1d, or drift 200ppm, or true"
	switch word := r.next(); {
	case word == "true":
		return each(t, func(p *player, h string) error { return p.fault(SetDrift{h, 0}, "clock", h, "true") }), nil
	case word == "drift":
		number, ok := strings.CutSuffix(r.next(), "ppm")
		ppm, err := strconv.Atoi(number)
		if !ok || err != nil || ppm > 500_000 || ppm < -500_000 {
			r.at--
			return nil, r.want("a drift such as 200ppm or -5000ppm, at most 500000ppm")
		}
		return each(t, func(p *player, h string) error { return p.fault(SetDrift{h, ppm}, "clock", h, "drift", number+"ppm") }), nil
	case strings.HasPrefix(word, "+") || strings.HasPrefix(word, "-"):
		by, err := parseDuration(word)
		if err != nil {
			r.at--
			return nil, r.want(what)
		}
		return each(t, func(p *player, h string) error { return p.fault(SetClock{h, by}, "clock", h, word) }), nil
	default:
		r.at--
		return nil, r.want(what)
	}
}

func (p *parsing) disk(r *reader) (deed, error) {
	t, err := r.target()
	if err != nil {
		return nil, err
	}
	var slow span
	word := r.next()
	switch word {
	case "slow":
		if slow, err = r.duration(); err != nil {
			return nil, err
		}
	case "stuck", "ok":
	case "full", "broken", "fails-sync", "kill-at", "cut-at":
		return p.diskFault(t, word, r)
	default:
		r.at--
		return nil, r.want("slow and a duration, stuck, full, broken, fails-sync, kill-at or cut-at and a write, or ok")
	}
	return each(t, func(p *player, h string) error {
		d := p.duration(slow)
		return p.fault(SetDisk{h, d, word == "stuck"}, "disk", h, word, d.String())
	}), nil
}

func (p *parsing) mishaps(r *reader) (deed, error) {
	t, err := r.target()
	if err != nil {
		return nil, err
	}
	var m sim.Mishaps
	if !r.accept("none") {
		if !r.more() {
			return nil, r.want("none, or what may go wrong, such as --pull-fail 0.1")
		}
		err = r.flags(mishapFlags(&m))
	}
	return each(t, func(p *player, h string) error {
		return p.fault(SetMishaps{h, m}, "mishaps", h, fmt.Sprintf("%+v", m))
	}), err
}

func mishapFlags(m *sim.Mishaps) []flag {
	return []flag{
		chanceFlag("pull-fail", &m.PullFail), chanceFlag("create-fail", &m.CreateFail), chanceFlag("timed-out", &m.TimedOut),
		chanceFlag("exit-lost", &m.ExitLost), chanceFlag("exit-twice", &m.ExitTwice), chanceFlag("slow", &m.Slow), chanceFlag("crash", &m.Crash),
		chanceFlag("network-fail", &m.NetworkFail), chanceFlag("network-slow", &m.NetworkSlow), chanceFlag("endpoint-fail", &m.EndpointFail),
	}
}

func (p *parsing) loseRuntime(r *reader) (deed, error) {
	t, err := r.target()
	if err != nil {
		return nil, err
	}
	away := span{5 * time.Second, 5 * time.Second}
	if r.more() {
		away, err = r.duration()
	}
	return each(t, func(p *player, h string) error {
		d := p.duration(away)
		return p.fault(LoseRuntime{h, d}, "lose-runtime", h, d.String())
	}), err
}

// endContainers has containers of a service end as if by themselves.
func (p *parsing) endContainers(r *reader) (deed, error) {
	service, err := r.word("the service whose containers end")
	if err != nil {
		return nil, err
	}
	count, code, oom, on := 1, 1, false, ""
	err = r.flags([]flag{numberFlag("count", &count), numberFlag("code", &code), onFlag("oom", &oom), textFlag("on", &on)})
	if err == nil && on != "" && !p.names[on] {
		err = expected(strconv.Quote(on), "a host of the swarm after --on")
	}
	return func(p *player, done func(error)) {
		v := p.stage.View()
		var found []Container
		for _, c := range v.Containers {
			if v.name(c.Service) == service && (on == "" || slices.Contains(p.picks[on], c.Host) || c.Host == on) {
				found = append(found, c)
			}
		}
		sim.Shuffle(p.draws, found)
		if len(found) == 0 {
			done(nobody("no container of " + service + " runs"))
			return
		}
		var err error
		for _, c := range found[:min(count, len(found))] {
			if err == nil {
				err = p.fault(EndContainer{c.Host, c.Task, code, oom}, "end", string(c.Task), "on", c.Host)
			}
		}
		done(err)
	}, err
}

// note writes words into the trace.
func (p *parsing) note(r *reader) (deed, error) {
	if !r.more() {
		return nil, r.want("the words to be noted")
	}
	words := r.rest()
	return func(p *player, done func(error)) {
		p.stage.Note(words...)
		done(nil)
	}, nil
}
