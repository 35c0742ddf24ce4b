package check_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
)

var (
	runs  = flag.Int("runs", 200, "how many random runs")
	first = flag.Uint64("first", 1, "the seed of the first")
	trace = flag.String("trace", "", "a file for the trace; of one run only")
)

// patience is how long a healed core may take to come to rest.
const patience = 2 * time.Hour

// In random swarms users ask for random things while random things go wrong. No
// sentence is ever broken; and once a core of the swarm is healed and the rest
// broken for good, the core does all that it was asked to.
func TestRandom(t *testing.T) {
	seen := map[string]uint64{}
	broken := map[string][]uint64{}
	for i := range *runs {
		seed := *first + uint64(i)
		s := newStorm(t, seed)
		s.run()
		for name, n := range s.w.Probes() {
			seen[name] += n
		}
		for _, v := range s.w.Violations()[:min(3, len(s.w.Violations()))] {
			if len(broken[v.Sentence]) == 0 || *runs == 1 {
				t.Errorf("seed %d, at %v: %s\n\t%s", seed, v.At, v.Sentence, v.Text)
			}
			broken[v.Sentence] = append(broken[v.Sentence], seed)
		}
	}
	for sentence, seeds := range broken {
		t.Errorf("%s: seeds %v", sentence, seeds)
	}
	if *runs >= 200 {
		for _, name := range check.Unreached(seen) {
			t.Logf("never reached: %s", name)
		}
	}
}

// The same seed gives the same run, to the byte.
func TestRandomRepeats(t *testing.T) {
	var sums []string
	for range 2 {
		s := newStorm(t, 7)
		s.run()
		sums = append(sums, s.w.Trace().Sum())
	}
	if sums[0] != sums[1] {
		t.Errorf("two runs of one seed have the traces %s and %s", sums[0], sums[1])
	}
}

// A storm is a random run. Whatever it draws comes from the stream of what it is
// drawn for.
type storm struct {
	w       *sim.World
	c       *check.Checker
	shape   *sim.Stream
	over    bool // users ask for nothing more, and nothing more goes wrong
	removed []*sim.Host
	user    *user
}

func newStorm(t *testing.T, seed uint64) *storm {
	t.Helper()
	config := sim.Config{Seed: seed, Images: images()}
	shape := sim.NewStream(seed, "shape")
	managers, workers := 1+shape.N(5), shape.N(11)
	for i := range managers + workers {
		h := sim.HostConfig{Name: fmt.Sprintf("m%d", i+1), Manager: true}
		if i >= managers {
			h = sim.HostConfig{Name: fmt.Sprintf("w%d", i-managers+1)}
		}
		h.CPUs, h.MemoryBytes = 1+shape.N(4), int64(1+shape.N(4))<<30
		h.NodeLabels = map[string]string{"zone": sim.Pick(shape, []string{"a", "b"})}
		config.Hosts = append(config.Hosts, h)
	}
	if *trace != "" {
		f, err := os.Create(*trace)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		config.Trace = f
	}
	w, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{w: w, c: check.Watch(w, check.All()...), shape: shape}
	s.user = &user{storm: s, draws: w.Stream("user")}
	return s
}

// images are what services run.
func images() map[string]sim.Image {
	return map[string]sim.Image{
		"good:1":     {},
		"good:2":     {StartTime: 2 * time.Second},
		"good:3":     {StopTime: 3 * time.Second, PullTime: 4 * time.Second},
		"stubborn:1": {Stubborn: true},
		"healthy:1":  {Healthy: 5 * time.Second},
		"crash:1":    {Exits: true, RunTime: 4 * time.Second, Codes: []int{1, 137}},
		"crash:2":    {StartFail: 0.5},
		"flaky:1":    {CreateFail: 0.3, Flaps: 0.2},
		"missing:1":  {Missing: true},
		"done:1":     {Exits: true, RunTime: 5 * time.Second},
		"done:2":     {Exits: true, RunTime: 5 * time.Second, Codes: []int{0, 0, 1}},
	}
}

func (s *storm) run() {
	defer func() { _ = s.w.Trace().Sum() }() // all of the trace is written
	s.user.plan()
	s.faults()
	if !s.w.Run(s.shape.Between(30*time.Second, 5*time.Minute)) {
		return
	}
	s.over = true
	check.Settle(s.c, s.core(), patience)
}

// core draws which hosts are healed; the others are broken for good.
func (s *storm) core() []*sim.Host {
	var managers, workers []*sim.Host
	for _, h := range s.w.Hosts {
		switch {
		case h.Manager:
			managers = append(managers, h)
		case !slices.Contains(s.removed, h):
			workers = append(workers, h)
		}
	}
	lost := append([]*sim.Host{}, s.removed...)
	if s.shape.Chance(0.5) {
		sim.Shuffle(s.shape, managers)
		sim.Shuffle(s.shape, workers)
		m, k := s.shape.N((len(managers)+1)/2), s.shape.N(len(workers)/2+1)
		lost = append(lost, managers[:m]...)
		lost = append(lost, workers[:k]...)
		managers, workers = managers[m:], workers[k:]
	}
	for _, h := range lost {
		switch s.shape.N(4) {
		case 0:
			h.Kill()
		case 1:
			h.PowerOff()
		case 2:
			h.Pause()
		}
	}
	return append(managers, workers...)
}

// A user asks managers for things, as a person with the CLI would.
type user struct {
	*storm
	draws *sim.Stream
	names int
	ops   int
}

// plan has the user do something every few seconds.
func (u *user) plan() {
	mean := sim.Pick(u.draws, []time.Duration{3 * time.Second, 10 * time.Second, 30 * time.Second})
	var next func()
	next = func() {
		if u.over {
			return
		}
		u.act()
		u.w.At(u.w.Now()+u.draws.Exponential(mean), next)
	}
	u.w.At(u.draws.Between(0, 10*time.Second), next)
}

// at draws the manager that the user talks to.
func (u *user) at() *sim.Host {
	var managers []*sim.Host
	for _, h := range u.w.Hosts {
		if h.Manager {
			managers = append(managers, h)
		}
	}
	return sim.Pick(u.draws, managers)
}

func (u *user) act() {
	what := sim.Pick(u.draws, []string{
		"create", "create", "create", "update", "update", "update", "scale", "scale", "rm", "rollback", "rollback", "node", "node", "node rm",
	})
	u.w.Note("user:", what)
	switch what {
	case "create":
		u.create()
	case "update":
		u.revise(func(c *control.ServiceUpdate) { u.template(&c.Spec) })
	case "scale":
		u.revise(func(c *control.ServiceUpdate) { u.scale(&c.Spec) })
	case "rollback":
		u.revise(func(c *control.ServiceUpdate) { c.Rollback = "previous" })
	case "rm":
		u.w.Call(u.at(), control.ServiceRemove{Ref: u.name()}, func(control.Answer) {})
	case "node":
		u.node()
	case "node rm":
		u.nodeRemove()
	}
}

func (u *user) name() string { return fmt.Sprintf("s%d", u.draws.N(6)) }

// operation is the label of a write, that of no other.
func (u *user) operation() string {
	u.ops++
	return fmt.Sprintf("op-%d", u.ops)
}

// revise reads a service and writes it back changed.
func (u *user) revise(change func(*control.ServiceUpdate)) {
	at := u.at()
	u.w.Call(at, control.ServiceInspect{Ref: u.name()}, func(a control.Answer) {
		found, ok := a.(control.Services)
		if !ok || u.over || len(found.Services) == 0 {
			return
		}
		s := found.Services[0]
		c := control.ServiceUpdate{Ref: string(s.ID), Version: s.SpecVersion, Spec: cloneSpec(s.Spec)}
		change(&c)
		c.Spec.Labels = map[string]string{check.OperationLabel: u.operation()}
		twice := u.draws.Chance(0.2)
		u.w.Call(at, c, func(control.Answer) {})
		if twice { // two clients have read the same version
			c.Spec = cloneSpec(c.Spec)
			c.Spec.Labels = map[string]string{check.OperationLabel: u.operation()}
			u.w.Call(u.at(), c, func(control.Answer) {})
		}
	})
}

func (u *user) nodeRemove() {
	var workers []*sim.Host
	for _, h := range u.w.Hosts {
		if !h.Manager && !slices.Contains(u.removed, h) {
			workers = append(workers, h)
		}
	}
	if len(workers) == 0 || !u.draws.Chance(0.3) {
		return
	}
	h := sim.Pick(u.draws, workers)
	u.removed = append(u.removed, h) // whatever the answer: it may be lost
	u.w.Call(u.at(), control.NodeRemove{Ref: string(h.ID), Force: u.draws.Chance(0.5)}, func(control.Answer) {})
}

func (s *storm) String() string {
	var lines []string
	for _, v := range s.w.Violations() {
		lines = append(lines, v.Sentence+": "+v.Text)
	}
	return strings.Join(lines, "\n")
}
