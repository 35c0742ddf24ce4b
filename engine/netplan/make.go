package netplan

import (
	"net/netip"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// An Input is what a node's network is planned from.
type Input struct {
	Generation uint64
	Gateway    netip.Prefix
	Endpoints  []Task // each task once

	Self     state.NodeID
	Underlay netip.Addr // the node's own, where its peers reach it
	// Mesh says that the node can carry the mesh: without it ports lead to its own
	// tasks alone.
	Mesh bool
	// Tables are what has been told; nil: nothing yet. A [Planner] has its own.
	Tables *Tables
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
	var p Planner
	if in.Tables != nil {
		p.tables = *in.Tables // it is only read
	}
	plan, _ := p.Plan(in)
	return plan
}
