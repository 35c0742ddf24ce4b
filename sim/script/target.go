package script

import (
	"fmt"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/sim"
)

// targetWords are the targets that are no names of hosts.
func targetWords() []string {
	return []string{
		"leader", "follower", "manager", "worker", "random",
		"managers", "followers", "workers", "all", "majority", "minority", "others",
		"crashed", "paused", "suspended",
	}
}

// A target says which hosts something is done to: names and words, resolved when
// it is done.
type target []string

func (t target) String() string { return strings.Join(t, ",") }

// target takes one target: words separated by commas, after which there may be
// blanks.
func (r *reader) target() (target, error) {
	word := strings.TrimSuffix(r.peek(), ",")
	if list, more := strings.CutSuffix(r.peek(), ","); more && r.at+1 < len(r.words) {
		next := *r
		next.at++
		rest, err := next.target()
		if err != nil {
			return nil, err
		}
		first := &reader{words: []string{list}, p: r.p}
		t, err := first.target()
		r.at = next.at
		return append(t, rest...), err
	}
	if !r.more() || word == "" || strings.HasPrefix(word, "-") {
		return nil, r.want("a host, or one of %s", strings.Join(targetWords(), ", "))
	}
	t := target(strings.Split(word, ","))
	for _, atom := range t {
		if !r.p.names[atom] && !slices.Contains(targetWords(), atom) {
			return nil, expected(fmt.Sprintf("%q", atom), "a host of the swarm, what pick has named, or one of %s", strings.Join(targetWords(), ", "))
		}
	}
	r.at++
	return t, nil
}

// targets takes all targets up to the end of the line, or to a flag.
func (r *reader) targets() (target, error) {
	all, err := r.target()
	for err == nil && r.more() && !strings.HasPrefix(r.peek(), "-") {
		var more target
		more, err = r.target()
		all = append(all, more...)
	}
	return all, err
}

// resolve returns the hosts that a target is now, in the order of the swarm. It
// is a [nobody] when there is none.
func (p *player) resolve(t target, taken ...string) ([]string, error) {
	hosts := p.stage.Hosts()
	chosen := map[string]bool{}
	for _, atom := range t {
		for _, name := range p.atom(atom, hosts, taken) {
			chosen[name] = true
		}
	}
	var names []string
	for _, h := range hosts {
		if chosen[h.Name] {
			names = append(names, h.Name)
		}
	}
	if len(names) == 0 && !t.optional() {
		return nil, nobody("there is no " + t.String() + " at present")
	}
	return names, nil
}

// optional reports whether the target may be nobody: those that something was
// done to, if to any.
func (t target) optional() bool {
	return !slices.ContainsFunc(t, func(atom string) bool {
		return atom != "crashed" && atom != "paused" && atom != "suspended"
	})
}

// one resolves a target that must be one host.
func (p *player) one(t target) (string, error) {
	names, err := p.resolve(t)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("%s is %s, not one host", t, strings.Join(names, ", "))
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

func (p *player) atom(atom string, hosts []Host, taken []string) []string {
	if names, ok := p.picks[atom]; ok {
		return names
	}
	leader := p.stage.Leader()
	up := func(h Host) bool { return h.Running && !h.Paused }
	switch atom {
	case "leader":
		if leader == "" {
			return nil
		}
		return []string{leader}
	case "follower":
		return drawn(p.draws, named(hosts, func(h Host) bool { return h.Manager && up(h) && h.Name != leader }), 1)
	case "manager":
		return drawn(p.draws, named(hosts, func(h Host) bool { return h.Manager && up(h) }), 1)
	case "worker":
		return drawn(p.draws, named(hosts, func(h Host) bool { return !h.Manager && up(h) }), 1)
	case "random":
		return drawn(p.draws, named(hosts, up), 1)
	case "followers":
		return named(hosts, func(h Host) bool { return h.Manager && h.Name != leader })
	case "managers":
		return named(hosts, func(h Host) bool { return h.Manager })
	case "workers":
		return named(hosts, func(h Host) bool { return !h.Manager })
	case "all":
		return named(hosts, func(Host) bool { return true })
	case "majority", "minority":
		managers := named(hosts, func(h Host) bool { return h.Manager })
		n := len(managers)/2 + 1
		if atom == "minority" {
			n = (len(managers) - 1) / 2
		}
		return drawn(p.draws, managers, n)
	case "others":
		return named(hosts, func(h Host) bool { return !slices.Contains(taken, h.Name) })
	case "crashed":
		return named(hosts, func(h Host) bool { return !h.Running })
	case "paused":
		return named(hosts, func(h Host) bool { return h.Paused })
	case "suspended":
		return named(hosts, func(h Host) bool { return p.suspended[h.Name] })
	default:
		return []string{atom}
	}
}

func named(hosts []Host, which func(Host) bool) []string {
	var names []string
	for _, h := range hosts {
		if which(h) {
			names = append(names, h.Name)
		}
	}
	return names
}

// drawn returns n of the names.
func drawn(s *sim.Stream, names []string, n int) []string {
	sim.Shuffle(s, names)
	return names[:min(n, len(names))]
}

// pick gives a name to the hosts that a target is now.
func (p *parsing) pick(r *reader) (deed, error) {
	name := r.peek()
	if !plainName(name) || p.names[name] && !slices.Contains(p.picked, name) {
		return nil, r.want("a new name for what is picked, of letters, digits and dashes")
	}
	r.at++
	t, err := r.targets()
	if err != nil {
		return nil, err
	}
	p.names[name] = true
	p.picked = append(p.picked, name)
	return func(p *player, done func(error)) {
		hosts, err := p.resolve(t)
		if err == nil {
			p.picks[name] = hosts
			p.stage.Note("picked", name+":", strings.Join(hosts, ","))
		}
		done(err)
	}, nil
}
