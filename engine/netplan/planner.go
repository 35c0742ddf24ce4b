package netplan

import (
	"reflect"
	"slices"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A Planner plans a node's network again and again. What it returns is what [Make]
// would; what that costs depends on what has changed since the plan before, and on
// how many tasks the node itself has. A list in which something has changed is
// copied.
//
// What is as it was is shared by plans, and so the same slice. A plan is never
// changed once it has been returned: it may be in use elsewhere.
//
// The zero value has been told nothing.
type Planner struct {
	tables Tables
	d      *derivation // nil: all is to be derived anew
	last   Plan        // without its generation
}

// Update takes in news, as [Tables.Update].
func (p *Planner) Update(m *wire.Tables, full bool) {
	if full || p.d == nil || m != nil && m.Mesh != nil && *m.Mesh != p.tables.mesh {
		p.d = nil
		p.tables.Update(m, full)
		return
	}
	if m == nil {
		return
	}
	x := p.tables.affected(m)
	p.put(x, -1)
	p.tables.Update(m, false)
	p.put(x, +1)
	for _, n := range m.Networks {
		p.look(n.ID)
	}
}

// An extent is all that may lead elsewhere when news has been taken in.
type extent struct {
	peers    each[state.NodeID]
	services each[state.ServiceID]
	tasks    each[state.TaskID]
}

func (t *Tables) affected(m *wire.Tables) extent {
	var x extent
	tasks, services := t.parting(m.Networks)
	x.tasks.add(tasks...)
	x.services.add(services...)
	for _, p := range m.Peers {
		if p != t.peers[p.Node] {
			x.peers.add(p.Node)
			x.tasks.add(t.ofNode[p.Node]...)
		}
	}
	for _, s := range m.Services {
		if !reflect.DeepEqual(s, t.services[s.ID]) {
			x.services.add(s.ID)
		}
	}
	for _, id := range x.services.list {
		x.tasks.add(t.ofService[id]...)
	}
	for _, e := range m.Endpoints {
		x.tasks.add(e.Task)
	}
	return x
}

// each is a list in which everything is once.
type each[K comparable] struct {
	list []K
	seen map[K]bool
}

func (x *each[K]) add(keys ...K) {
	if x.seen == nil {
		x.seen = map[K]bool{}
	}
	for _, k := range keys {
		if !x.seen[k] {
			x.seen[k] = true
			x.list = append(x.list, k)
		}
	}
}

// put has what is known of an extent lead where it does, or with -1 for by no more.
// For that all must be known that was when it was put.
func (p *Planner) put(x extent, by int) {
	for _, id := range x.peers.list {
		p.peer(id, by)
	}
	for _, id := range x.services.list {
		p.service(id, by)
	}
	for _, id := range x.tasks.list {
		p.endpoint(id, by)
		p.publish(id, by)
	}
}

// Plan returns the network that the tasks of a node call for, and whether it is
// another than the one before, whatever its generation.
func (p *Planner) Plan(in Input) (Plan, bool) {
	tasks := in.Endpoints
	if !slices.IsSortedFunc(tasks, compareTasks) {
		tasks = slices.SortedFunc(slices.Values(tasks), compareTasks)
	}
	if p.d != nil && p.d.self == in.Self {
		p.run(tasks)
		p.d.meet()
	}
	if p.d == nil || p.d.self != in.Self || p.d.joining != p.joins(in) {
		p.derive(in, tasks)
	}
	p.settle()
	plan := Plan{
		Gateway: in.Gateway, Kept: in.Kept, Mesh: p.mesh(in), Networks: p.networks(), Endpoints: p.d.endpoints, Published: p.d.doors.list,
	}
	for _, t := range tasks {
		if in.Kept && !t.Serving {
			plan.Idle = append(plan.Idle, t.Task)
		}
	}
	if slices.EqualFunc(plan.Networks, p.last.Networks, sameNetwork) {
		plan.Networks = p.last.Networks
	}
	changed := !samePlan(plan, p.last)
	p.last = plan
	plan.Generation = in.Generation
	return plan, changed
}

// joins reports whether there are other nodes, and the mesh to them.
func (p *Planner) joins(in Input) bool {
	return in.Mesh && p.tables.mesh.VNI != 0 && len(p.d.peers) > 0
}

// mesh is what carries traffic between nodes. A node that nothing leads from or to
// has none.
func (p *Planner) mesh(in Input) Mesh {
	var m Mesh
	if !p.d.joining && len(p.d.here) == 0 {
		return m
	}
	told := &p.tables.mesh
	m.Underlay, m.Port, m.Peers = in.Underlay, told.Port, p.d.peers
	if p.d.joining {
		m.VNI, m.Subnet, m.Address, m.Routes = told.VNI, told.Subnet, p.tables.peers[in.Self].Mesh, p.d.routes.list
	}
	return m
}

// networks are the overlays that tasks of this node are on.
func (p *Planner) networks() []Network {
	var list []Network
	for _, id := range p.d.here {
		n, o := p.tables.networks[id], p.d.overlays[id]
		list = append(list, Network{
			ID: string(id), Name: n.Name, VNI: n.VNI, Subnets: n.Subnets, Internal: n.Internal,
			Remote: o.remote.list, Balanced: o.balanced.list, Names: o.names.list,
		})
	}
	return list
}

// samePlan reports whether two plans of one planner are equal: lists in which
// nothing has changed are the same ones by then.
func samePlan(a, b Plan) bool {
	m, n := a.Mesh, b.Mesh
	return a.Gateway == b.Gateway && a.Kept == b.Kept && slices.Equal(a.Idle, b.Idle) &&
		m.Underlay == n.Underlay && m.Port == n.Port && m.VNI == n.VNI && m.Subnet == n.Subnet && m.Address == n.Address &&
		identical(m.Peers, n.Peers) && identical(m.Routes, n.Routes) &&
		identical(a.Networks, b.Networks) && identical(a.Endpoints, b.Endpoints) && identical(a.Published, b.Published)
}

func sameNetwork(a, b Network) bool {
	return a.ID == b.ID && a.Name == b.Name && a.VNI == b.VNI && a.Internal == b.Internal && slices.Equal(a.Subnets, b.Subnets) &&
		identical(a.Remote, b.Remote) && identical(a.Balanced, b.Balanced) && identical(a.Names, b.Names)
}

func identical[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
