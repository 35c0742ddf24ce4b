package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// A fixture is a small swarm in which all is well, watched by every oracle, until a
// test plants something.
type fixture struct {
	t *testing.T
	w *sim.World
	c *Checker
}

// newFixture makes a swarm of two managers and two workers, none of which has come
// to do anything.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	config := sim.Config{Seed: 1, SnapshotEntries: 1000}
	for i := range 4 {
		config.Hosts = append(config.Hosts, sim.HostConfig{Name: fmt.Sprintf("h%d", i+1), Manager: i < 2, NodeLabels: map[string]string{"zone": "a"}})
	}
	w, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, w, Watch(w, All()...)}
}

// live is a fixture that runs three tasks of a service, web, whose port 8080 is
// published.
func live(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.w.Until(10*time.Second, func() bool { return f.w.Leader() != nil })
	spec := serviceSpec("web", 3)
	spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeIngress}}}
	f.w.Call(f.w.Leader(), control.ServiceCreate{Spec: spec}, func(control.Answer) {})
	f.w.Run(f.w.Now() + 30*time.Second)
	if n := len(f.tasks("web")); n != 3 || f.tasks("web")[0].Status.State != state.TaskRunning {
		t.Fatalf("web has %d tasks", n)
	}
	f.clean()
	return f
}

func serviceSpec(name string, replicas uint64) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx"}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
}

// clean fails the test if anything is broken yet.
func (f *fixture) clean() {
	f.t.Helper()
	if v := f.w.Violations(); len(v) > 0 {
		f.t.Fatalf("broken before anything was planted: %s: %s", v[0].Sentence, v[0].Text)
	}
}

// breaks fails the test unless the sentences of these numbers are broken, and no
// others.
func (f *fixture) breaks(numbers ...string) {
	f.t.Helper()
	var have []string
	for _, v := range f.w.Violations() {
		number, _, _ := strings.Cut(v.Sentence, " ")
		if !slices.Contains(have, number) {
			have = append(have, number)
		}
	}
	slices.Sort(have)
	slices.Sort(numbers)
	if !slices.Equal(have, numbers) {
		f.t.Errorf("%v are broken, want %v", have, numbers)
		for _, v := range f.w.Violations() {
			f.t.Logf("%s: %s", v.Sentence, v.Text)
		}
	}
}

// commit has the log say something that no engine has decided.
func (f *fixture) commit(change func(d *state.Draft)) {
	d := f.c.Store.Draft()
	change(d)
	f.append(state.Entry{Changes: d.Changes()})
}

// raw puts a task as no draft would let it be put.
func (f *fixture) raw(t *state.Task, change func(*state.Task)) {
	c := *t
	change(&c)
	f.append(state.Entry{Changes: []state.Change{{Key: state.Key{Kind: state.KindTask, ID: string(c.ID)}, Data: state.AppendTask(nil, &c)}}})
}

func (f *fixture) append(e state.Entry) {
	e.Base = f.c.Store.Index()
	f.c.apply(f.c.Store.Index()+1, e)
}

// oracle returns the watching oracle of a type.
func oracle[T Oracle](f *fixture) T {
	for _, o := range f.c.oracles {
		if x, ok := o.(T); ok {
			return x
		}
	}
	f.t.Fatal("no such oracle watches")
	panic("unreachable")
}

// rest has one oracle look at rest.
func rest[T Oracle](f *fixture) { any(oracle[T](f)).(Rester).AtRest(f.c) }

func (f *fixture) node(host string) *state.Node { return f.c.View().Node(f.w.Host(host).ID) }

func (f *fixture) service(name string) *state.Service { return f.c.View().ServiceByName(name) }

func (f *fixture) tasks(service string) []*state.Task {
	return slices.Collect(f.c.View().TasksOf(f.service(service).ID))
}

// setNode changes a node.
func (f *fixture) setNode(host string, change func(*state.Node)) {
	f.commit(func(d *state.Draft) {
		n := *d.Node(f.w.Host(host).ID)
		change(&n)
		d.PutNode(&n)
	})
}

// setService changes a service, which gets another version if its user did it.
func (f *fixture) setService(name string, change func(*state.Service)) {
	f.commit(func(d *state.Draft) {
		s := *d.ServiceByName(name)
		change(&s)
		d.PutService(&s)
	})
}

// setTask changes a task.
func (f *fixture) setTask(t *state.Task, change func(*state.Task)) {
	f.commit(func(d *state.Draft) {
		c := *d.Task(t.ID)
		change(&c)
		d.PutTask(&c)
	})
}

// addService has the log make a service, without any task.
func (f *fixture) addService(name string, change func(*state.Service)) *state.Service {
	f.commit(func(d *state.Draft) {
		s := &state.Service{
			ID: state.ServiceID("service-" + name), Meta: state.Meta{Version: d.Version()},
			SpecVersion: d.Version(), Spec: serviceSpec(name, 1), Template: d.Version(),
		}
		change(s)
		d.PutService(s)
		d.PutTemplate(templateOf(s))
	})
	return f.service(name)
}

func templateOf(s *state.Service) *state.Template {
	return &state.Template{Service: s.ID, Version: s.Template, ServiceName: s.Spec.Name, Spec: s.Spec.TaskTemplate, Ports: s.Ports}
}

// addTask has the log make a task, as the scheduler would have it placed if host
// is not "".
func (f *fixture) addTask(s *state.Service, id state.TaskID, host string, change func(*state.Task)) *state.Task {
	f.commit(func(d *state.Draft) { f.draftTask(d, s, id, host, change) })
	return f.c.View().Task(id)
}

func (f *fixture) draftTask(d *state.Draft, s *state.Service, id state.TaskID, host string, change func(*state.Task)) {
	t := &state.Task{ID: id, Service: s.ID, Slot: 1, Template: s.Template, Desired: state.TaskRunning, Meta: state.Meta{Created: state.Wall(d.Version())}}
	if host != "" {
		t.Node, t.Status.State = f.w.Host(host).ID, state.TaskAssigned
	}
	if change != nil {
		change(t)
	}
	d.PutTask(t)
}

// ran has a container of the task begin to run.
func (f *fixture) ran(task state.TaskID, host string, address string) *sim.Container {
	x := &sim.Container{Task: task, Host: f.w.Host(host), Running: true, Started: f.w.Now(), Address: addr(address)}
	f.c.Ran(x)
	return x
}
