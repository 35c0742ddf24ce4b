package netplan

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// An Input is what a node's network is planned from.
type Input struct {
	Generation uint64
	Gateway    netip.Prefix
	Endpoints  []Task
}

// A Task is a task that has a place in the node's network.
type Task struct {
	Task    state.TaskID
	Address netip.Addr
	Serving bool // its published ports may lead to it
	Ports   []swarm.PortConfig
}

// Make returns the network that the tasks of a node call for. Equal inputs, in
// whatever order, give equal plans.
//
// A port is published as long as a task of this node publishes it, serving or
// not: with no serving task the port refuses at once, where an unpublished one
// might be answered by something else. Ports without a number (not given out
// yet) are left out.
func Make(in Input) Plan {
	plan := Plan{Generation: in.Generation, Gateway: in.Gateway}
	published := make(map[socket]int)
	for _, t := range in.Endpoints {
		plan.Endpoints = append(plan.Endpoints, Endpoint{Task: t.Task, Address: t.Address})
		for _, p := range t.Ports {
			if !number(p.PublishedPort) || !number(p.TargetPort) {
				continue
			}
			at := socket{cmp.Or(string(p.Protocol), "tcp"), uint16(p.PublishedPort)}
			i, ok := published[at]
			if !ok {
				i = len(plan.Published)
				published[at] = i
				plan.Published = append(plan.Published, Published{Protocol: at.protocol, Port: at.port})
			}
			if t.Serving {
				to := &plan.Published[i].Backends
				*to = append(*to, Backend{t.Address, uint16(p.TargetPort)})
			}
		}
	}
	slices.SortFunc(plan.Endpoints, compareEndpoints)
	slices.SortFunc(plan.Published, comparePublished)
	for i := range plan.Published {
		p := &plan.Published[i]
		slices.SortFunc(p.Backends, func(a, b Backend) int {
			return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
		})
		p.Backends = slices.Compact(p.Backends)
	}
	return plan
}

// A socket is what can be published once.
type socket struct {
	protocol string
	port     uint16
}

func number(port uint32) bool { return port > 0 && port <= 65535 }

func compareEndpoints(a, b Endpoint) int { return strings.Compare(string(a.Task), string(b.Task)) }

func comparePublished(a, b Published) int {
	return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.HostIP.Compare(b.HostIP))
}
