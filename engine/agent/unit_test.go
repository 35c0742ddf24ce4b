package agent_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestContainer checks all that a runtime is told of a container, and that the
// template, which is shared with the store, is left as it was.
func TestContainer(t *testing.T) {
	options := &mount.VolumeOptions{
		Labels:       map[string]string{"of": "{{.Task.Slot}}"},
		DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"device": "/{{.Node.ID}}"}},
	}
	template := &state.Template{
		ServiceName: "website", RegistryAuth: "secret",
		Ports: []swarm.PortConfig{{Protocol: network.UDP, TargetPort: 53, PublishedPort: 5353, PublishMode: swarm.PortConfigPublishModeHost}},
		Spec: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{
				Image: "nginx", Labels: map[string]string{"mine": "1", "com.docker.swarm.task": "forged"},
				Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "v", Target: "/v", VolumeOptions: options}},
			},
			Resources: &swarm.ResourceRequirements{Limits: &swarm.Limit{Pids: 9}, Reservations: &swarm.Resources{NanoCPUs: 5}},
			LogDriver: &swarm.Driver{Name: "json-file"},
		},
	}
	c := created(t, template)
	if got := c.Name; got != "website.2.task1" {
		t.Errorf("the container is called %s", got)
	}
	if len(c.ID) != 64 || strings.Trim(c.ID, "0123456789abcdef") != "" {
		t.Errorf("the container's ID is %s", c.ID)
	}
	want := map[string]string{
		"mine":                          "1",
		"com.docker.swarm.node.id":      "node1",
		"com.docker.swarm.service.id":   "service1",
		"com.docker.swarm.service.name": "website",
		"com.docker.swarm.task":         "",
		"com.docker.swarm.task.id":      "task1",
		"com.docker.swarm.task.name":    "website.2.task1",
	}
	for key := range c.Labels {
		if strings.HasPrefix(key, "swarmd.") {
			delete(c.Labels, key)
		}
	}
	if diff := cmp.Diff(want, c.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	got := c.Spec.Mounts[0].VolumeOptions
	if got.Labels["of"] != "2" || got.DriverConfig.Options["device"] != "/node1" {
		t.Errorf("the volume's options are %+v %+v", got, got.DriverConfig)
	}
	if options.Labels["of"] != "{{.Task.Slot}}" || options.DriverConfig.Options["device"] != "/{{.Node.ID}}" {
		t.Error("expansion wrote into the template")
	}
	if c.Limits.Pids != 9 || c.Reserved.NanoCPUs != 5 || c.LogDriver.Name != "json-file" {
		t.Errorf("the container has limits %+v, reserves %+v, logs to %+v", c.Limits, c.Reserved, c.LogDriver)
	}
}

// created brings a task as far as its container.
func created(t *testing.T, template *state.Template) agent.Container {
	t.Helper()
	now := time.Unix(1000, 0)
	a := agent.New(agent.Config{Gateway: netip.MustParsePrefix("10.0.0.1/24")})
	a.Identify("node1")
	a.Found(nil, now)
	a.Assign(wire.Assign{Full: true, Tasks: []wire.Assignment{{Template: template, Task: &state.Task{
		ID: "task1", Service: "service1", Slot: 2, Node: "node1", Desired: state.TaskRunning,
		Status: state.TaskStatus{State: state.TaskAssigned},
	}}}}, now)
	for range 3 {
		a.Tick(now)
		out := a.Drain(1)
		for _, o := range out.Orders {
			if c, ok := o.(agent.Create); ok {
				return c.Container
			}
		}
		a.Pulled("task1", nil, now)
		if out.NetworkChanged {
			a.Networked(out.Generation, nil, nil, now)
		}
	}
	t.Fatal("no container was asked for")
	return agent.Container{}
}

// TestTemplatesAreBounded checks that what a template may cost is refused, in
// words that say why.
func TestTemplatesAreBounded(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{{.Task.Name}}", ""},
		{`{{join "-" .Task.Slot .Node.ID}}`, ""},
		{"{{range .Service.Labels}}{{.}}{{end}}", ""},
		{"{{range .Service.Labels}}{{range .}}{{end}}{{end}}", "a template may loop over .Service.Labels only"},
		{`{{range printf "%d" 9}}{{end}}`, "a template may loop over .Service.Labels only"},
		{`{{define "x"}}y{{end}}z`, "a template may not define others"},
		{`{{printf "%*d" 99999 1}}`, "width or precision too large"},
		{"{{.Task.Name", "unclosed action"},
		{"{{/*" + strings.Repeat("x", 20<<10) + "*/}}", "a template may have at most 16384 bytes"},
		{strings.Repeat("{{if true}}", 80) + strings.Repeat("{{end}}", 80), "a template may not nest so deep"},
		{"{{.Service.Label}}", "can't evaluate field Label"},
	} {
		now := time.Unix(1000, 0)
		a := agent.New(agent.Config{Self: "node1", Gateway: netip.MustParsePrefix("10.0.0.1/24")})
		a.Found(nil, now)
		template := &state.Template{ServiceName: "s", Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Hostname: c.text}}}
		a.Assign(wire.Assign{Tasks: []wire.Assignment{{Template: template, Task: &state.Task{
			ID: "t", Desired: state.TaskRunning,
			Status: state.TaskStatus{State: state.TaskAssigned},
		}}}}, now)
		a.Tick(now)
		status := a.Drain(1).Statuses[0].Status
		if refused := status.State == state.TaskRejected; refused != (c.want != "") || !strings.Contains(status.Err, c.want) {
			t.Errorf("%.60s: %s %q, want %q", c.text, status.State, status.Err, c.want)
		}
	}
}

// TestHealthOfImage checks which health check a container has, of the service's
// and its image's.
func TestHealthOfImage(t *testing.T) {
	image := &container.HealthConfig{Test: []string{"CMD-SHELL", "curl localhost"}, Interval: 7 * time.Second}
	for _, c := range []struct {
		name        string
		spec, image *container.HealthConfig
		want        string
	}{
		{"neither", nil, nil, "none"},
		{"image", nil, image, "[CMD-SHELL curl localhost] 7s"},
		{"inherited", &container.HealthConfig{Retries: 9}, image, "[CMD-SHELL curl localhost] 7s"},
		{"own interval", &container.HealthConfig{Interval: time.Second}, image, "[CMD-SHELL curl localhost] 1s"},
		{"own", &container.HealthConfig{Test: []string{"CMD", "true"}}, nil, "[CMD true] 30s"},
		{"disabled", &container.HealthConfig{Test: []string{"NONE"}}, image, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := firstProbe(c.spec, c.image); got != c.want {
				t.Errorf("the first probe is %s, want %s", got, c.want)
			}
		})
	}
}

// firstProbe tells what the first probe of a running container is, and when.
func firstProbe(spec, image *container.HealthConfig) string {
	now := time.Unix(1000, 0)
	a := agent.New(agent.Config{Self: "n", Gateway: netip.MustParsePrefix("10.0.0.1/24")})
	a.Found(nil, now)
	template := &state.Template{ServiceName: "s", Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Healthcheck: spec}}}
	a.Assign(wire.Assign{Tasks: []wire.Assignment{{Template: template, Task: &state.Task{
		ID: "t", Desired: state.TaskRunning,
		Status: state.TaskStatus{State: state.TaskAssigned},
	}}}}, now)
	step := func() agent.Output { a.Tick(now); return a.Drain(1) }
	step()
	a.Pulled("t", nil, now)
	a.Networked(step().Generation, nil, nil, now)
	step()
	a.Created("t", image, nil, now)
	step()
	a.Started("t", 1, nil, now)
	out := step()
	if out.Wake.IsZero() {
		return "none"
	}
	began := now
	now = out.Wake
	probe := step().Orders[0].(agent.Probe)
	return fmt.Sprintf("%v %s", probe.Command, now.Sub(began))
}

// BenchmarkExit is one exit and its replacement's whole way to running on a node
// of 1000 tasks: what is done must not depend on how many others there are, but
// for the plan of the network, which lists them.
func BenchmarkExit(b *testing.B) {
	for _, tasks := range []int{10, 1000} {
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			n := newBusyNode(tasks)
			for i := 0; b.Loop(); i++ {
				n.agent.Exited(id(i), 1, false, nil, n.now)
				n.agent.Assign(wire.Assign{Gone: []state.TaskID{id(i)}, Tasks: []wire.Assignment{n.task(i + tasks)}}, n.now)
				n.settle()
			}
		})
	}
}

// BenchmarkIdle is a step of a node on which nothing happens.
func BenchmarkIdle(b *testing.B) {
	n := newBusyNode(1000)
	for b.Loop() {
		n.agent.Tick(n.now)
		n.agent.Drain(1)
	}
}

// A busyNode is a node on which everything succeeds at once.
type busyNode struct {
	agent    *agent.Agent
	now      time.Time
	template *state.Template
}

func id(i int) state.TaskID { return state.TaskID(fmt.Sprintf("task%06d", i)) }

func newBusyNode(tasks int) *busyNode {
	n := &busyNode{
		agent:    agent.New(agent.Config{Self: "n", Gateway: netip.MustParsePrefix("172.31.0.1/16")}),
		now:      time.Unix(1000, 0),
		template: &state.Template{ServiceName: "s", Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx"}}},
	}
	n.agent.Found(nil, n.now)
	m := wire.Assign{Full: true}
	for i := range tasks {
		m.Tasks = append(m.Tasks, n.task(i))
	}
	n.agent.Assign(m, n.now)
	n.settle()
	return n
}

func (n *busyNode) task(i int) wire.Assignment {
	return wire.Assignment{Template: n.template, Task: &state.Task{
		ID: id(i), Slot: 1, Desired: state.TaskRunning,
		Status: state.TaskStatus{State: state.TaskAssigned},
	}}
}

func (n *busyNode) settle() {
	for {
		n.agent.Tick(n.now)
		out := n.agent.Drain(1)
		if len(out.Orders) == 0 && !out.NetworkChanged {
			return
		}
		for _, o := range out.Orders {
			switch o := o.(type) {
			case agent.Pull:
				n.agent.Pulled(o.Task, nil, n.now)
			case agent.Create:
				n.agent.Created(o.Container.Task, nil, nil, n.now)
			case agent.Start:
				n.agent.Started(o.Task, 1, nil, n.now)
			case agent.Remove:
				n.agent.Removed(o.Task, nil, n.now)
			case agent.Stop, agent.Probe:
			}
		}
		if out.NetworkChanged {
			n.agent.Networked(out.Generation, nil, nil, n.now)
		}
	}
}
