package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/invariant"
)

// Limits of one draft, and so of one entry of the log. A draft that has reached
// one is full: whoever writes to it stops, and goes on in the next.
const (
	ChangesMax = 4096      // objects written
	BytesMax   = 768 << 10 // bytes, roughly, as they will be encoded
)

// A Draft is a store with changes not yet made: reads see them. It costs what
// it changes, whatever the size of the store.
type Draft struct {
	base *Store

	cluster       *Cluster
	clusterTouch  bool
	nodes         map[NodeID]*Node
	services      map[ServiceID]*Service
	templates     map[string]*Template
	tasks         map[TaskID]*Task
	networks      map[NetworkID]*Network
	names         map[string]ServiceID // of services put
	folded        map[string]ServiceID
	ports         portIndex
	slots         map[ServiceID]map[SlotKey][]*Task // of slots touched
	onNode        map[NodeID][]TaskID               // tasks put
	taskCount     map[ServiceID]int                 // difference to the base
	nodeCount     int
	versionsPut   map[ServiceID][]uint64
	touched       []Key
	delta         Delta
	bytesEstimate int
}

// Draft begins a set of changes to the store.
func (s *Store) Draft() *Draft { return &Draft{base: s, cluster: s.cluster} }

// Base is the index of the store that the draft stands on.
func (d *Draft) Base() uint64 { return d.base.index }

// Version is what is written into the version of every object put: the first
// index at which the draft can commit.
func (d *Draft) Version() uint64 { return d.base.index + 1 }

// Dirty reports whether anything has been written.
func (d *Draft) Dirty() bool { return len(d.touched) > 0 }

// Full reports whether a limit has been reached.
func (d *Draft) Full() bool { return len(d.touched) >= ChangesMax || d.bytesEstimate >= BytesMax }

// Take returns what has been written since the last Take, in order.
func (d *Draft) Take() Delta {
	delta := d.delta
	d.delta = Delta{}
	return delta
}

// touch notes that an object is being written. first says whether for the first
// time.
func (d *Draft) touch(k Key, first bool, size int) {
	d.bytesEstimate += size
	if first {
		d.touched = append(d.touched, k)
	}
}

// Cluster returns the swarm, nil before there is one.
func (d *Draft) Cluster() *Cluster { return d.cluster }

// PutCluster writes the swarm. The caller must not touch it afterwards; so for
// every Put.
func (d *Draft) PutCluster(c *Cluster) {
	c.Version = d.Version()
	d.delta.Clusters = append(d.delta.Clusters, Diff[Cluster]{d.cluster, c})
	d.touch(Key{KindCluster, string(c.ID)}, !d.clusterTouch, 4096)
	d.cluster, d.clusterTouch = c, true
}

// Node returns a node, nil if there is none.
func (d *Draft) Node(id NodeID) *Node {
	if n, ok := d.nodes[id]; ok {
		return n
	}
	return d.base.nodes[id].object
}

// NodeCount returns how many nodes there are.
func (d *Draft) NodeCount() int { return len(d.base.nodes) + d.nodeCount }

// Nodes yields every node, by ID.
func (d *Draft) Nodes() iter.Seq[*Node] {
	return overlay(d.base.nodeIDs.ids, d.nodes, d.Node)
}

// NodesByHostname returns the nodes of that hostname, by ID.
func (d *Draft) NodesByHostname(name string) []*Node {
	var found []*Node
	for _, id := range d.base.hostnames[name] {
		if _, put := d.nodes[id]; !put {
			found = append(found, d.base.nodes[id].object)
		}
	}
	for _, id := range keysSorted(d.nodes) {
		if n := d.nodes[id]; n != nil && n.Description.Hostname == name {
			found = append(found, n)
		}
	}
	slices.SortFunc(found, func(a, b *Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found
}

// NodesByPrefix returns nodes whose ID begins with prefix, at most limit.
func (d *Draft) NodesByPrefix(prefix string, limit int) []*Node {
	return lookup(d.base.nodeIDs.ids, d.nodes, prefix, limit, d.Node)
}

// PutNode writes a node.
func (d *Draft) PutNode(n *Node) {
	n.Version = d.Version()
	d.setNode(n.ID, n)
}

// DeleteNode forgets a node.
func (d *Draft) DeleteNode(id NodeID) { d.setNode(id, nil) }

func (d *Draft) setNode(id NodeID, n *Node) {
	before := d.Node(id)
	if before == nil && n == nil {
		return
	}
	_, again := d.nodes[id]
	d.touch(Key{KindNode, string(id)}, !again, 512)
	d.nodes = put(d.nodes, id, n)
	d.nodeCount += presence(n != nil) - presence(before != nil)
	d.delta.Nodes = append(d.delta.Nodes, Diff[Node]{before, n})
}

// Service returns a service, nil if there is none.
func (d *Draft) Service(id ServiceID) *Service {
	if s, ok := d.services[id]; ok {
		return s
	}
	return d.base.services[id].object
}

// Services yields every service, by ID.
func (d *Draft) Services() iter.Seq[*Service] {
	return overlay(d.base.serviceIDs.ids, d.services, d.Service)
}

// ServiceByName returns the service of exactly that name, nil if there is none.
func (d *Draft) ServiceByName(name string) *Service {
	return d.named(d.names[name], d.base.names[name], func(s *Service) bool { return s.Spec.Name == name })
}

// ServiceByNameFold returns the service whose name differs at most in case.
func (d *Draft) ServiceByNameFold(name string) *Service {
	name = strings.ToLower(name)
	return d.named(d.folded[name], d.base.folded[name], func(s *Service) bool { return strings.ToLower(s.Spec.Name) == name })
}

func (d *Draft) named(put, base ServiceID, fits func(*Service) bool) *Service {
	for _, id := range []ServiceID{put, base} {
		if s := d.Service(id); s != nil && fits(s) {
			return s
		}
	}
	return nil
}

// ServicesByPrefix returns services whose ID begins with prefix, at most limit.
func (d *Draft) ServicesByPrefix(prefix string, limit int) []*Service {
	return lookup(d.base.serviceIDs.ids, d.services, prefix, limit, d.Service)
}

// PutService writes a service.
func (d *Draft) PutService(s *Service) {
	s.Version = d.Version()
	d.setService(s.ID, s)
	d.names = put(d.names, s.Spec.Name, s.ID)
	d.folded = put(d.folded, strings.ToLower(s.Spec.Name), s.ID)
	if len(s.Ports) > 0 {
		if d.ports == nil {
			d.ports = make(portIndex)
		}
		d.ports.remove(s)
		d.ports.add(s)
	}
}

// DeleteService forgets a service.
func (d *Draft) DeleteService(id ServiceID) { d.setService(id, nil) }

func (d *Draft) setService(id ServiceID, s *Service) {
	before := d.Service(id)
	if before == nil && s == nil {
		return
	}
	_, again := d.services[id]
	d.touch(Key{KindService, string(id)}, !again, 1536)
	d.services = put(d.services, id, s)
	d.delta.Services = append(d.delta.Services, Diff[Service]{before, s})
}

// Template returns a template, nil if there is none.
func (d *Draft) Template(service ServiceID, version uint64) *Template {
	return d.template(templateID(service, version))
}

func (d *Draft) template(id string) *Template {
	if t, ok := d.templates[id]; ok {
		return t
	}
	return d.base.templates[id].object
}

// Templates returns the templates of a service, by version.
func (d *Draft) Templates(service ServiceID) []*Template {
	var found []*Template
	for _, t := range d.base.versions[service] {
		if t = d.Template(service, t.Version); t != nil {
			found = append(found, t)
		}
	}
	for _, version := range d.versionsPut[service] {
		if t := d.Template(service, version); t != nil && !slices.Contains(found, t) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *Template) int { return int(int64(a.Version) - int64(b.Version)) })
	return found
}

// PutTemplate writes a template.
func (d *Draft) PutTemplate(t *Template) {
	d.versionsPut = put(d.versionsPut, t.Service, append(d.versionsPut[t.Service], t.Version))
	d.setTemplate(templateID(t.Service, t.Version), t)
}

// DeleteTemplate forgets a template.
func (d *Draft) DeleteTemplate(service ServiceID, version uint64) {
	d.setTemplate(templateID(service, version), nil)
}

func (d *Draft) setTemplate(id string, t *Template) {
	before := d.template(id)
	if before == nil && t == nil {
		return
	}
	_, again := d.templates[id]
	d.touch(Key{KindTemplate, id}, !again, 1024)
	d.templates = put(d.templates, id, t)
	d.delta.Templates = append(d.delta.Templates, Diff[Template]{before, t})
}

// Task returns a task, nil if there is none.
func (d *Draft) Task(id TaskID) *Task {
	if t, ok := d.tasks[id]; ok {
		return t
	}
	return d.base.tasks[id].object
}

// PutTask writes a task.
func (d *Draft) PutTask(t *Task) {
	t.Version = d.Version()
	d.setTask(t.ID, t)
}

// DeleteTask forgets a task.
func (d *Draft) DeleteTask(id TaskID) { d.setTask(id, nil) }

func (d *Draft) setTask(id TaskID, t *Task) {
	before := d.Task(id)
	switch {
	case before == nil && t == nil:
		return
	case before == nil:
		d.setSlot(t.Service, t.SlotKey(), nil, t)
		d.taskCount = put(d.taskCount, t.Service, d.taskCount[t.Service]+1)
	case t == nil:
		d.setSlot(before.Service, before.SlotKey(), before, nil)
		d.taskCount = put(d.taskCount, before.Service, d.taskCount[before.Service]-1)
	default:
		checkTask(before, t)
		d.setSlot(t.Service, t.SlotKey(), before, t)
	}
	if t != nil && t.Node != "" && (before == nil || before.Node == "") {
		d.onNode = put(d.onNode, t.Node, append(d.onNode[t.Node], id))
	}
	_, again := d.tasks[id]
	d.touch(Key{KindTask, string(id)}, !again, 180)
	d.tasks = put(d.tasks, id, t)
	d.delta.Tasks = append(d.delta.Tasks, Diff[Task]{before, t})
}

// setSlot replaces before by after in the list of a slot.
func (d *Draft) setSlot(service ServiceID, k SlotKey, before, after *Task) {
	old := d.Slot(service, k)
	list := make([]*Task, 0, len(old)+1)
	for _, t := range old {
		if before == nil || t.ID != before.ID {
			list = append(list, t)
		}
	}
	if after != nil {
		at, _ := slices.BinarySearchFunc(list, after, compareAge)
		list = slices.Insert(list, at, after)
	}
	if d.slots[service] == nil {
		d.slots = put(d.slots, service, make(map[SlotKey][]*Task))
	}
	d.slots[service][k] = list
}

// checkTask stops the process if a task changes as no task may.
func checkTask(before, after *Task) {
	// The arguments are boxed only when something is wrong: this is on the path of
	// every task.
	switch from, to := before.Status.State, after.Status.State; {
	case before.Service != after.Service || before.Slot != after.Slot || before.Global != after.Global ||
		before.Template != after.Template || before.JobIteration != after.JobIteration:
		invariant.Violated("task %s changes its service, slot or template", after.ID)
	case before.Node != "" && before.Node != after.Node:
		invariant.Violated("task %s moves from node %s to %s", after.ID, before.Node, after.Node)
	case to < from:
		invariant.Violated("task %s goes back from state %s to %s", after.ID, from, to)
	case to != from:
		if _, ok := Transition(from, to); !ok {
			invariant.Violated("task %s goes from state %s to %s, which nobody may do", after.ID, from, to)
		}
	}
}
