package control_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// TestScripts runs the stories in testdata: each command is one call, decided on
// what the commands before it committed. IDs are written as s1, n2, t3 in the
// order in which they appear.
//
//	init / node / tasks           what is there
//	create / update / rollback / remove / swarm-update / node-update / node-rm
//	network-create / network-rm / networks / network-inspect
//	services / inspect / nodes / node-inspect / task-list / task-inspect / logs / swarm
//	clear                         forget everything
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") { // the fuzzer's, and rapid's
			return
		}
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return w.run(t, d)
		})
	})
}

// A world is a store with one node that founded the swarm.
type world struct {
	store  *state.Store
	mint   *entropy.Source
	wall   state.Wall
	short  map[string]string // ID to its name in scripts
	long   map[string]string
	counts map[byte]int
}

const self = "n1"

func newWorld() *world {
	return &world{
		store: state.NewStore(), mint: entropy.New(entropy.Seed{7}),
		short: map[string]string{}, long: map[string]string{}, counts: map[byte]int{},
	}
}

// name gives an ID its name in scripts.
func (w *world) name(kind byte, id string) string {
	if _, ok := w.short[id]; !ok && id != "" {
		w.counts[kind]++
		w.short[id] = fmt.Sprintf("%c%d", kind, w.counts[kind])
		w.long[w.short[id]] = id
	}
	return w.short[id]
}

// id is the ID behind a name, or the name.
func (w *world) id(name string) string {
	if id, ok := w.long[name]; ok {
		return id
	}
	return name
}

// shorten writes names for IDs.
func (w *world) shorten(text string) string {
	for _, id := range slices.Sorted(maps.Keys(w.short)) {
		text = strings.ReplaceAll(text, id, w.short[id])
	}
	return text
}

// commit makes what was drafted so, and says what subscribers hear of it.
func (w *world) commit(d *state.Draft) string {
	if !d.Dirty() {
		return ""
	}
	delta := w.store.Apply(w.store.Index()+1, d.Changes())
	var out strings.Builder
	for _, e := range control.Events(&delta, w.store.Index(), w.wall) {
		fmt.Fprintf(&out, "event %s %s %s", e.Type, e.Action, w.shorten(e.ID))
		for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
			fmt.Fprintf(&out, " %s=%s", k, e.Attributes[k])
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func (w *world) founded(call control.SwarmInit) {
	d := w.store.Draft()
	id := w.mint.ID()
	w.name('n', id)
	control.Found(d, w.mint, w.wall, call, control.Founder{
		Node: state.NodeID(id), Cluster: state.ClusterID(w.mint.ID()), RootDigest: strings.Repeat("d", 50),
		Description: swarm.NodeDescription{Hostname: "x1"},
	})
	w.commit(d)
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	w.wall += 1e9
	switch d.Cmd {
	case "clear":
		*w = *newWorld()
		return ""
	case "init":
		call := control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377"}
		read(t, d, &call)
		if failed, bad := control.CheckInit(call); bad {
			return w.answer(failed)
		}
		w.founded(call)
		return w.answer(control.Read(w.store.Draft(), state.NodeID(w.id(self)), "", control.SwarmInspect{}))
	case "node":
		return w.addNode(d)
	case "tasks":
		return w.addTasks(t, d)
	}
	call := w.call(t, d)
	if !control.Writes(call) {
		answer := control.Read(w.store.Draft(), state.NodeID(w.id(self)), state.NodeID(w.id(self)), call)
		return w.answer(answer)
	}
	draft := w.store.Draft()
	answer := control.Admit(draft, w.mint, w.wall, call)
	if c, ok := answer.(control.Created); ok {
		w.name(kindOf(call), c.ID)
	}
	out := w.answer(answer)
	if _, failed := answer.(control.Failed); failed && draft.Dirty() {
		t.Fatalf("%s: refused, yet it wrote", d.Pos)
	}
	out += w.commit(draft)
	if d.HasArg("show") {
		var name string
		d.ScanArgs(t, "show", &name)
		out += w.answer(control.Read(w.store.Draft(), "", "", control.ServiceInspect{Ref: w.id(name)}))
	}
	return out
}

// call builds the call that a command stands for.
func (w *world) call(t *testing.T, d *datadriven.TestData) control.Call {
	t.Helper()
	var ref string
	if d.HasArg("ref") {
		d.ScanArgs(t, "ref", &ref)
		ref = w.id(ref)
	}
	arg := func(key string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				return a.Vals[0]
			}
		}
		return ""
	}
	switch d.Cmd {
	case "create":
		c := control.ServiceCreate{RegistryAuth: arg("auth")}
		read(t, d, &c.Spec)
		return c
	case "update", "rollback":
		c := control.ServiceUpdate{Ref: ref, RegistryAuth: arg("auth"), AuthFrom: arg("from"), Rollback: arg("rollback")}
		s := w.store.Draft().Service(state.ServiceID(ref))
		if s == nil {
			s = w.store.Draft().ServiceByName(ref)
		}
		if s != nil {
			c.Version, c.Spec = s.SpecVersion, w.copySpec(t, s.Spec)
		}
		if d.Cmd == "rollback" {
			c.Rollback = "previous"
		}
		if v := arg("version"); v != "" {
			c.Version, _ = strconv.ParseUint(v, 10, 64)
		}
		read(t, d, &c.Spec)
		return c
	case "remove":
		return control.ServiceRemove{Ref: ref}
	case "swarm-update":
		c := control.SwarmUpdate{RotateWorker: d.HasArg("worker"), RotateManager: d.HasArg("manager"), RotateUnlock: d.HasArg("unlock")}
		if cluster := w.store.Draft().Cluster(); cluster != nil {
			c.Version, c.Spec = cluster.SpecVersion, cluster.Spec
		}
		if v := arg("version"); v != "" {
			c.Version, _ = strconv.ParseUint(v, 10, 64)
		}
		read(t, d, &c.Spec)
		return c
	case "node-update":
		c := control.NodeUpdate{Ref: ref}
		if n := w.store.Draft().Node(state.NodeID(ref)); n != nil {
			c.Version, c.Spec = n.SpecVersion, n.Spec
		}
		if v := arg("version"); v != "" {
			c.Version, _ = strconv.ParseUint(v, 10, 64)
		}
		read(t, d, &c.Spec)
		return c
	case "node-rm":
		return control.NodeRemove{Ref: ref, Force: d.HasArg("force")}
	case "services":
		return control.ServiceList{Filters: w.filters(t, d), Status: d.HasArg("status")}
	case "inspect":
		return control.ServiceInspect{Ref: ref}
	case "nodes":
		return control.NodeList{Filters: w.filters(t, d)}
	case "node-inspect":
		return control.NodeInspect{Ref: ref}
	case "task-list":
		return control.TaskList{Filters: w.filters(t, d)}
	case "task-inspect":
		return control.TaskInspect{Ref: ref}
	case "logs":
		return control.LogSources{Ref: ref, Task: d.HasArg("task")}
	case "network-create":
		var c control.NetworkCreate
		read(t, d, &c.Spec)
		return c
	case "network-rm":
		return control.NetworkRemove{Ref: ref}
	case "network-inspect":
		return control.NetworkInspect{Ref: ref}
	case "networks":
		return control.NetworkList{}
	case "swarm":
		return control.SwarmInspect{}
	case "unlock-key":
		return control.SwarmUnlockKey{}
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return nil
}

// kindOf is the letter that names of what a call creates begin with.
func kindOf(call control.Call) byte {
	if _, ok := call.(control.NetworkCreate); ok {
		return 'o'
	}
	return 's'
}

func (w *world) copySpec(t *testing.T, s swarm.ServiceSpec) swarm.ServiceSpec {
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out swarm.ServiceSpec
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) filters(t *testing.T, d *datadriven.TestData) control.Filters {
	f := control.Filters{}
	read(t, d, &f)
	for _, k := range slices.Sorted(maps.Keys(f)) {
		for i, v := range f[k] {
			f[k][i] = w.id(v)
		}
	}
	return f
}

// read decodes a command's input over what is there.
func read(t *testing.T, d *datadriven.TestData, into any) {
	t.Helper()
	if strings.TrimSpace(d.Input) == "" {
		return
	}
	if err := json.Unmarshal([]byte(d.Input), into); err != nil {
		d.Fatalf(t, "%v", err)
	}
}

// addNode puts a node into the store as if it had joined.
func (w *world) addNode(d *datadriven.TestData) string {
	draft := w.store.Draft()
	n := &state.Node{ID: state.NodeID(w.mint.ID()), State: state.NodeReady, SpecVersion: draft.Version(), Addr: "10.0.0.2"}
	n.Spec = swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "hostname":
			n.Description.Hostname = a.Vals[0]
		case "manager":
			n.Manager, n.Spec.Role, n.ManagerAddr = true, swarm.NodeRoleManager, "10.0.0.2:2377"
		case "down":
			n.State = state.NodeDown
		case "label":
			k, v, _ := strings.Cut(a.Vals[0], ":")
			n.Spec.Labels = map[string]string{k: v}
		case "engine":
			k, v, _ := strings.Cut(a.Vals[0], ":")
			n.Description.Engine.Labels = map[string]string{k: v}
		}
	}
	name := w.name('n', string(n.ID))
	draft.PutNode(n)
	return name + "\n" + w.commit(draft)
}

// addTasks puts tasks of a service into the store, made from its present template.
func (w *world) addTasks(t *testing.T, d *datadriven.TestData) string {
	var ref, word, desired, on string
	count := 1
	d.ScanArgs(t, "ref", &ref)
	d.MaybeScanArgs(t, "n", &count)
	d.MaybeScanArgs(t, "state", &word)
	d.MaybeScanArgs(t, "desired", &desired)
	d.MaybeScanArgs(t, "on", &on)
	draft := w.store.Draft()
	s := draft.ServiceByName(ref)
	var names []string
	for i := range count {
		task := &state.Task{
			ID: state.TaskID(w.mint.ID()), Service: s.ID, Slot: uint64(i + 1), Template: s.Template,
			Global: s.Spec.Mode.Global != nil, Node: state.NodeID(w.id(on)), JobIteration: s.JobIteration,
			Job: s.Spec.Mode.ReplicatedJob != nil, Desired: taskState(desired), Status: state.TaskStatus{State: taskState(word)},
		}
		names = append(names, w.name('t', string(task.ID)))
		draft.PutTask(task)
	}
	w.commit(draft)
	return strings.Join(names, " ") + "\n"
}

func taskState(word string) state.TaskState {
	switch word {
	case "complete":
		return state.TaskComplete
	case "shutdown":
		return state.TaskShutdown
	case "pending":
		return state.TaskPending
	}
	return state.TaskRunning
}

func statusOf(k control.Kind) int {
	return map[control.Kind]int{
		control.Invalid: 400, control.Unauthorized: 401, control.Forbidden: 403, control.NotFound: 404,
		control.Conflict: 409, control.Internal: 500, control.Unimplemented: 501, control.Unavailable: 503,
	}[k]
}

// answer writes an answer as a script has it.
func (w *world) answer(a control.Answer) string {
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	switch a := a.(type) {
	case control.Failed:
		say("%d %s", statusOf(a.Kind), w.shorten(a.Message))
	case control.Done:
		say("200")
		for _, text := range a.Warnings {
			say("warning: %s", text)
		}
	case control.Created:
		say("201 %s", w.shorten(a.ID))
		for _, text := range a.Warnings {
			say("warning: %s", text)
		}
	case control.Swarm:
		spec, _ := json.Marshal(a.Cluster.Spec)
		say("version %d spec %s", a.Cluster.SpecVersion, spec)
		say("worker %s manager %s", a.Cluster.WorkerSecret, a.Cluster.ManagerSecret)
		say("pool %q size %d port %d", a.Cluster.DefaultAddrPool, a.Cluster.SubnetSize, a.Cluster.DataPathPort)
	case control.UnlockKey:
		say("key %q", a.Key)
	case control.Nodes:
		for _, n := range a.Nodes {
			say("%s %s %s %s leader=%v version=%d labels=%v", w.name('n', string(n.ID)), n.Description.Hostname,
				n.Spec.Role, n.Spec.Availability, n.ID == a.Leader, n.SpecVersion, n.Spec.Labels)
		}
	case control.Networks:
		for i, n := range a.Networks {
			spec, _ := json.Marshal(n.Spec)
			say("%s %s vni=%d %v\n  %s", w.name('o', string(n.ID)), n.Spec.Name, n.VNI, n.Subnets, spec)
			if len(a.Used) > 0 && a.Used[i] {
				say("  used")
			}
		}
	case control.Services:
		for i, s := range a.Services {
			say("%s", w.service(s))
			if len(a.Counts) > 0 {
				say("  running %d desired %d completed %d", a.Counts[i].RunningTasks, a.Counts[i].DesiredTasks, a.Counts[i].CompletedTasks)
			}
		}
	case control.Tasks:
		w.tasks(&out, a.Tasks, a.Templates)
	case control.Sources:
		say("tty %v", a.TTY)
		w.tasks(&out, a.Tasks, a.Templates)
	default:
	}
	return out.String()
}

func (w *world) service(s *state.Service) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s version=%d template=%d previous=%d", w.name('s', string(s.ID)), s.Spec.Name, s.SpecVersion, s.Template, s.PreviousTemplate)
	if s.Update != nil {
		fmt.Fprintf(&out, " update=%s %q", s.Update.State, s.Update.Message)
	}
	if s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil {
		fmt.Fprintf(&out, " iteration=%d", s.JobIteration)
	}
	for _, p := range s.Ports {
		fmt.Fprintf(&out, " %s:%d->%d/%s", p.PublishMode, p.PublishedPort, p.TargetPort, p.Protocol)
	}
	if s.Previous != nil {
		fmt.Fprintf(&out, " before=%s", s.Previous.TaskTemplate.ContainerSpec.Image)
	}
	if s.RegistryAuth != "" {
		fmt.Fprintf(&out, " auth=%s", s.RegistryAuth)
	}
	spec, _ := json.Marshal(s.Spec)
	fmt.Fprintf(&out, "\n  %s", spec)
	return out.String()
}

func (w *world) tasks(out *strings.Builder, tasks []*state.Task, made []*state.Template) {
	for i, task := range tasks {
		fmt.Fprintf(out, "%s of %s slot %d", w.name('t', string(task.ID)), w.name('s', string(task.Service)), task.Slot)
		if made[i] != nil {
			fmt.Fprintf(out, " from %s", made[i].Spec.ContainerSpec.Image)
		}
		fmt.Fprintf(out, " state %d desired %d %s\n", task.Status.State, task.Desired, task.Status.Message)
	}
}

// TestInitInvalidPool shows what a script cannot: prefixes that are not valid.
func TestInitInvalidPool(t *testing.T) {
	call := control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", DefaultAddrPool: []netip.Prefix{{}}}
	if failed, bad := control.CheckInit(call); !bad || failed.Kind != control.Invalid {
		t.Errorf("a pool that is no prefix: got %v %v, want it refused", failed, bad)
	}
}
