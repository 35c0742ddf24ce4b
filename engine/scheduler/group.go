package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// The node on which a group failed so often within so long is avoided. The numbers
// are Docker's.
const (
	failuresMax    = 5
	failuresWindow = 5 * time.Minute
	failuresKept   = 16 // more are not told apart
)

// A groupRef names a template, and with it the tasks made from it.
type groupRef struct {
	service state.ServiceID
	version uint64
}

// A group is the tasks made from one template: all ask the same of a node.
type group struct {
	template *state.Template // nil until it is known
	service  *service
	salt     uint32 // orders equal nodes differently for every group
	demand   demand
	asks     string // signature of its class
	class    *class

	held     int            // tasks that hold resources
	pending  int            // tasks that want a node
	queue    []state.TaskID // of pending tasks without a node, oldest first; some are so no longer
	failures []failures
	ready    bool
	stale    bool
	verdict
}

// A demand is what a node must have left for a task.
type demand struct {
	cpu, memory int64
	generic     []need
	ports       []port
	max         int32 // tasks of the service that one node may have; 0 is no limit
}

// varies reports whether what nodes hold can change their mind.
func (d *demand) varies() bool {
	return d.cpu > 0 || d.memory > 0 || d.max > 0 || len(d.generic)+len(d.ports) > 0
}

// Failures are the last times at which a group's tasks failed on a node.
type failures struct {
	node *node
	at   []state.Wall
}

// group returns the group of that name, which is made when it is first named.
func (s *Scheduler) group(ref groupRef) *group {
	if g, ok := s.groups[ref]; ok {
		return g
	}
	v := s.services[ref.service]
	if v == nil {
		v = &service{}
		s.services[ref.service] = v
	}
	v.groups++
	g := &group{service: v, salt: hash(string(ref.service), uint32(ref.version))}
	s.groups[ref] = g
	return g
}

func (s *Scheduler) observeTemplate(d state.Diff[state.Template]) {
	if d.Before == nil && d.After == nil {
		return
	}
	t := cmp.Or(d.After, d.Before)
	ref := groupRef{t.Service, t.Version}
	if d.After != nil {
		g := s.group(ref)
		g.learn(d.After)
		if len(g.queue) > 0 && g.why == nil {
			s.markReady(g)
		}
		return
	}
	g := s.groups[ref]
	if g == nil || g.held > 0 || g.pending > 0 {
		return
	}
	delete(s.groups, ref)
	if g.service.groups--; g.service.groups == 0 {
		delete(s.services, ref.service)
	}
}

// learn takes what the group demands from its template. What tasks hold already
// they must give back as they took it, so a group never learns anything else.
func (g *group) learn(t *state.Template) {
	if t == nil || g.template != nil || g.held > 0 {
		return
	}
	g.template = t
	if r := t.Spec.Resources; r != nil && r.Reservations != nil {
		g.demand.cpu, g.demand.memory = r.Reservations.NanoCPUs, r.Reservations.MemoryBytes
		g.demand.generic = needs(r.Reservations.GenericResources)
	}
	if t.Spec.Placement != nil {
		g.demand.max = int32(min(t.Spec.Placement.MaxReplicas, 1<<30))
	}
	for _, p := range t.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			g.demand.ports = append(g.demand.ports, port{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort})
		}
	}
}

// needs adds up what is wanted of each kind. Nobody can ask for a named resource
// by its name: that is one of its kind.
func needs(resources []swarm.GenericResource) []need {
	var all []need
	for _, r := range resources {
		var n need
		switch {
		case r.DiscreteResourceSpec != nil:
			n = need{r.DiscreteResourceSpec.Kind, r.DiscreteResourceSpec.Value}
		case r.NamedResourceSpec != nil:
			n = need{r.NamedResourceSpec.Kind, 1}
		}
		if n.count <= 0 {
			continue
		}
		if i := slices.IndexFunc(all, func(o need) bool { return o.kind == n.kind }); i >= 0 {
			all[i].count += n.count
			continue
		}
		all = append(all, n)
	}
	return all
}

// plugins returns the plugins that a node must have: the drivers of volumes and of
// the log that are not built into every node.
func plugins(t *swarm.TaskSpec) []swarm.PluginDescription {
	var wanted []swarm.PluginDescription
	if t.ContainerSpec != nil {
		for _, m := range t.ContainerSpec.Mounts {
			if m.Type != mount.TypeVolume || m.VolumeOptions == nil || m.VolumeOptions.DriverConfig == nil {
				continue
			}
			if name := m.VolumeOptions.DriverConfig.Name; name != "" && name != "local" {
				wanted = append(wanted, swarm.PluginDescription{Type: "Volume", Name: name})
			}
		}
	}
	if t.LogDriver != nil && t.LogDriver.Name != "" && t.LogDriver.Name != "none" {
		wanted = append(wanted, swarm.PluginDescription{Type: "Log", Name: t.LogDriver.Name})
	}
	return wanted
}

// enqueue puts a task at the end of the queue. Once most of the queue is of tasks
// that are pending no longer they are thrown out.
func (g *group) enqueue(s *Scheduler, id state.TaskID) {
	if len(g.queue) > 64 && len(g.queue) > 2*g.pending {
		g.queue = slices.DeleteFunc(g.queue, func(id state.TaskID) bool { return s.tasks[id].phase != pending })
	}
	g.queue = append(g.queue, id)
}

// fail remembers that a task of the group failed on a node.
func (g *group) fail(n *node, at state.Wall) {
	i := slices.IndexFunc(g.failures, func(f failures) bool { return f.node == n })
	if i < 0 {
		i = len(g.failures)
		g.failures = append(g.failures, failures{node: n})
	}
	f := &g.failures[i]
	if len(f.at) >= failuresKept {
		f.at = append(f.at[:0], f.at[1:]...)
	}
	f.at = append(f.at, at)
}

// recent forgets failures that are too old to matter, and the nodes that have no
// others.
func (g *group) recent(wall state.Wall) []failures {
	since := wall.Add(-failuresWindow)
	g.failures = slices.DeleteFunc(g.failures, func(f failures) bool {
		return !slices.ContainsFunc(f.at, func(at state.Wall) bool { return at > since })
	})
	return g.failures
}

// count is how many failures make a node avoided; 0 if there are too few.
func (f *failures) count(wall state.Wall) int32 {
	since, n := wall.Add(-failuresWindow), int32(0)
	for _, at := range f.at {
		if at > since {
			n++
		}
	}
	if n < failuresMax {
		return 0
	}
	return n
}

// A service is how many active tasks of one service each node has, where it has any.
type service struct {
	cells  []cell
	at     map[*node]int32 // places in cells, once there are many
	groups int
}

type cell struct {
	node  *node
	count int32
}

// cellsFew is how many cells are looked through rather than indexed.
const cellsFew = 16

func (v *service) find(n *node) int {
	if v.at == nil {
		return slices.IndexFunc(v.cells, func(c cell) bool { return c.node == n })
	}
	if i, ok := v.at[n]; ok {
		return int(i)
	}
	return -1
}

// on is how many active tasks of the service a node has.
func (v *service) on(n *node) int32 {
	if i := v.find(n); i >= 0 {
		return v.cells[i].count
	}
	return 0
}

func (v *service) add(n *node, by int32) {
	i := v.find(n)
	if i < 0 {
		i = len(v.cells)
		v.cells = append(v.cells, cell{node: n})
		v.place(i)
	}
	if v.cells[i].count += by; v.cells[i].count != 0 {
		return
	}
	last := len(v.cells) - 1
	v.cells[i] = v.cells[last]
	v.cells = v.cells[:last]
	if v.at != nil {
		delete(v.at, n)
		if i < last {
			v.at[v.cells[i].node] = int32(i)
		}
	}
}

// place indexes a cell that was added.
func (v *service) place(i int) {
	switch {
	case v.at != nil:
		v.at[v.cells[i].node] = int32(i)
	case len(v.cells) > cellsFew:
		v.at = make(map[*node]int32, 2*len(v.cells))
		for j, c := range v.cells {
			v.at[c.node] = int32(j)
		}
	}
}

// signature is equal for templates that ask the same of what a node is.
func signature(t *state.Template) string {
	var b strings.Builder
	add := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	for _, p := range plugins(&t.Spec) {
		add("plugin", p.Type, p.Name)
	}
	if p := t.Spec.Placement; p != nil {
		for _, c := range p.Constraints {
			add("constraint", c)
		}
		for _, f := range p.Platforms {
			add("platform", f.OS, f.Architecture)
		}
		for _, r := range p.Preferences {
			if r.Spread != nil {
				add("spread", r.Spread.SpreadDescriptor)
			}
		}
	}
	return b.String()
}
