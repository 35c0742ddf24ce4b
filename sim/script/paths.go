package script

import (
	"slices"
	"strings"

	"github.com/swarmd/swarmd/sim"
)

// paths reads a command about the links between hosts: A B is both directions,
// A -> B one of them.
func (p *parsing) paths(verb string, r *reader) (deed, error) {
	if verb == "heal" && !r.more() {
		return pairs(target{"all"}, target{"all"}, true, healed), nil
	}
	a, err := r.target()
	if err != nil {
		return nil, err
	}
	b, both := target{"others"}, true
	switch {
	case verb == "heal" && !r.more(): // all links of a host
	case r.accept("->"):
		both = false
		b, err = r.target()
	default:
		b, err = r.target()
	}
	if err != nil {
		return nil, err
	}
	var change func(*sim.Path)
	switch verb {
	case "heal":
		return pairs(a, b, both, healed), nil
	case "cut":
		change = func(p *sim.Path) { p.Cut = true }
	case "clog":
		change = func(p *sim.Path) { p.Clogged = true }
	case "unclog":
		change = func(p *sim.Path) { p.Clogged = false }
	default:
		if change, err = p.link(r); err != nil {
			return nil, err
		}
	}
	text := strings.Join(r.words[:min(r.at, len(r.words))], " ")
	return pairs(a, b, both, func(p *player, from, to string) error {
		return p.fault(ChangePath{from, to, change}, verb, from, "->", to, "("+text+")")
	}), nil
}

// link reads how messages fare from now on; what is not said stays as it is.
func (p *parsing) link(r *reader) (func(*sim.Path), error) {
	if !r.more() {
		return nil, r.want("how messages fare, such as --loss 0.1 --delay 50ms")
	}
	var next sim.Path
	given := map[string]bool{}
	known := []flag{
		chanceFlag("loss", &next.Loss), chanceFlag("twice", &next.Twice), chanceFlag("late", &next.Late),
		durationFlag("delay", &next.Delay), durationFlag("jitter", &next.Jitter), durationFlag("late-most", &next.LateMost),
	}
	for i := range known {
		set, name := known[i].set, known[i].name
		known[i].set = func(v string) error {
			given[name] = true
			return set(v)
		}
	}
	err := r.flags(known)
	return func(p *sim.Path) {
		for _, f := range []struct {
			name string
			set  func()
		}{
			{"loss", func() { p.Loss = next.Loss }},
			{"twice", func() { p.Twice = next.Twice }},
			{"late", func() { p.Late = next.Late }},
			{"delay", func() { p.Delay = next.Delay }},
			{"jitter", func() { p.Jitter = next.Jitter }},
			{"late-most", func() { p.LateMost = next.LateMost }},
		} {
			if given[f.name] {
				f.set()
			}
		}
	}, err
}

func healed(p *player, from, to string) error {
	return p.fault(HealPath{from, to}, "heal", from, "->", to)
}

func cut(p *player, from, to string) error {
	return p.fault(ChangePath{from, to, func(p *sim.Path) { p.Cut = true }}, "cut", from, "->", to)
}

// pairs does something to the paths from each host of one target to each of
// another, and back if both.
func pairs(a, b target, both bool, do func(p *player, from, to string) error) deed {
	return func(p *player, done func(error)) {
		from, err := p.resolve(a)
		if err != nil {
			done(err)
			return
		}
		to, err := p.resolve(b, from...)
		if err != nil {
			done(err)
			return
		}
		done(p.between(from, to, both, do))
	}
}

func (p *player) between(from, to []string, both bool, do func(p *player, from, to string) error) error {
	seen := map[[2]string]bool{}
	for _, f := range from {
		for _, t := range to {
			ways := [][2]string{{f, t}}
			if both {
				ways = append(ways, [2]string{t, f})
			}
			for _, way := range ways {
				if f == t || seen[way] {
					continue
				}
				seen[way] = true
				if err := do(p, way[0], way[1]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// isolate cuts hosts off from all others.
func (p *parsing) isolate(r *reader) (deed, error) {
	t, err := r.targets()
	return pairs(t, target{"others"}, true, cut), err
}

// groups reads targets separated by |.
func (r *reader) groups() ([]target, error) {
	var groups []target
	for {
		t, err := r.target()
		for err == nil && r.more() && r.peek() != "|" {
			var more target
			more, err = r.target()
			t = append(t, more...)
		}
		if err != nil {
			return nil, err
		}
		groups = append(groups, t)
		if !r.accept("|") {
			return groups, nil
		}
	}
}

// partition cuts groups of hosts off from one another.
func (p *parsing) partition(r *reader) (deed, error) {
	groups, err := r.groups()
	if err == nil && len(groups) < 2 {
		err = r.want("| and another group of hosts")
	}
	return func(p *player, done func(error)) { done(p.cutGroups(groups, nil)) }, err
}

// cutGroups cuts groups off from one another; spared are in none.
func (p *player) cutGroups(groups []target, spared []string) error {
	taken := slices.Clone(spared)
	resolved := make([][]string, 0, len(groups))
	for _, g := range groups {
		hosts, err := p.resolve(g, taken...)
		if err != nil {
			return err
		}
		hosts = slices.DeleteFunc(hosts, func(h string) bool { return slices.Contains(taken, h) })
		taken = append(taken, hosts...)
		resolved = append(resolved, hosts)
	}
	for i, a := range resolved {
		for _, b := range resolved[i+1:] {
			if err := p.between(a, b, true, cut); err != nil {
				return err
			}
		}
	}
	return nil
}

// bridge leaves one host that sees all, between two groups that do not see each
// other: the two given, or halves of all others.
func (p *parsing) bridge(r *reader) (deed, error) {
	middle, err := r.target()
	if err != nil {
		return nil, err
	}
	var groups []target
	if r.more() {
		if groups, err = r.groups(); err == nil && len(groups) != 2 {
			err = r.want("two groups of hosts, with | between them")
		}
	}
	return func(p *player, done func(error)) {
		host, err := p.one(middle)
		if err != nil {
			done(err)
			return
		}
		sides := groups
		if sides == nil {
			all, err := p.resolve(target{"others"}, host)
			if err != nil {
				done(err)
				return
			}
			sim.Shuffle(p.draws, all)
			sides = []target{all[:len(all)/2], all[len(all)/2:]}
		}
		done(p.cutGroups(sides, []string{host}))
	}, err
}
