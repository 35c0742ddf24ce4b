package agent_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestScripts runs the stories in testdata. What the agent wants is shown after
// every command.
//
//	service NAME           image, env, hostname, mount, port, host-port, health, grace, signal: a line each
//	assign [full]          task ID SERVICE [slot=1] [desired=running] [status=assigned] / keep ID / gone ID
//	found                  ID running|created|exited [pid=] [code=]: as the node was left
//	pulled, created, removed ID         the input is the error
//	started ID pid=7, exited ID code=1  the same
//	probed ID healthy|sick
//	networked GENERATION   ID: why it failed / error: why all of it failed
//	tick 5s, restart, reconnect, labels ID
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			w := newWorld()
			datadriven.RunTest(t, path, w.run)
		})
	}
}

// run carries out a command and shows what came of it.
func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	if err := w.command(d); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if d.Cmd == "labels" {
		return w.labels(d.CmdArgs[0].Key)
	}
	w.agent.Tick(w.now)
	return w.show(w.agent.Drain(w.wall()))
}

// A world is a node as its agent sees it.
type world struct {
	agent    *agent.Agent
	now      time.Time
	services map[string]*state.Template
	made     map[state.TaskID]agent.Container
}

func newWorld() *world {
	w := &world{
		now:      time.Unix(1000, 0).UTC(),
		services: make(map[string]*state.Template),
		made:     make(map[state.TaskID]agent.Container),
	}
	w.restart()
	return w
}

func (w *world) wall() state.Wall { return state.Wall(w.now.UnixNano()) }

func (w *world) restart() {
	w.agent = agent.New(agent.Config{
		Self: "node1", Hostname: "host1",
		Platform: swarm.Platform{Architecture: "x86_64", OS: "linux"},
		Gateway:  netip.MustParsePrefix("172.31.0.1/29"),
	})
}

func (w *world) command(d *datadriven.TestData) error {
	var id state.TaskID
	if len(d.CmdArgs) > 0 {
		id = state.TaskID(d.CmdArgs[0].Key)
	}
	var err error
	if d.Input != "" {
		err = errors.New(d.Input)
	}
	switch d.Cmd {
	case "service":
		return w.service(string(id), d.Input)
	case "assign":
		return w.assign(id == "full", d.Input)
	case "found":
		return w.found(d.Input)
	case "pulled":
		w.agent.Pulled(id, err, w.now)
	case "created":
		w.agent.Created(id, nil, err, w.now)
	case "started":
		w.agent.Started(id, number(d, "pid"), err, w.now)
	case "exited":
		w.agent.Exited(id, number(d, "code"), false, err, w.now)
	case "removed":
		w.agent.Removed(id, err, w.now)
	case "probed":
		w.agent.Probed(id, d.CmdArgs[1].Key == "healthy", "", w.now)
	case "networked":
		return w.networked(string(id), d.Input)
	case "tick":
		duration, err := time.ParseDuration(string(id))
		w.now = w.now.Add(duration)
		return err
	case "restart":
		w.restart()
	case "reconnect":
		w.agent.Reconnect(w.now)
	case "labels":
	default:
		return fmt.Errorf("unknown command %s", d.Cmd)
	}
	return nil
}

func number(d *datadriven.TestData, key string) int {
	for _, arg := range d.CmdArgs {
		if arg.Key == key && len(arg.Vals) == 1 {
			n, _ := strconv.Atoi(arg.Vals[0])
			return n
		}
	}
	return 0
}

// service notes what the tasks of a service are made from.
func (w *world) service(name, input string) error {
	spec := &swarm.ContainerSpec{}
	t := &state.Template{
		Service: state.ServiceID("id-" + name), Version: 1, ServiceName: name,
		ServiceLabels: map[string]string{"tier": "front"}, Spec: swarm.TaskSpec{ContainerSpec: spec},
	}
	for line := range strings.Lines(input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "image":
			spec.Image = value
		case "env":
			spec.Env = append(spec.Env, value)
		case "hostname":
			spec.Hostname = value
		case "mount":
			source, target, _ := strings.Cut(value, " ")
			spec.Mounts = append(spec.Mounts, mount.Mount{Type: mount.TypeVolume, Source: source, Target: target})
		case "port", "host-port":
			var p swarm.PortConfig
			p.Protocol, p.PublishMode = network.TCP, swarm.PortConfigPublishModeIngress
			if key == "host-port" {
				p.PublishMode = swarm.PortConfigPublishModeHost
			}
			_, err = fmt.Sscanf(value, "%d:%d", &p.PublishedPort, &p.TargetPort)
			t.Ports = append(t.Ports, p)
		case "health":
			spec.Healthcheck, err = healthOf(value)
		case "signal":
			spec.StopSignal = value
		case "grace":
			var grace time.Duration
			grace, err = time.ParseDuration(value)
			spec.StopGracePeriod = &grace
		default:
			err = fmt.Errorf("unknown setting %q", key)
		}
		if err != nil {
			return err
		}
	}
	w.services[name] = t
	return nil
}

// healthOf reads "true retries=2 interval=5s start-period=10s".
func healthOf(text string) (*container.HealthConfig, error) {
	words := strings.Fields(text)
	c := &container.HealthConfig{Test: []string{"CMD", words[0]}}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if key == "retries" {
			c.Retries, _ = strconv.Atoi(value)
			continue
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, err
		}
		switch key {
		case "interval":
			c.Interval = d
		case "start-period":
			c.StartPeriod = d
		case "start-interval":
			c.StartInterval = d
		}
	}
	return c, nil
}

func (w *world) assign(full bool, input string) error {
	m := wire.Assign{Full: full}
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		id := state.TaskID(words[1])
		switch words[0] {
		case "keep":
			m.Keep = append(m.Keep, id)
		case "gone":
			m.Gone = append(m.Gone, id)
		case "task":
			template := w.services[words[2]]
			t := &state.Task{
				ID: id, Service: template.Service, Slot: 1, Node: "node1", Template: 1,
				Desired: state.TaskRunning, Status: state.TaskStatus{State: state.TaskAssigned},
			}
			for _, word := range words[3:] {
				key, value, _ := strings.Cut(word, "=")
				switch key {
				case "slot":
					t.Slot, _ = strconv.ParseUint(value, 10, 64)
				case "desired":
					t.Desired = stateOf(value)
				case "status":
					t.Status.State = stateOf(value)
					t.Status.Message = "as the leader knows"
				}
			}
			m.Tasks = append(m.Tasks, wire.Assignment{Task: t, Template: template})
		default:
			return fmt.Errorf("unknown assignment %q", line)
		}
	}
	w.agent.Assign(m, w.now)
	return nil
}

func stateOf(word string) state.TaskState {
	for s := range state.TaskOrphaned + 1 {
		if s.String() == word {
			return s
		}
	}
	panic("no task state is called " + word)
}

func (w *world) found(input string) error {
	var list []agent.Found
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		c := w.made[state.TaskID(words[0])]
		f := agent.Found{Task: state.TaskID(words[0]), ID: c.ID, Labels: c.Labels, Address: c.Address}
		switch words[1] {
		case "running":
			f.Running, f.Started = true, true
		case "exited":
			f.Started, f.Finished = true, w.wall()
		}
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			switch key {
			case "pid":
				f.PID = n
			case "code":
				f.ExitCode = n
			}
		}
		list = append(list, f)
	}
	w.agent.Found(list, w.now)
	return nil
}

func (w *world) networked(generation, input string) error {
	n, err := strconv.ParseUint(generation, 10, 64)
	if err != nil {
		return err
	}
	failed := make(map[state.TaskID]string)
	var all error
	for line := range strings.Lines(input) {
		who, why, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if who == "error" {
			all = errors.New(why)
			continue
		}
		failed[state.TaskID(who)] = why
	}
	w.agent.Networked(n, failed, all, w.now)
	return nil
}

func (w *world) labels(id string) string {
	c := w.made[state.TaskID(id)]
	var b strings.Builder
	for _, key := range sortedKeys(c.Labels) {
		fmt.Fprintf(&b, "%s=%s\n", key, c.Labels[key])
	}
	return b.String()
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// show writes what the agent wants, a line each.
func (w *world) show(out agent.Output) string {
	var b strings.Builder
	for _, o := range out.Orders {
		fmt.Fprintln(&b, w.order(o))
	}
	if out.NetworkChanged {
		fmt.Fprintf(&b, "network %d", out.Generation)
		for _, e := range out.Endpoints {
			fmt.Fprintf(&b, " %s=%s", e.Task, e.Address)
			if e.Serving {
				b.WriteString("+")
			}
			for _, p := range e.Ports {
				fmt.Fprintf(&b, "/%d:%d", p.PublishedPort, p.TargetPort)
			}
		}
		b.WriteByte('\n')
	}
	for _, s := range out.Statuses {
		fmt.Fprintf(&b, "status %s %s %q", s.Task, s.Status.State, s.Status.Message)
		if s.Status.Err != "" {
			fmt.Fprintf(&b, " err=%q", s.Status.Err)
		}
		if s.Status.PID != 0 {
			fmt.Fprintf(&b, " pid=%d", s.Status.PID)
		}
		if s.Status.ExitCode != 0 {
			fmt.Fprintf(&b, " code=%d", s.Status.ExitCode)
		}
		for _, p := range s.Status.Ports {
			fmt.Fprintf(&b, " *:%d->%d", p.PublishedPort, p.TargetPort)
		}
		b.WriteByte('\n')
	}
	if !out.Wake.IsZero() {
		fmt.Fprintf(&b, "wake in %s\n", out.Wake.Sub(w.now))
	}
	return b.String()
}

func (w *world) order(o agent.Order) string {
	switch o := o.(type) {
	case agent.Pull:
		return fmt.Sprintf("pull %s %s", o.Task, o.Image)
	case agent.Create:
		w.made[o.Container.Task] = o.Container
		text := fmt.Sprintf("create %s %s %s", o.Container.Task, o.Container.Name, o.Container.Address)
		if o.Container.Spec.Hostname != "" {
			text += " hostname=" + o.Container.Spec.Hostname
		}
		for _, env := range o.Container.Spec.Env {
			text += " " + env
		}
		for _, m := range o.Container.Spec.Mounts {
			text += " " + m.Source + ":" + m.Target
		}
		return text
	case agent.Start:
		return fmt.Sprintf("start %s", o.Task)
	case agent.Probe:
		return fmt.Sprintf("probe %s %s %s within %s", o.Task, o.Health, strings.Join(o.Command, " "), o.Timeout)
	case agent.Stop:
		return strings.TrimSpace(fmt.Sprintf("stop %s within %s %s", o.Task, o.Grace, o.Signal))
	case agent.Remove:
		return fmt.Sprintf("remove %s", o.Task)
	default:
		return fmt.Sprintf("unknown order %T", o)
	}
}
