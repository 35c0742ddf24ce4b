package check

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine/state"
)

// networksApart keeps who has which address of the swarm's networks, by what the log
// says.
type networksApart struct{ held map[netip.Addr]string }

// Sentence implements [Oracle].
func (*networksApart) Sentence() string {
	return "S37 networks share no number and no subnet, and services, tasks and nodes no address"
}

// Committed implements [Committer].
func (o *networksApart) Committed(c *Checker, _ uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Networks {
		if d.After != nil {
			o.network(c, d.After)
		}
	}
	type change struct {
		owner        string
		before, then []netip.Addr
	}
	var changes []change
	for _, d := range delta.Tasks {
		if x := first(d); x != nil {
			changes = append(changes, change{"task " + string(x.ID), taskAddresses(d.Before), taskAddresses(d.After)})
		}
	}
	for _, d := range delta.Services {
		if x := first(d); x != nil {
			changes = append(changes, change{"service " + string(x.ID), serviceAddresses(d.Before), serviceAddresses(d.After)})
		}
	}
	for _, d := range delta.Nodes {
		if x := first(d); x != nil {
			changes = append(changes, change{"node " + string(x.ID), nodeAddresses(d.Before), nodeAddresses(d.After)})
		}
	}
	for _, x := range changes { // what is given up in an entry may be given in it
		for _, at := range x.before {
			if o.held[at] == x.owner {
				delete(o.held, at)
			}
		}
	}
	for _, x := range changes {
		for _, at := range x.then {
			if other, taken := o.held[at]; taken && other != x.owner {
				c.Violate(o, "%s is given %s, which %s has", x.owner, at, other)
			}
			o.held[at] = x.owner
			if !c.ofNetwork(at) {
				c.Violate(o, "%s is given %s, which is of no network, or a gateway's", x.owner, at)
			}
		}
	}
}

func (o *networksApart) network(c *Checker, n *state.Network) {
	for other := range c.View().Networks() {
		if other.ID == n.ID {
			continue
		}
		if other.VNI == n.VNI {
			c.Violate(o, "networks %s and %s both have number %d", n.Spec.Name, other.Spec.Name, n.VNI)
		}
		for _, a := range n.Subnets {
			for _, b := range other.Subnets {
				if a.Overlaps(b) {
					c.Violate(o, "networks %s and %s have the subnets %s and %s", n.Spec.Name, other.Spec.Name, a.Masked(), b.Masked())
				}
			}
		}
	}
}

// first is what a change is of, nil if it cannot be read.
func first[T any](d state.Diff[T]) *T {
	if d.After != nil {
		return d.After
	}
	return d.Before
}

// taskAddresses are those that a task keeps from others. One that has ended has
// none; one that was given up for lost may be there still.
func taskAddresses(t *state.Task) []netip.Addr {
	if t == nil || t.Status.State.Terminal() && t.Status.State != state.TaskOrphaned {
		return nil
	}
	list := append([]netip.Addr{}, t.Addresses...)
	if t.Mesh.IsValid() {
		list = append(list, t.Mesh)
	}
	return list
}

func serviceAddresses(s *state.Service) []netip.Addr {
	if s == nil {
		return nil
	}
	var list []netip.Addr
	for _, v := range s.VIPs {
		list = append(list, v.Address.Addr())
	}
	return list
}

func nodeAddresses(n *state.Node) []netip.Addr {
	if n == nil || !n.Mesh.IsValid() {
		return nil
	}
	return []netip.Addr{n.Mesh}
}

// ofNetwork reports whether an address is of some network, and nobody's gateway.
func (c *Checker) ofNetwork(at netip.Addr) bool {
	for n := range c.View().Networks() {
		for _, s := range n.Subnets {
			if s.Contains(at) {
				return at != s.Addr() && at != s.Masked().Addr()
			}
		}
	}
	return false
}
