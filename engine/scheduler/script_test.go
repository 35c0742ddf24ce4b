package scheduler_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// TestScripts runs the stories in testdata. What is asked of a service or told of a
// node stands behind its name, one word or (several) after each =.
//
//	node n1 n2 cpus=2 memory=100 labels=(disk=ssd) engine=(os=12) generic=(gpu=a+b) arch=x86_64 plugins=(Volume/nfs) state=down availability=pause
//	remove-node n1
//	service web tasks=3 cpus=1 memory=10 generic=(gpu=2) constraints=(node.labels.disk==ssd) spread=(node.labels.zone) max=2 ports=(80/tcp) platforms=(linux/amd64) volume=nfs log=fluentd on=(n1 n2)
//	tasks web count=2        more of them (again made from what service said last)
//	task web.1 state=failed desired=shutdown
//	remove web.1
//	tick 5m
//	lead                     a new leader takes over
//	place                    one pass: what it writes
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return w.run(t, d)
		})
	})
}

// args are the words of a command: names, and what follows each key.
type args struct {
	names []string
	by    map[string][]string
}

func parse(d *datadriven.TestData) args {
	a := args{by: map[string][]string{}}
	for _, c := range d.CmdArgs {
		if len(c.Vals) == 0 {
			a.names = append(a.names, c.Key)
			continue
		}
		a.by[c.Key] = nil
		for _, v := range c.Vals {
			a.by[c.Key] = append(a.by[c.Key], strings.Fields(v)...)
		}
	}
	return a
}

func (a args) one(key, otherwise string) string {
	if v := a.by[key]; len(v) > 0 {
		return v[0]
	}
	return otherwise
}

func (a args) number(key string) int64 {
	n, _ := strconv.ParseInt(a.one(key, "0"), 10, 64)
	return n
}

func (w *world) run(t *testing.T, td *datadriven.TestData) string {
	t.Helper()
	a := parse(td)
	switch td.Cmd {
	case "node":
		w.change(func(d *state.Draft) {
			for _, name := range a.names {
				d.PutNode(nodeOf(name, a))
			}
		})
	case "remove-node":
		w.change(func(d *state.Draft) { d.DeleteNode(state.NodeID(a.names[0])) })
	case "service":
		w.change(func(d *state.Draft) { w.service(d, a) })
	case "tasks":
		w.change(func(d *state.Draft) {
			w.add(d, d.Service(state.ServiceID(a.names[0])), int(a.number("count")))
		})
	case "task":
		w.change(func(d *state.Draft) {
			for _, name := range a.names {
				w.put(d, state.TaskID(name), func(t *state.Task) {
					if s := a.one("state", ""); s != "" {
						t.Status = state.TaskStatus{State: stateNamed(s), At: w.wall}
					}
					if s := a.one("desired", ""); s != "" {
						t.Desired = stateNamed(s)
					}
				})
			}
		})
	case "remove":
		w.change(func(d *state.Draft) { d.DeleteTask(state.TaskID(a.names[0])) })
	case "tick":
		by, err := time.ParseDuration(a.names[0])
		if err != nil {
			t.Fatal(err)
		}
		w.tick(by)
	case "lead":
		w.lead()
	case "place":
		return w.show(w.place(nil))
	default:
		t.Fatalf("%s: unknown command", td.Cmd)
	}
	return ""
}

func nodeOf(name string, a args) *state.Node {
	n := &state.Node{ID: state.NodeID(name), State: state.NodeReady}
	switch a.one("state", "ready") {
	case "down":
		n.State = state.NodeDown
	case "unknown":
		n.State = state.NodeUnknown
	}
	n.Spec.Availability = swarm.NodeAvailability(a.one("availability", "active"))
	n.Spec.Labels = labels(a.by["labels"])
	n.Description.Hostname = name
	n.Description.Engine.Labels = labels(a.by["engine"])
	n.Description.Platform = swarm.Platform{OS: "linux", Architecture: a.one("arch", "x86_64")}
	n.Description.Resources = swarm.Resources{
		NanoCPUs: a.number("cpus"), MemoryBytes: a.number("memory"), GenericResources: generics(a.by["generic"]),
	}
	for _, p := range a.by["plugins"] {
		kind, name, _ := strings.Cut(p, "/")
		n.Description.Engine.Plugins = append(n.Description.Engine.Plugins, swarm.PluginDescription{Type: kind, Name: name})
	}
	return n
}

// service puts a service and its next template, and makes its tasks.
func (w *world) service(d *state.Draft, a args) {
	id := state.ServiceID(a.names[0])
	version := uint64(1)
	if old := d.Service(id); old != nil {
		version = old.Template + 1
	}
	s := &state.Service{ID: id, Template: version}
	s.Spec.Name = string(id)
	d.PutService(s)
	d.PutTemplate(templateOf(id, version, a))
	var on []state.NodeID
	for _, n := range a.by["on"] {
		on = append(on, state.NodeID(n))
	}
	w.add(d, s, int(a.number("tasks")), on...)
}

func templateOf(id state.ServiceID, version uint64, a args) *state.Template {
	t := &state.Template{Service: id, Version: version}
	t.Spec.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{
		NanoCPUs: a.number("cpus"), MemoryBytes: a.number("memory"), GenericResources: generics(a.by["generic"]),
	}}
	t.Spec.Placement = &swarm.Placement{Constraints: a.by["constraints"], MaxReplicas: uint64(a.number("max"))}
	for _, l := range a.by["spread"] {
		t.Spec.Placement.Preferences = append(t.Spec.Placement.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: l}})
	}
	for _, p := range a.by["platforms"] {
		os, arch, _ := strings.Cut(p, "/")
		t.Spec.Placement.Platforms = append(t.Spec.Placement.Platforms, swarm.Platform{OS: os, Architecture: arch})
	}
	for _, p := range a.by["ports"] {
		number, protocol, _ := strings.Cut(p, "/")
		n, _ := strconv.Atoi(number)
		t.Ports = append(t.Ports, swarm.PortConfig{
			PublishedPort: uint32(n), TargetPort: 80, Protocol: network.IPProtocol(protocol), PublishMode: swarm.PortConfigPublishModeHost,
		})
	}
	if driver := a.one("volume", ""); driver != "" {
		t.Spec.ContainerSpec = &swarm.ContainerSpec{Mounts: []mount.Mount{{
			Type: mount.TypeVolume, VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver}},
		}}}
	}
	if driver := a.one("log", ""); driver != "" {
		t.Spec.LogDriver = &swarm.Driver{Name: driver}
	}
	return t
}

// show writes what a pass wrote: placements by node, and reasons.
func (w *world) show(written []state.Diff[state.Task]) string {
	var out strings.Builder
	for _, d := range written {
		t := d.After
		switch t.Status.State {
		case state.TaskAssigned:
			fmt.Fprintf(&out, "%s -> %s", t.ID, t.Node)
			if len(t.Generic) > 0 {
				fmt.Fprintf(&out, " %s", showGenerics(t.Generic))
			}
			if t.Global {
				fmt.Fprintf(&out, " (%s)", t.Status.Message)
			}
			out.WriteByte('\n')
		default:
			fmt.Fprintf(&out, "%s %s, %s: %s\n", t.ID, t.Status.State, t.Status.Message, t.Status.Err)
		}
	}
	if !w.sched.Wake().IsZero() {
		fmt.Fprintf(&out, "wake in %s\n", w.sched.Wake().Sub(w.now))
	}
	if w.sched.Pending() {
		out.WriteString("more to do\n")
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}
