package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Faults lists the kinds of faults that a plan may have.
func Faults() []string {
	return []string{
		"crash", "poweroff", "pause", "suspend", "isolate", "cut", "one-way", "clog", "flaky", "slow", "flap",
		"clock", "drift", "disk-slow", "disk-stuck", "mishaps", "lose-runtime", "end", "blackout",
	}
}

// RaftFaults lists the kinds that only a world has in which the log is real.
func RaftFaults() []string {
	return []string{"kill-at-write", "cut-at-write", "disk-full", "disk-broken", "sync-fails"}
}

// faults draws what goes wrong. Targets are names or words that mean the same
// whatever else was drawn: what is left out of a plan must not move the rest.
func (g *generator) faults(only []string) {
	if g.Chance(0.05) && only == nil {
		return // so that what is wrong without any is found too
	}
	all := Faults()
	if only != nil {
		all = only
	}
	kinds := g.some(all)
	toTheLeader := []float64{0, 0.5, 0.5, 0.9}[g.N(4)]
	count := 1 + g.N(faultsMax)
	at := time.Duration(0)
	for range count {
		if !g.Chance(0.3) { // else together with the last
			at = g.between(0, g.calm)
		}
		e := g.fault(kinds[g.N(len(kinds))])
		e.At = at
		if e.Target == "" && g.Chance(toTheLeader) {
			e.Target = "leader"
		}
		if e.Target == "" {
			e.Target = g.target()
		}
		if e.Target == "-" {
			e.Target = ""
		}
		if e.Undo != "" && e.Lasts == 0 {
			e.Lasts = g.lasts()
		}
		g.plan.Events = append(g.plan.Events, e)
		if e.Fault == "flap" {
			g.flap(e)
		}
	}
}

func (g *generator) target() string {
	hosts := g.plan.hosts()
	if g.Chance(0.5) {
		hosts = hosts[:g.plan.Managers]
	}
	return hosts[g.N(len(hosts))]
}

// majority is most of the managers.
func (g *generator) majority() string {
	names := g.plan.hosts()[:g.plan.Managers]
	first := g.N(len(names))
	names = slices.Concat(names[first:], names[:first])
	return strings.Join(names[:len(names)/2+1], ",")
}

func (g *generator) lasts() time.Duration {
	switch g.N(4) {
	case 0:
		return g.between(100*time.Millisecond, 2*time.Second)
	case 1:
		return g.between(20*time.Second, time.Minute)
	default:
		return g.between(2*time.Second, 20*time.Second)
	}
}

// fault is one of a kind; its target, if it does not say, is drawn.
func (g *generator) fault(kind string) Event {
	e := Event{Fault: kind}
	path := func(flags string) { e.Do, e.Undo = "link % others "+flags, "heal %" }
	switch kind {
	case "crash", "poweroff":
		e.Do, e.Undo = kind+" %", "start %"
	case "pause":
		e.Do, e.Undo = "pause %", "resume %"
	case "suspend":
		e.Do, e.Undo = "suspend %", "wakeup %"
	case "isolate":
		e.Do, e.Undo = "isolate %", "heal %"
	case "cut":
		e.Do, e.Undo = "cut % "+g.other(), "heal %"
	case "one-way":
		e.Do, e.Undo = "cut % -> "+g.other(), "heal %"
	case "clog":
		e.Do, e.Undo = "clog % "+g.other(), "heal %"
	case "flaky":
		path(g.pick("--loss 0.1 --twice 0.1 --late 0.02", "--loss 0.5", "--twice 0.5 --late 0.1", "--loss 0.2 --late 0.2 --late-most 30s"))
	case "slow":
		path(g.pick("--delay 50ms --jitter 50ms", "--delay 500ms --jitter 200ms", "--jitter 2s"))
	case "flap":
		e.Do, e.Undo = g.pick("isolate %", "cut % -> others"), "heal %"
		e.Lasts = g.between(300*time.Millisecond, 3*time.Second)
	case "clock":
		e.Do = "clock % " + g.pick("+30s", "+1h", "+2s", "-2s", "-30s", "-1h", "+1d")
	case "drift":
		e.Do, e.Undo = "clock % drift "+g.pick("200ppm", "-200ppm", "50000ppm", "-50000ppm", "100000ppm"), "clock % true"
	case "disk-slow", "disk-stuck":
		e.Do, e.Undo = "disk % stuck", "disk % ok"
		if kind == "disk-slow" {
			e.Do = "disk % slow " + g.pick("10ms", "300ms", "2s", "10s")
		}
		e.Target = g.pick("leader", "leader", fmt.Sprintf("m%d", 1+g.N(g.plan.Managers)))
	case "kill-at-write", "cut-at-write", "disk-full", "disk-broken", "sync-fails":
		g.breakDisk(&e)
	case "mishaps":
		e.Do, e.Undo = "mishaps % "+g.mishaps(), "mishaps % none"
		e.Target = g.pick("all", g.target(), "workers")
		if e.Target == "workers" && g.plan.Workers == 0 {
			e.Target = "all"
		}
	case "lose-runtime":
		e.Do = "lose-runtime % " + g.between(time.Second, 20*time.Second).String()
	case "end":
		e.Do, e.Target = fmt.Sprintf("end %s --count %d --code %s", g.name(), 1+g.N(3), g.pick("0", "1", "137")), "-"
	case "blackout": // all managers, or all hosts, at once
		e.Do, e.Undo = g.pick("crash %", "poweroff %"), "start %"
		e.Target = g.pick("managers", "all", g.majority())
	}
	return e
}

// breakDisk is a fault of a manager's disk.
func (g *generator) breakDisk(e *Event) {
	e.Undo = "disk % ok"
	switch e.Fault {
	case "kill-at-write":
		e.Do, e.Undo = "disk % kill-at "+g.pick("3", "10", "50"), "start %"
	case "cut-at-write":
		e.Do, e.Undo = "disk % cut-at "+g.pick("3", "10", "50"), "start %"
	case "disk-full":
		e.Do = "disk % full"
	case "disk-broken":
		e.Do = "disk % broken"
	default:
		e.Do = "disk % fails-sync"
	}
	e.Target = fmt.Sprintf("m%d", 1+g.N(g.plan.Managers))
}

func (g *generator) other() string {
	words := []string{"others", "followers", "managers", "leader"}
	if g.plan.Workers > 0 {
		words = append(words, "workers")
	}
	return g.pick(words...)
}

func (g *generator) mishaps() string {
	if g.Chance(0.3) {
		return "--crash 0.6 --exit-lost 0.7"
	}
	kinds := g.some([]string{"--pull-fail 0.3", "--timed-out 0.2", "--exit-lost 0.5", "--exit-twice 0.3", "--slow 0.1", "--create-fail 0.2", "--crash 0.3", "--network-fail 0.4", "--network-slow 0.5", "--endpoint-fail 0.2"})
	var line strings.Builder
	for _, k := range kinds {
		line.WriteString(" " + k)
	}
	return line.String()[1:]
}

// flap has a fault come again and again, shortly after it was undone.
func (g *generator) flap(e Event) {
	for range 1 + g.N(4) {
		e.At += e.Lasts + g.between(500*time.Millisecond, 4*time.Second)
		if e.At >= g.calm {
			return
		}
		g.plan.Events = append(g.plan.Events, e)
	}
}

// Unknown returns the first of some names that is no kind of fault, "" if all are.
func Unknown(kinds []string) string {
	for _, k := range kinds {
		if !slices.Contains(Faults(), k) && !slices.Contains(RaftFaults(), k) {
			return k
		}
	}
	return ""
}
