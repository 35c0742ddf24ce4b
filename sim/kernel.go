package sim

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// A kernel is what there really is of a host's network. It outlives the daemon, and
// not the machine.
type kernel struct {
	made     netplan.Plan
	planned  netplan.Plan  // what it was to be, as the daemon knows
	written  netplan.Plan  // the same, as the next daemon will know
	applying *netplan.Plan // nil: nothing is under way
}

// How long it takes to make the network as planned.
const (
	applyLeast = 200 * time.Microsecond
	applyMost  = 5 * time.Millisecond
	applySlow  = 3 * time.Second // at most, where the kernel is busy
)

// Plan is the network as it really is: the plan that was carried out last, or as much
// of it as could be.
func (h *Host) Plan() netplan.Plan { return h.kernel.made }

// Place is what the kernel has of the container's end of the network, as of now; zero
// if there is nothing.
func (c *Container) Place() netplan.Endpoint {
	list := c.Host.kernel.made.Endpoints
	i, found := slices.BinarySearchFunc(list, c.Task, func(e netplan.Endpoint, task state.TaskID) int { return cmp.Compare(e.Task, task) })
	if !found {
		return netplan.Endpoint{}
	}
	return list[i]
}

// applyNetwork has a plan applied; one that is still to be applied is overtaken.
func (h *Host) applyNetwork(plan netplan.Plan) {
	k := &h.kernel
	waiting := k.applying != nil
	k.applying = &plan
	if waiting {
		return
	}
	in := h.draws.Between(applyLeast, applyMost)
	if h.machine.draws.Chance(h.machine.mishaps.NetworkSlow) {
		h.w.Probe("network was made late")
		in = h.machine.draws.Between(applyMost, applySlow)
	}
	life, power := h.life, h.machine.power
	h.w.after(in, func() {
		if h.life != life || h.machine.power != power || k.applying == nil {
			return
		}
		next := netplan.Reduce(k.planned, *k.applying)
		k.applying, k.planned = nil, next
		answer := h.makeNetwork(next)
		h.w.after(h.draws.Between(applyLeast, applyMost), func() {
			if h.life == life && h.machine.power == power {
				k.written = next
			}
		})
		h.take(answer)
	})
}

// makeNetwork makes the network as planned, if nothing goes wrong: then a part of it
// is made, or all but some endpoints.
func (h *Host) makeNetwork(next netplan.Plan) engine.NetworkApplied {
	k, m := &h.kernel, h.machine
	answer := engine.NetworkApplied{Generation: next.Generation}
	if m.draws.Chance(m.mishaps.NetworkFail) {
		h.w.Probe("network was made in part")
		k.made = partly(k.made, next, m.draws)
		answer.Err = errors.New("the kernel refuses the network")
		return answer
	}
	made := next
	made.Endpoints = nil
	for _, e := range next.Endpoints {
		if m.draws.Chance(m.mishaps.EndpointFail) && m.containers[e.Task] == nil {
			h.w.Probe("endpoint could not be made")
			if answer.Failed == nil {
				answer.Failed = map[state.TaskID]string{}
			}
			answer.Failed[e.Task] = "the kernel refuses the endpoint"
			continue
		}
		made.Endpoints = append(made.Endpoints, e)
	}
	k.made = made
	return answer
}

// partly is a network of which only some is as it should be next.
func partly(now, next netplan.Plan, draws *Stream) netplan.Plan {
	for _, change := range []func(){
		func() { now.Endpoints = next.Endpoints },
		func() { now.Published = next.Published },
		func() { now.Networks = next.Networks },
		func() { now.Mesh = next.Mesh },
	} {
		if draws.Chance(0.5) {
			change()
		}
	}
	return now
}
