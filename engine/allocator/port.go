// Package allocator gives out what services ask for without choosing it: the ports
// that they publish on every node, and the addresses that they, their tasks and the
// nodes have on the swarm's networks.
//
// A port that was given out stays with its service across updates and is free
// again when the service is removed or no longer asks for it. What is given out is
// in the store (Service.Ports and VIPs, Task.Addresses and Mesh, Node.Mesh); a [Ports]
// and an [Addresses] only remember who still waits, and may be thrown away at any
// moment.
//
// Nothing is promised about which service is served first when there are fewer
// ports than wishes.
package allocator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// The ports that are given out, lowest first, for each protocol by itself. They
// are Docker's.
const (
	PortFirst uint32 = 30000
	PortLast  uint32 = 32767
)

// Ports knows the services that wait for a port. Make one with [New].
type Ports struct {
	waiting map[state.ServiceID]bool
	again   bool // something has changed since the last Assign
}

// New looks through all services for those that wait.
func New(d *state.Draft) *Ports {
	p := &Ports{waiting: map[state.ServiceID]bool{}}
	for s := range d.Services() {
		if wants(s) {
			p.waiting[s.ID] = true
			p.again = true
		}
	}
	return p
}

// Observe takes in changes that were made to the draft or the store, by anybody:
// who wants a port waits, and one that was given up lets all who wait try again.
func (p *Ports) Observe(delta *state.Delta) {
	for _, d := range delta.Services {
		switch {
		case d.After == nil:
			delete(p.waiting, d.Before.ID)
		case wants(d.After):
			if !p.waiting[d.After.ID] || d.Before == nil || !slices.Equal(d.Before.Ports, d.After.Ports) {
				p.waiting[d.After.ID], p.again = true, true
			}
		default:
			delete(p.waiting, d.After.ID)
		}
		if len(p.waiting) > 0 && frees(d) {
			p.again = true
		}
	}
}

// frees reports whether a service published a port that it does not any more.
func frees(d state.Diff[state.Service]) bool {
	if d.Before == nil {
		return false
	}
	return slices.ContainsFunc(d.Before.Ports, func(p swarm.PortConfig) bool {
		return p.PublishedPort != 0 && (d.After == nil || !slices.Contains(d.After.Ports, p))
	})
}

// Pending reports whether [Ports.Assign] may have something to do.
func (p *Ports) Pending() bool { return p.again }

// Assign gives every waiting service its ports, in the service and in the template
// of its new tasks. The ports of services in the draft that chose theirs must be
// there already. A service for which none is left keeps waiting: its port is not
// published until another service gives one up.
func (p *Ports) Assign(d *state.Draft) {
	p.again = false
	for _, id := range slices.Sorted(maps.Keys(p.waiting)) {
		s := d.Service(id)
		if s == nil || !wants(s) {
			delete(p.waiting, id)
			continue
		}
		if assign(d, s) {
			delete(p.waiting, id)
		}
	}
}

// assign gives a service what it can, and reports whether that was all.
func assign(d *state.Draft, s *state.Service) bool {
	type published struct {
		protocol network.IPProtocol
		port     uint32
	}
	ports := slices.Clone(s.Ports)
	given := map[published]bool{}
	some, all := false, true
	for i := range ports {
		if !waits(ports[i]) {
			continue
		}
		port := PortFirst
		for port <= PortLast && (given[published{ports[i].Protocol, port}] || used(d, ports[i].Protocol, port)) {
			port++
		}
		if port > PortLast {
			all = false
			continue
		}
		given[published{ports[i].Protocol, port}] = true
		ports[i].PublishedPort = port
		some = true
	}
	if !some {
		return false
	}
	next := *s
	next.Ports = ports
	d.PutService(&next)
	if t := d.Template(s.ID, s.Template); t != nil {
		made := *t
		made.Ports = ports
		d.PutTemplate(&made)
	}
	return all
}

// used reports whether any service publishes the port, in either mode.
func used(d *state.Draft, protocol network.IPProtocol, port uint32) bool {
	_, _, taken := d.PortOwner(cmp.Or(string(protocol), "tcp"), port, "", "")
	return taken && !mutant.On(mutant.PortGivenTwice)
}

func wants(s *state.Service) bool { return slices.ContainsFunc(s.Ports, waits) }

// waits reports whether a port is published by all nodes under a number that
// nobody has chosen. Of a host's own ports the host chooses.
func waits(p swarm.PortConfig) bool {
	return p.PublishMode == swarm.PortConfigPublishModeIngress && p.PublishedPort == 0
}
