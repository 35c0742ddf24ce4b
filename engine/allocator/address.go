package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// textFull is Docker's.
const textFull = "no available IPv4 addresses on this network's address pools: "

// Addresses knows which addresses of the swarm's networks are used, and who waits
// for one. Make one with [NewAddresses].
//
// A service has an address on each of its networks, and one in the ingress network
// if it publishes ports there; a node has one in the ingress network; a task has one
// on each of its template's networks from its birth, and in the ingress network if
// ports of all nodes lead to it. A task gives its addresses up when it has ended: its
// node says so once the container is gone. Those of a task that was given up for lost
// may be in use still, and are kept as long as the task is remembered.
//
// A task that finds a network full waits, and is told why. The ingress network holds
// nobody up: a task without an address there is reached through its own node.
type Addresses struct {
	open  bool // the swarm's format has networks
	pools []*pool
	needs map[templateRef]need

	services map[state.ServiceID]bool // whose addresses may not be as they should
	nodes    map[state.NodeID]bool    // the same
	tasks    []state.TaskID           // that wait
	going    bool                     // a removed network may have nobody left
	again    bool
}

type templateRef struct {
	service state.ServiceID
	version uint64
}

// A need is what tasks of a template must be given.
type need struct {
	networks []state.NetworkID
	mesh     bool
}

func needOf(t *state.Template) (need, bool) {
	n := need{mesh: t.Meshed()}
	for _, at := range t.Spec.Networks {
		n.networks = append(n.networks, state.NetworkID(at.Target))
	}
	return n, n.mesh || len(n.networks) > 0
}

// NewAddresses looks through all objects for what is used and for who waits.
func NewAddresses(d *state.Draft) *Addresses {
	a := &Addresses{
		needs: map[templateRef]need{}, services: map[state.ServiceID]bool{}, nodes: map[state.NodeID]bool{}, going: true,
	}
	if c := d.Cluster(); c != nil {
		a.open = c.Format >= state.FormatNetworks
	}
	for n := range d.Networks() {
		a.addPools(n)
	}
	for s := range d.Services() {
		a.observeService(state.Diff[state.Service]{After: s})
	}
	for n := range d.Nodes() {
		a.observeNode(state.Diff[state.Node]{After: n})
	}
	for _, id := range d.ServicesWithTemplates() {
		for _, t := range d.Templates(id) {
			a.observeTemplate(state.Diff[state.Template]{After: t})
		}
	}
	if len(a.needs) > 0 {
		for t := range d.Tasks() {
			a.observeTask(state.Diff[state.Task]{After: t})
		}
	}
	a.again = a.open
	return a
}

// Observe takes in changes that were made to the draft or the store, by anybody.
func (a *Addresses) Observe(delta *state.Delta) {
	needed := len(a.needs) > 0
	for _, c := range delta.Clusters {
		a.open = c.After != nil && c.After.Format >= state.FormatNetworks
	}
	for _, n := range delta.Networks {
		a.observeNetwork(n)
	}
	for _, n := range delta.Nodes {
		a.observeNode(n)
	}
	for _, s := range delta.Services {
		a.observeService(s)
	}
	for _, t := range delta.Templates {
		a.observeTemplate(t)
	}
	if needed || len(a.needs) > 0 {
		for _, t := range delta.Tasks {
			a.observeTask(t)
		}
	}
}

func (a *Addresses) observeNetwork(d state.Diff[state.Network]) {
	switch {
	case d.After == nil && d.Before == nil:
	case d.After == nil:
		a.pools = slices.DeleteFunc(a.pools, func(p *pool) bool { return p.network.ID == d.Before.ID })
	case d.Before == nil:
		a.addPools(d.After)
	default:
		for _, p := range a.pools {
			if p.network.ID == d.After.ID {
				p.network = d.After
			}
		}
	}
	if d.After != nil && (d.After.Removed || d.After.Spec.Ingress) {
		a.again = true
		a.going = a.going || d.After.Removed
	}
}

// addPools puts the pools of a network where their addresses are looked for.
func (a *Addresses) addPools(n *state.Network) {
	for _, at := range n.Subnets {
		p := newPool(n, at)
		i, there := slices.BinarySearchFunc(a.pools, p.subnet.Addr(), comparePool)
		if !there {
			a.pools = slices.Insert(a.pools, i, p)
		}
	}
}

func comparePool(p *pool, at netip.Addr) int { return p.subnet.Addr().Compare(at) }

// poolOf is the pool that an address is from; subnets of networks do not overlap.
func (a *Addresses) poolOf(at netip.Addr) *pool {
	i, there := slices.BinarySearchFunc(a.pools, at, comparePool)
	if !there {
		i--
	}
	if i >= 0 && a.pools[i].subnet.Contains(at) {
		return a.pools[i]
	}
	return nil
}

// pool is a network's pool of one family.
func (a *Addresses) pool(id state.NetworkID, six bool) *pool {
	for _, p := range a.pools {
		if p.network.ID == id && p.subnet.Addr().Is6() == six {
			return p
		}
	}
	return nil
}

// ingress is the pool of the network of published ports, nil if there is none.
func (a *Addresses) ingress() *pool {
	for _, p := range a.pools {
		if p.network.Spec.Ingress && !p.network.Removed {
			return p
		}
	}
	return nil
}

func (a *Addresses) take(at netip.Addr, owner string) {
	if p := a.poolOf(at); p != nil {
		p.take(at, owner)
	}
}

// free gives an address up; who waits for one of its network may try again.
func (a *Addresses) free(at netip.Addr, owner string) {
	p := a.poolOf(at)
	if p == nil || !p.free(at, owner) {
		return
	}
	if len(p.stuck) > 0 || len(a.services) > 0 || p.network.Removed && len(p.used) == 0 {
		a.again = true
	}
}

func (a *Addresses) observeNode(d state.Diff[state.Node]) {
	if b := d.Before; b != nil && b.Mesh.IsValid() && (d.After == nil || d.After.Mesh != b.Mesh) {
		a.free(b.Mesh, nodeOwner(b.ID))
	}
	n := d.After
	switch {
	case n == nil:
		return
	case n.Mesh.IsValid():
		a.take(n.Mesh, nodeOwner(n.ID))
	case d.Before == nil:
		a.nodes[n.ID], a.again = true, true
	}
}

func (a *Addresses) observeService(d state.Diff[state.Service]) {
	if b := d.Before; b != nil {
		for _, v := range b.VIPs {
			if d.After == nil || !slices.Contains(d.After.VIPs, v) {
				a.free(v.Address.Addr(), serviceOwner(b.ID))
			}
		}
	}
	s := d.After
	if s == nil {
		if d.Before != nil {
			delete(a.services, d.Before.ID)
		}
		return
	}
	for _, v := range s.VIPs {
		a.take(v.Address.Addr(), serviceOwner(s.ID))
	}
	if d.Before == nil || d.Before.SpecVersion != s.SpecVersion || !slices.Equal(d.Before.Ports, s.Ports) {
		if balanced(s) || len(s.VIPs) > 0 {
			a.services[s.ID], a.again = true, true
		}
	}
}

func (a *Addresses) observeTemplate(d state.Diff[state.Template]) {
	if t := d.After; t != nil {
		if n, any := needOf(t); any {
			a.needs[templateRef{t.Service, t.Version}] = n
		}
	} else if t := d.Before; t != nil {
		delete(a.needs, templateRef{t.Service, t.Version})
	}
}

func (a *Addresses) observeTask(d state.Diff[state.Task]) {
	t := cmp.Or(d.After, d.Before)
	switch {
	case t == nil:
	case d.After == nil, holdsNot(t), t.Desired > state.TaskComplete && placedOn(t) && mutant.On(mutant.AddressFreedEarly):
		if placedOn(t) && mutant.On(mutant.AddressKept) {
			return
		}
		for _, at := range t.Addresses {
			a.free(at, taskOwner(t.ID))
		}
		if t.Mesh.IsValid() {
			a.free(t.Mesh, taskOwner(t.ID))
		}
	case placedOn(t):
		if d.Before == nil && mutant.On(mutant.AddressesUnmarked) {
			return
		}
		if d.Before == nil || len(d.Before.Addresses) == 0 && !d.Before.Mesh.IsValid() {
			for _, at := range t.Addresses {
				a.take(at, taskOwner(t.ID))
			}
			if t.Mesh.IsValid() {
				a.take(t.Mesh, taskOwner(t.ID))
			}
		}
	case d.Before == nil && unplaced(t):
		if _, needy := a.needs[templateRef{t.Service, t.Template}]; needy {
			a.tasks, a.again = append(a.tasks, t.ID), true
		}
	}
}

// placedOn reports whether a task has addresses.
func placedOn(t *state.Task) bool { return len(t.Addresses) > 0 || t.Mesh.IsValid() }

// holdsNot reports whether a task has ended in a way that its node has told.
func holdsNot(t *state.Task) bool {
	return t.Status.State.Terminal() && t.Status.State != state.TaskOrphaned
}

// unplaced reports whether a task without addresses may be given some: it has no
// place yet, and is to have one.
func unplaced(t *state.Task) bool {
	return t.Status.State < state.TaskAssigned && t.Desired < state.TaskShutdown
}

// Pending reports whether [Addresses.Assign] may have something to do.
func (a *Addresses) Pending() bool { return a.open && a.again }

func taskOwner(id state.TaskID) string       { return "task " + string(id) }
func serviceOwner(id state.ServiceID) string { return "service " + string(id) }
func nodeOwner(id state.NodeID) string       { return "node " + string(id) }

// Assign gives nodes, services and tasks the addresses that they wait for, and
// forgets removed networks that nobody is on any more. Tasks of the draft are served
// though it is full: they make it no longer.
func (a *Addresses) Assign(d *state.Draft, wall state.Wall) {
	if !a.open {
		return
	}
	a.again = false
	a.assignNodes(d)
	for _, id := range slices.Sorted(maps.Keys(a.services)) {
		if d.Full() {
			a.again = true
			break
		}
		if s := d.Service(id); s == nil || a.assignService(d, s) {
			delete(a.services, id)
		}
	}
	a.assignTasks(d, wall)
	a.forget(d)
}

// assignNodes gives nodes their addresses in the mesh. They change only with the
// ingress network.
func (a *Addresses) assignNodes(d *state.Draft) {
	in := a.ingress()
	for _, p := range a.pools { // those of an ingress network that has been removed
		if !p.network.Spec.Ingress || !p.network.Removed {
			continue
		}
		for n := range d.Nodes() {
			if p.subnet.Contains(n.Mesh) {
				a.nodes[n.ID] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.nodes)) {
		n := d.Node(id)
		if n == nil || in != nil && in.subnet.Contains(n.Mesh) {
			delete(a.nodes, id)
			continue
		}
		if d.Full() {
			a.again = true
			return
		}
		put := *n
		put.Mesh = netip.Addr{}
		if in != nil {
			at, free := in.give(nodeOwner(id))
			if !free {
				continue
			}
			put.Mesh = at
			delete(a.nodes, id)
		}
		if put.Mesh != n.Mesh {
			d.PutNode(&put)
		}
	}
}

// balanced reports whether a service has addresses of its own.
func balanced(s *state.Service) bool {
	e := s.Spec.EndpointSpec
	return (e == nil || e.Mode != swarm.ResolutionModeDNSRR) && (len(s.Spec.TaskTemplate.Networks) > 0 || publishes(s))
}

func publishes(s *state.Service) bool {
	return slices.ContainsFunc(s.Ports, func(p swarm.PortConfig) bool { return p.PublishMode == swarm.PortConfigPublishModeIngress })
}

// assignService gives a service an address on each network that it is on, and takes
// those that it needs no more. It reports whether it has all.
func (a *Addresses) assignService(d *state.Draft, s *state.Service) bool {
	var wanted []state.NetworkID
	if balanced(s) {
		if in := a.ingress(); in != nil && publishes(s) {
			wanted = append(wanted, in.network.ID)
		}
		for _, at := range s.Spec.TaskTemplate.Networks {
			wanted = append(wanted, state.NetworkID(at.Target))
		}
	}
	all := true
	var vips []state.VIP
	for _, id := range wanted {
		if i := slices.IndexFunc(s.VIPs, func(v state.VIP) bool { return v.Network == id }); i >= 0 {
			vips = append(vips, s.VIPs[i])
			continue
		}
		p := a.pool(id, false)
		if p == nil {
			continue
		}
		at, free := p.give(serviceOwner(s.ID))
		if !free {
			all = false
			continue
		}
		vips = append(vips, state.VIP{Network: id, Address: netip.PrefixFrom(at, p.subnet.Bits())})
	}
	if !slices.Equal(vips, s.VIPs) {
		put := *s
		put.VIPs = vips
		d.PutService(&put)
	}
	return all
}

// Difference tells how what is known to be used differs from what another knows, ""
// if it does not. It looks at everything, and is for checks.
func (a *Addresses) Difference(b *Addresses) string {
	if len(a.pools) != len(b.pools) {
		return fmt.Sprintf("%d pools, and %d", len(a.pools), len(b.pools))
	}
	for i, p := range a.pools {
		q := b.pools[i]
		if p.network.ID != q.network.ID || p.subnet != q.subnet {
			return fmt.Sprintf("subnet %s, and %s", p.subnet, q.subnet)
		}
		for _, at := range slices.SortedFunc(maps.Keys(p.used), netip.Addr.Compare) {
			if p.used[at] != q.used[at] {
				return fmt.Sprintf("%s is used by %q, and by %q", at, p.used[at], q.used[at])
			}
		}
		for _, at := range slices.SortedFunc(maps.Keys(q.used), netip.Addr.Compare) {
			if _, known := p.used[at]; !known {
				return fmt.Sprintf("%s is free, and used by %q", at, q.used[at])
			}
		}
	}
	return ""
}
