package check_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
)

func cloneSpec(s swarm.ServiceSpec) swarm.ServiceSpec {
	var c swarm.ServiceSpec
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		panic(err)
	}
	return c
}

// create asks for a service of a random kind.
func (u *user) create() {
	u.names++
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: u.name(), Labels: map[string]string{check.OperationLabel: u.operation()}}}
	switch u.draws.N(8) {
	case 0, 1:
		spec.Mode.Global = &swarm.GlobalService{}
	case 2:
		spec.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: new(uint64(1 + u.draws.N(3))), TotalCompletions: new(uint64(u.draws.N(6)))}
	case 3:
		spec.Mode.GlobalJob = &swarm.GlobalJob{}
	default:
		spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: new(uint64(u.draws.N(7)))}
	}
	u.template(&spec)
	u.w.Call(u.at(), control.ServiceCreate{Spec: spec}, func(control.Answer) {})
}

func isJob(s *swarm.ServiceSpec) bool { return s.Mode.ReplicatedJob != nil || s.Mode.GlobalJob != nil }

// template draws what tasks are made of, and how they are restarted and updated.
func (u *user) template(s *swarm.ServiceSpec) {
	d := u.draws
	images := []string{"good:1", "good:1", "good:2", "good:2", "good:3", "good:3", "stubborn:1", "healthy:1", "crash:1", "crash:2", "flaky:1", "missing:1"}
	if isJob(s) {
		images = []string{"done:1", "done:1", "done:2", "good:1", "crash:1"}
	}
	t := &s.TaskTemplate
	c := &swarm.ContainerSpec{Image: sim.Pick(d, images)}
	if c.Image == "healthy:1" || c.Image == "flaky:1" {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: 2 * time.Second, Timeout: time.Second, Retries: 5}
	}
	if d.Chance(0.3) {
		c.StopGracePeriod = new(d.Between(time.Second, 20*time.Second))
	}
	t.ContainerSpec = c
	t.ForceUpdate++
	t.Placement, t.Resources, t.RestartPolicy = nil, nil, nil
	if d.Chance(0.3) {
		t.Placement = &swarm.Placement{Constraints: []string{sim.Pick(d, []string{"node.labels.zone==a", "node.labels.zone!=a", "node.role==manager", "node.role!=manager"})}}
	}
	if d.Chance(0.2) && s.Mode.Replicated != nil {
		if t.Placement == nil {
			t.Placement = &swarm.Placement{}
		}
		t.Placement.MaxReplicas = uint64(1 + d.N(2))
	}
	if d.Chance(0.3) {
		t.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: int64(d.N(8)) * 250e6, MemoryBytes: int64(d.N(4)) << 29}}
	}
	if d.Chance(0.5) {
		t.RestartPolicy = &swarm.RestartPolicy{Delay: new(d.Between(0, 8*time.Second))}
		t.RestartPolicy.Condition = sim.Pick(d, []swarm.RestartPolicyCondition{"", "any", "on-failure", "none"})
		if isJob(s) && t.RestartPolicy.Condition == "any" {
			t.RestartPolicy.Condition = "on-failure"
		}
		if d.Chance(0.3) {
			t.RestartPolicy.MaxAttempts = new(uint64(1 + d.N(4)))
			if d.Chance(0.3) {
				t.RestartPolicy.Window = new(d.Between(5*time.Second, time.Minute))
			}
		}
	}
	s.EndpointSpec = nil
	if d.Chance(0.3) && !isJob(s) {
		p := swarm.PortConfig{TargetPort: 80, Protocol: "tcp", PublishMode: swarm.PortConfigPublishModeIngress}
		switch d.N(4) {
		case 0:
			p.PublishedPort = uint32(8080 + d.N(3))
		case 1:
			p.PublishMode, p.PublishedPort = swarm.PortConfigPublishModeHost, uint32(9090+d.N(3))
		case 2:
			p.PublishMode = swarm.PortConfigPublishModeHost
		}
		s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{p}}
	}
	if !isJob(s) {
		s.UpdateConfig, s.RollbackConfig = u.config(), u.config()
	}
}

func (u *user) config() *swarm.UpdateConfig {
	d := u.draws
	if d.Chance(0.2) {
		return nil
	}
	c := &swarm.UpdateConfig{
		Parallelism:     uint64(d.N(4)),
		FailureAction:   sim.Pick(d, []swarm.FailureAction{"pause", "continue", "rollback"}),
		Order:           sim.Pick(d, []swarm.UpdateOrder{"stop-first", "start-first"}),
		MaxFailureRatio: sim.Pick(d, []float32{0, 0, 0.3, 0.6}),
	}
	if d.Chance(0.4) {
		c.Delay = d.Between(time.Second, 10*time.Second)
	}
	if d.Chance(0.4) {
		c.Monitor = d.Between(time.Second, 15*time.Second)
	}
	return c
}

func (u *user) scale(s *swarm.ServiceSpec) {
	switch {
	case s.Mode.Replicated != nil:
		s.Mode.Replicated.Replicas = new(uint64(u.draws.N(9)))
	case s.Mode.ReplicatedJob != nil:
		s.Mode.ReplicatedJob.TotalCompletions = new(uint64(u.draws.N(6)))
	}
}

// node changes a node's availability, or its labels.
func (u *user) node() {
	at := u.at()
	h := sim.Pick(u.draws, u.w.Hosts)
	u.w.Call(at, control.NodeInspect{Ref: string(h.ID)}, func(a control.Answer) {
		found, ok := a.(control.Nodes)
		if !ok || u.over || len(found.Nodes) == 0 {
			return
		}
		n := found.Nodes[0]
		spec := n.Spec
		spec.Labels = map[string]string{"zone": n.Spec.Labels["zone"]}
		switch u.draws.N(6) {
		case 0, 1:
			spec.Availability = swarm.NodeAvailabilityDrain
		case 2:
			spec.Availability = swarm.NodeAvailabilityPause
		case 3:
			spec.Labels["zone"] = sim.Pick(u.draws, []string{"a", "b"})
		default:
			spec.Availability = swarm.NodeAvailabilityActive
		}
		u.w.Call(at, control.NodeUpdate{Ref: string(n.ID), Version: n.SpecVersion, Spec: spec}, func(control.Answer) {})
	})
}

// diskPatience is how long a daemon waits for its disk before it ends itself.
const diskPatience = 15 * time.Second

// A fault goes wrong at a host, and returns what makes it right again.
type fault struct {
	name string
	do   func(s *storm, d *sim.Stream, h *sim.Host) (undo func())
}

// faults has each kind of fault happen now and then, or not at all in this run.
func (s *storm) faults() {
	for _, f := range faults() {
		d := s.w.Stream("fault/" + f.name)
		if d.Chance(0.5) {
			continue
		}
		mean := sim.Pick(d, []time.Duration{15 * time.Second, 40 * time.Second, 2 * time.Minute})
		length := sim.Pick(d, []time.Duration{time.Second, 5 * time.Second, 20 * time.Second})
		var next func()
		next = func() {
			if s.over {
				return
			}
			h := sim.Pick(d, s.w.Hosts)
			if leader := s.w.Leader(); leader != nil && d.Chance(0.5) {
				h = leader
			}
			s.w.Note("fault:", f.name, h.Name)
			undo := f.do(s, d, h)
			s.w.At(s.w.Now()+d.Exponential(length), func() {
				if !s.over && undo != nil {
					s.w.Note("fault over:", f.name, h.Name)
					undo()
				}
			})
			s.w.At(s.w.Now()+d.Exponential(mean), next)
		}
		s.w.At(d.Exponential(mean), next)
	}
}

func faults() []fault {
	list := []fault{
		{"kill", func(_ *storm, _ *sim.Stream, h *sim.Host) func() { h.Kill(); return h.Start }},
		{"power", func(_ *storm, _ *sim.Stream, h *sim.Host) func() { h.PowerOff(); return h.Start }},
		{"power all", func(s *storm, _ *sim.Stream, _ *sim.Host) func() {
			for _, h := range s.w.Hosts {
				h.PowerOff()
			}
			return func() {
				for _, h := range s.w.Hosts {
					h.Start()
				}
			}
		}},
		{"pause", func(_ *storm, _ *sim.Stream, h *sim.Host) func() { h.Pause(); return h.Resume }},
		{"suspend", func(s *storm, _ *sim.Stream, h *sim.Host) func() {
			if !h.Up() {
				return nil
			}
			s.c.Skew()
			h.Suspend()
			return h.Wakeup
		}},
		{"wall", func(s *storm, d *sim.Stream, h *sim.Host) func() {
			s.c.Skew()
			by := d.Between(-time.Hour, time.Hour)
			h.SetWall(by)
			return func() { h.SetWall(-by) }
		}},
		{"drift", func(s *storm, d *sim.Stream, h *sim.Host) func() {
			s.c.Skew()
			h.SetDrift(d.N(200_001) - 100_000)
			return func() { h.SetDrift(0) }
		}},
		{"mishaps", func(_ *storm, d *sim.Stream, h *sim.Host) func() {
			h.SetMishaps(func(m *sim.Mishaps) {
				for _, p := range []*float64{&m.PullFail, &m.TimedOut, &m.ExitLost, &m.ExitTwice, &m.Slow, &m.CreateFail, &m.Crash} {
					*p = sim.Pick(d, []float64{0, 0, 0.1, 0.5})
				}
			})
			return h.ClearMishaps
		}},
		{"runtime", func(_ *storm, d *sim.Stream, h *sim.Host) func() {
			h.LoseRuntime(d.Between(time.Second, 20*time.Second))
			return nil
		}},
		{"slow disk", func(_ *storm, d *sim.Stream, h *sim.Host) func() {
			h.SetDisk(d.Between(10*time.Millisecond, 2*time.Second), false)
			return func() { h.SetDisk(0, false) }
		}},
		{"stuck disk", func(s *storm, _ *sim.Stream, h *sim.Host) func() {
			h.SetDisk(0, true)
			stuck := true
			s.w.At(s.w.Now()+diskPatience, func() {
				if stuck && !s.over {
					h.Kill()
				}
			})
			return func() {
				stuck = false
				h.SetDisk(0, false)
				h.Start()
			}
		}},
		{"exit", func(_ *storm, d *sim.Stream, h *sim.Host) func() {
			var live []*sim.Container
			for x := range h.Live() {
				live = append(live, x)
			}
			if len(live) > 0 {
				h.EndContainer(sim.Pick(d, live).Task, d.N(2), d.Chance(0.2))
			}
			return nil
		}},
		{"isolate", func(s *storm, _ *sim.Stream, h *sim.Host) func() {
			return s.paths(h, nil, true, func(p *sim.Path) { p.Cut = true })
		}},
	}
	for name, change := range map[string]func(*sim.Path){
		"cut":   func(p *sim.Path) { p.Cut = true },
		"clog":  func(p *sim.Path) { p.Clogged = true },
		"loss":  func(p *sim.Path) { p.Loss = 0.4 },
		"twice": func(p *sim.Path) { p.Twice = 0.3 },
		"late":  func(p *sim.Path) { p.Late = 0.1 },
		"slow":  func(p *sim.Path) { p.Delay, p.Jitter = 300*time.Millisecond, 300*time.Millisecond },
	} {
		list = append(list, fault{name, func(s *storm, d *sim.Stream, h *sim.Host) func() {
			return s.paths(h, sim.Pick(d, s.w.Hosts), d.Chance(0.5), change)
		}})
	}
	return sortedFaults(list)
}

// paths changes the path from one host to another (nil is all others), and the way
// back if both is set.
func (s *storm) paths(h, other *sim.Host, both bool, change func(*sim.Path)) func() {
	each := func(change func(*sim.Path)) {
		for _, o := range s.w.Hosts {
			if o == h || other != nil && o != other {
				continue
			}
			s.w.SetPath(h, o, change)
			if both {
				s.w.SetPath(o, h, change)
			}
		}
	}
	each(change)
	return func() {
		for _, o := range s.w.Hosts {
			if o != h && (other == nil || o == other) {
				s.w.Heal(h, o)
				s.w.Heal(o, h)
			}
		}
	}
}

func (f fault) String() string { return fmt.Sprintf("fault %s", f.name) }

func sortedFaults(list []fault) []fault {
	slices.SortFunc(list, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return list
}
