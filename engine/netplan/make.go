package netplan

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// An Input is what a node's network is planned from.
type Input struct {
	Generation uint64
	Gateway    netip.Prefix
	Endpoints  []Task

	Self     state.NodeID
	Underlay netip.Addr // the node's own, where its peers reach it
	// Mesh says that the node can carry the mesh: without it ports lead to its own
	// tasks alone.
	Mesh   bool
	Tables *Tables // nil: nothing has been told yet
	// Kept says that nothing will have been told for a while: see [Plan].
	Kept bool
}

// A Task is a task that has a place in the node's network.
type Task struct {
	Task    state.TaskID
	Address netip.Addr
	Serving bool // its published ports may lead to it
	Ports   []swarm.PortConfig
	// Publishing is how they are published, where nothing was told of the service.
	Publishing state.Publishing

	Attachments []state.Attachment
	Mesh        netip.Addr   // its address in the mesh
	DNS         []netip.Addr // name servers, instead of the node's
}

// Make returns the network that the tasks of a node call for. Equal inputs, in
// whatever order, give equal plans.
//
// A port is published as long as a task of this node publishes it, serving or
// not: with no serving task the port refuses at once, where an unpublished one
// might be answered by something else. Where there is a mesh, every node publishes
// the ports of every service. Ports without a number (not given out yet) are left
// out.
func Make(in Input) Plan {
	v := newView(in)
	plan := Plan{Generation: in.Generation, Gateway: in.Gateway, Kept: in.Kept, Mesh: v.mesh(), Networks: v.networks()}
	published := make(map[socket]int)
	publish := func(p swarm.PortConfig, how state.Publishing, backends ...netip.Addr) {
		if !number(p.PublishedPort) || !number(p.TargetPort) {
			return
		}
		at := socket{cmp.Or(string(p.Protocol), "tcp"), uint16(p.PublishedPort)}
		i, ok := published[at]
		if !ok {
			i = len(plan.Published)
			published[at] = i
			plan.Published = append(plan.Published, Published{Protocol: at.protocol, HostIP: how.Address, Port: at.port, Sticky: how.Sticky})
		}
		plan.Published[i].Backends = slices.Grow(plan.Published[i].Backends, len(backends))
		for _, to := range backends {
			plan.Published[i].Backends = append(plan.Published[i].Backends, Backend{to, uint16(p.TargetPort)})
		}
	}
	v.elsewhere(func(p swarm.PortConfig, how state.Publishing, backends []netip.Addr) { publish(p, how, backends...) })
	for _, t := range slices.SortedFunc(slices.Values(in.Endpoints), compareTasks) {
		e := v.endpoint(t)
		plan.Endpoints = append(plan.Endpoints, e)
		if in.Kept && !t.Serving {
			plan.Idle = append(plan.Idle, t.Task)
		}
		to := e.Address
		if e.Mesh.IsValid() {
			to = e.Mesh // where the task answers from
		}
		told := v.Tables.endpoints[t.Task]
		leaving := told != nil && told.Phase == wire.EndpointLeaving
		for _, p := range t.Ports {
			if t.Serving && (!leaving || p.PublishMode == swarm.PortConfigPublishModeHost) {
				publish(p, t.Publishing, to)
			} else {
				publish(p, t.Publishing)
			}
		}
	}
	slices.SortFunc(plan.Endpoints, compareEndpoints)
	slices.Sort(plan.Idle)
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

func compareTasks(a, b Task) int { return strings.Compare(string(a.Task), string(b.Task)) }

func compareEndpoints(a, b Endpoint) int { return strings.Compare(string(a.Task), string(b.Task)) }

func comparePublished(a, b Published) int {
	return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.HostIP.Compare(b.HostIP))
}
