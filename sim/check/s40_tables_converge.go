package check

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// tablesConverge holds the networks of the core's hosts, at rest, against what the
// replicated state comes to. It is reckoned anew, not with netplan.
type tablesConverge struct{}

// Sentence implements [Oracle].
func (*tablesConverge) Sentence() string {
	return "S40 at rest the network of every node is what services and tasks come to: no more and no less"
}

// AtRest implements [Rester].
func (o *tablesConverge) AtRest(c *Checker) {
	for _, h := range c.World.Hosts {
		if n := c.View().Node(h.ID); c.core(h) && h.Up() && n != nil {
			(&reckoning{o: o, c: c, h: h, plan: h.Plan(), ids: c.places()}).judge()
		}
	}
}

// places are the tasks that have a place in the swarm's networks, by task.
func (c *Checker) places() []*state.Task {
	var list []*state.Task
	for t := range c.View().Tasks() {
		if t.Node != "" && holding(t) && (len(t.Addresses) > 0 || t.Mesh.IsValid()) {
			list = append(list, t)
		}
	}
	return list
}

// A reckoning is one host's.
type reckoning struct {
	o    *tablesConverge
	c    *Checker
	h    *sim.Host
	plan netplan.Plan
	ids  []*state.Task
}

func (r *reckoning) violate(format string, args ...any) {
	r.c.Violate(r.o, "on %s %s", r.h.Name, fmt.Sprintf(format, args...))
}

// serves reports whether something may lead to a task.
func (r *reckoning) serves(t *state.Task) bool {
	n := r.c.View().Node(t.Node)
	return t.Status.State == state.TaskRunning && t.Desired <= state.TaskComplete && n != nil && n.State != state.NodeDown
}

// reached reports whether a task is on another node that there is a way to.
func (r *reckoning) reached(t *state.Task) bool {
	n := r.c.View().Node(t.Node)
	return t.Node != r.h.ID && n != nil && n.Addr != ""
}

// at is the task's place on a network.
func (r *reckoning) at(t *state.Task, id state.NetworkID) []netip.Addr {
	for _, a := range t.Attachments(r.c.template(t)) {
		if a.Network == id {
			return a.Addresses
		}
	}
	return nil
}

func (r *reckoning) judge() {
	here := map[state.NetworkID]bool{}
	for _, t := range r.ids {
		if t.Node != r.h.ID {
			continue
		}
		for _, a := range t.Attachments(r.c.template(t)) {
			here[a.Network] = true
		}
	}
	for _, n := range r.plan.Networks {
		id := state.NetworkID(n.ID)
		if !here[id] && !r.c.anyRestless() {
			r.violate("network %s is still made, and no task is on it", n.Name)
		}
		delete(here, id)
		if of := r.c.View().Network(id); of == nil || of.VNI != n.VNI {
			r.violate("network %s is made with number %d, and is %+v", n.Name, n.VNI, of)
		} else if !r.restlessOn(id) {
			r.network(n, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(here)) {
		if !r.restlessOn(id) {
			r.violate("network %s is not made, and tasks are on it", id)
		}
	}
	r.ports()
}

// restlessOn reports whether anybody on a network may never come to rest.
func (r *reckoning) restlessOn(id state.NetworkID) bool {
	for s := range r.c.View().Services() {
		on := slices.ContainsFunc(s.Spec.TaskTemplate.Networks, func(a swarm.NetworkAttachmentConfig) bool { return a.Target == string(id) })
		if (on || slices.ContainsFunc(r.ids, func(t *state.Task) bool { return t.Service == s.ID && len(r.at(t, id)) > 0 })) && r.c.restless(s) {
			return true
		}
	}
	return false
}

func (r *reckoning) network(n netplan.Network, id state.NetworkID) {
	var want []netip.Addr
	for _, t := range r.ids {
		if r.reached(t) {
			want = append(want, r.at(t, id)...)
		}
	}
	var have []netip.Addr
	for _, x := range n.Remote {
		have = append(have, x.Address)
	}
	r.same(have, want, "network %s has routes to", n.Name)
	balanced := map[netip.Addr][]netip.Addr{}
	for _, b := range n.Balanced {
		balanced[b.VIP] = b.Backends
	}
	names := map[string][]netip.Addr{}
	for s := range r.c.View().Services() {
		serving, all := r.serving(s, id)
		at := netip.Addr{}
		for _, v := range s.VIPs {
			if v.Network == id {
				at = v.Address.Addr()
				r.same(balanced[at], serving, "%s of service %s leads to", at, s.Spec.Name)
				delete(balanced, at)
			}
		}
		// A service that was taken off a network has no name there, though tasks may
		// still be on it: until the update has come to them, or for good if it does not.
		for _, on := range s.Spec.TaskTemplate.Networks {
			if on.Target != string(id) {
				continue
			}
			if len(all) > 0 {
				names["tasks."+s.Spec.Name] = all
			}
			for _, name := range append([]string{s.Spec.Name}, on.Aliases...) {
				if at.IsValid() {
					names[name] = append(names[name], at)
				} else {
					names[name] = append(names[name], all...)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r.same(named(n, name), names[name], "the name %s stands for", name)
	}
	for _, at := range slices.SortedFunc(maps.Keys(balanced), netip.Addr.Compare) {
		r.violate("%s is balanced, and is no service's", at)
	}
}

// serving are the addresses of a service's tasks on a network that something may lead
// to: the first of each, and all.
func (r *reckoning) serving(s *state.Service, id state.NetworkID) (firsts, all []netip.Addr) {
	for _, t := range r.ids {
		if on := r.at(t, id); len(on) > 0 && t.Service == s.ID && r.serves(t) {
			firsts = append(firsts, on[0])
			all = append(all, on...)
		}
	}
	return firsts, all
}

// ports looks at those that all nodes publish.
func (r *reckoning) ports() {
	if r.plan.Mesh.VNI == 0 {
		return // a node by itself
	}
	published := map[hostPort][]netip.Addr{}
	for _, p := range r.plan.Published {
		for _, b := range p.Backends {
			at := hostPort{p.Protocol, uint32(p.Port)}
			published[at] = append(published[at], b.Address)
		}
	}
	for s := range r.c.View().Services() {
		if r.c.restless(s) {
			continue
		}
		for _, p := range s.Ports {
			if p.PublishMode != swarm.PortConfigPublishModeIngress || p.PublishedPort == 0 {
				continue
			}
			at := hostPort{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort}
			if want, plain := r.behind(s, at); plain {
				r.same(published[at], want, "port %d of service %s leads to", at.port, s.Spec.Name)
			}
		}
	}
}

// behind are the tasks that a port of a service leads to. It reports false if tasks
// of the node itself are another matter: they publish something else.
func (r *reckoning) behind(s *state.Service, at hostPort) (to []netip.Addr, plain bool) {
	for _, t := range r.ids {
		if t.Service != s.ID || !r.serves(t) {
			continue
		}
		if t.Node != r.h.ID && (!t.Mesh.IsValid() || !r.reached(t)) {
			continue
		}
		made := r.c.template(t)
		publishes := made != nil && slices.ContainsFunc(made.Ports, func(p swarm.PortConfig) bool { return p.PublishedPort == at.port })
		if t.Node == r.h.ID && (!publishes || !t.Mesh.IsValid()) {
			return nil, false
		}
		to = append(to, t.Mesh)
	}
	return to, true
}

// same compares sets of addresses.
func (r *reckoning) same(have, want []netip.Addr, format string, args ...any) {
	have, want = unique(have), unique(want)
	if !slices.Equal(have, want) {
		r.violate("%s %v, and should %v", fmt.Sprintf(format, args...), have, want)
	}
}

func unique(list []netip.Addr) []netip.Addr {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// named is what a name stands for on a network.
func named(n netplan.Network, name string) []netip.Addr {
	for _, x := range n.Names {
		if x.Name == strings.ToLower(name) {
			return x.Addresses
		}
	}
	return nil
}
