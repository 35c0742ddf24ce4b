package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Draws is what a plan is drawn from: a [sim.Stream], or in tests what rapid draws.
type Draws interface {
	// N returns a number from 0 to n-1.
	N(n int) int
	// Chance reports true with a probability.
	Chance(p float64) bool
}

// Limits of what is drawn.
const (
	managersMax   = 5
	workersMax    = 6
	operationsMax = 40
	faultsMax     = 20
	calmLeast     = 20 * time.Second
	calmMost      = 4 * time.Minute
)

// Draw draws a plan for a world of that seed. Of the kinds of faults only those
// named in only may come; nil is all.
func Draw(d Draws, seed uint64, only []string) *Plan {
	g := &generator{Draws: d, plan: &Plan{Seed: seed, Images: images()}}
	g.shape()
	g.calm = g.between(calmLeast, calmMost)
	g.plan.Calm = g.calm
	g.users()
	g.faults(only)
	slices.SortStableFunc(g.plan.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	g.broken()
	g.plan.Sentence = []string{fmt.Sprintf("A plan that was drawn from seed %d.", seed)}
	return g.plan
}

// A generator draws one plan.
type generator struct {
	Draws
	plan *Plan
	calm time.Duration

	wants    map[string]bool // what services may want in this run
	services int             // how many names there are
	images   []string        // that services run
	revision int
	removed  []string // hosts whose nodes are removed
}

func (g *generator) between(lo, hi time.Duration) time.Duration {
	const steps = 1000
	return (lo + time.Duration(g.N(steps+1))*(hi-lo)/steps).Round(100 * time.Millisecond)
}

func (g *generator) pick(from ...string) string { return from[g.N(len(from))] }

// some leaves each out with even odds, but never all.
func (g *generator) some(all []string) []string {
	var kept []string
	for _, one := range all {
		if g.Chance(0.5) {
			kept = append(kept, one)
		}
	}
	if len(kept) == 0 {
		kept = []string{g.pick(all...)}
	}
	return kept
}

// images are those that services may run; which ones a run has is drawn.
func images() []string {
	return []string{
		"image good:1",
		"image good:2 --start 2s",
		"image good:3 --stop 3s --pull 4s",
		"image stubborn:1 --stubborn",
		"image healthy:1 --healthy 5s",
		"image crash:1 --exits 1,137 --after 4s",
		"image crash:2 --start-fail 0.5",
		"image later:1 --exits 1 --after 12s",
		"image flaky:1 --create-fail 0.3 --flaps 0.2",
		"image missing:1 --missing",
		"image done:1 --exits 0 --after 5s",
		"image done:2 --exits 0,0,1 --after 5s",
	}
}

// shape draws the hosts, and what every run has only one of.
func (g *generator) shape() {
	p := g.plan
	p.Managers = []int{1, 2, 3, 3, 3, 4, managersMax}[g.N(7)]
	p.Workers = g.N(workersMax + 1)
	var knobs []string
	if g.Chance(0.3) {
		knobs = append(knobs, "--heartbeat "+g.pick("1s", "2s", "10s"))
	}
	if g.Chance(0.6) {
		knobs = append(knobs, "--snapshot-entries "+g.pick("4", "4", "16", "64"))
	}
	p.Knobs = strings.Join(knobs, " ")
	labels, small := g.Chance(0.5), g.Chance(0.5)
	for _, name := range p.hosts() {
		line := "host " + name
		if labels {
			line += " --label zone=" + g.pick("a", "b")
		}
		if small {
			line += fmt.Sprintf(" --cpus %d --memory %dG", 1+g.N(3), 1+g.N(3))
		}
		if g.Chance(0.1) {
			line += " --availability " + g.pick("pause", "drain")
		}
		if line != "host "+name {
			p.Hosts = append(p.Hosts, line)
		}
	}
}

// broken draws what is never healed: a minority of the managers, at most half of
// the workers, and whoever was removed from the swarm.
func (g *generator) broken() {
	p := g.plan
	broken := slices.Clone(g.removed)
	if g.Chance(0.4) {
		lost := g.N((p.Managers + 1) / 2)
		for i := range lost {
			broken = append(broken, fmt.Sprintf("m%d", (g.N(p.Managers)+i)%p.Managers+1))
		}
		if p.Workers > 0 {
			broken = append(broken, fmt.Sprintf("w%d", g.N(p.Workers)+1))
		}
	}
	slices.Sort(broken)
	p.Broken = slices.Compact(broken)
	managers := slices.DeleteFunc(slices.Clone(p.Broken), func(h string) bool { return h[0] != 'm' })
	for len(managers) > (p.Managers-1)/2 {
		p.Broken = slices.DeleteFunc(p.Broken, func(h string) bool { return h == managers[0] })
		managers = managers[1:]
	}
	for _, h := range p.Broken {
		if do := g.pick("crash", "poweroff", "pause", ""); do != "" {
			p.Events = append(p.Events, Event{At: g.calm - 100*time.Millisecond, Fault: do, Do: do + " " + h})
		}
	}
}
