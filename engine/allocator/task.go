package allocator

import (
	"net/netip"
	"slices"

	"github.com/swarmd/swarmd/engine/state"
)

// assignTasks gives waiting tasks their addresses, in the order in which they came.
func (a *Addresses) assignTasks(d *state.Draft, wall state.Wall) {
	for _, p := range a.pools { // who found a network full may try again
		if !p.full && len(p.stuck) > 0 {
			a.tasks = append(p.stuck, a.tasks...)
			p.stuck = nil
		}
	}
	queue := a.tasks
	a.tasks = nil
	for i, id := range queue {
		t := d.Task(id)
		if t == nil || !unplaced(t) || len(t.Addresses) > 0 || t.Mesh.IsValid() {
			continue
		}
		if d.Full() && t.Version != d.Version() {
			a.tasks, a.again = queue[i:], true
			return
		}
		a.assignTask(d, t, wall)
	}
}

// assignTask gives a task all of its addresses, or none, and the reason.
func (a *Addresses) assignTask(d *state.Draft, t *state.Task, wall state.Wall) {
	needs := a.needs[templateRef{t.Service, t.Template}]
	owner := taskOwner(t.ID)
	put := *t
	for _, id := range needs.networks {
		given, full := a.onNetwork(id, owner)
		if full != nil {
			a.giveBack(put.Addresses, owner)
			full.stuck = append(full.stuck, t.ID)
			a.refuse(d, t, full.network, wall)
			return
		}
		if len(given) == 0 { // a network that is gone
			a.giveBack(put.Addresses, owner)
			a.refuse(d, t, &state.Network{ID: id}, wall)
			return
		}
		put.Addresses = append(put.Addresses, given...)
	}
	if in := a.ingress(); in != nil && needs.mesh {
		if at, free := in.give(owner); free {
			put.Mesh = at
		}
	}
	if len(put.Addresses) == 0 && !put.Mesh.IsValid() {
		return
	}
	if put.Status.Err != "" {
		put.Status.Err, put.Status.At, put.Updated = "", wall, wall
	}
	d.PutTask(&put)
}

// onNetwork gives addresses on one network: one of each of its families. If a pool
// is full it is returned, and nothing is given.
func (a *Addresses) onNetwork(id state.NetworkID, owner string) (given []netip.Addr, full *pool) {
	for _, six := range []bool{false, true} {
		p := a.pool(id, six)
		if p == nil {
			continue
		}
		at, free := p.give(owner)
		if !free {
			a.giveBack(given, owner)
			return nil, p
		}
		given = append(given, at)
	}
	return given, nil
}

// giveBack takes back what a task was given that has not all it needs.
func (a *Addresses) giveBack(given []netip.Addr, owner string) {
	for _, at := range given {
		if p := a.poolOf(at); p != nil {
			p.free(at, owner)
		}
	}
}

// refuse tells a task why it waits.
func (a *Addresses) refuse(d *state.Draft, t *state.Task, n *state.Network, wall state.Wall) {
	why := textFull + n.Spec.Name + " (" + string(n.ID) + ")"
	if n.Spec.Name == "" {
		why = "network " + string(n.ID) + " not found"
	}
	if t.Status.Err == why {
		return
	}
	put := *t
	put.Status.Err, put.Status.At, put.Updated = why, wall, wall
	d.PutTask(&put)
}

// forget deletes removed networks that nobody has an address of.
func (a *Addresses) forget(d *state.Draft) {
	if !a.going {
		return
	}
	a.going = false
	held := map[state.NetworkID]bool{}
	var removed []state.NetworkID
	for _, p := range a.pools {
		if p.network.Removed {
			held[p.network.ID] = held[p.network.ID] || len(p.used) > 0
			removed = append(removed, p.network.ID)
		}
	}
	slices.Sort(removed)
	for _, id := range slices.Compact(removed) {
		if held[id] || d.Full() {
			a.going = true
			continue
		}
		d.DeleteNetwork(id)
	}
}
