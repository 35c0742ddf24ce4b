package control

import (
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// Writes reports whether a call changes the swarm, and so is for [Admit]; what
// is left is for [Read], except what a node answers alone: [SwarmInit],
// [SwarmLeave] and [Info].
func Writes(call Call) bool {
	switch call.(type) {
	case NodeJoin, NodeRenew, SwarmUpdate, NodeUpdate, NodeRemove, ServiceCreate, ServiceUpdate, ServiceRemove,
		NetworkCreate, NetworkRemove:
		return true
	default:
		return false
	}
}

// Admit checks a call that writes and writes to the draft what it asks for. The
// answer holds once the draft has committed. A refused call writes nothing.
//
// What the orchestrator must know: an updated service has its Template set, and
// Update says "updating" or "rollback_started" when its slots are to be moved to
// that template; a removed service is gone from the draft while its tasks are
// still there. Published ports that nobody chose are still 0 in Service.Ports
// and Template.Ports: the allocator gives them out in the same pass.
func Admit(d *state.Draft, mint *entropy.Source, wall state.Wall, call Call) Answer {
	a := admission{d: d, mint: mint, wall: wall}
	switch call := call.(type) {
	case SwarmUpdate:
		return a.updateSwarm(call)
	case NodeJoin:
		return a.joinNode(call)
	case NodeRenew:
		return a.renewNode(call)
	case NodeUpdate:
		return a.updateNode(call)
	case NodeRemove:
		return a.removeNode(call)
	case ServiceCreate:
		return a.createService(call)
	case ServiceUpdate:
		return a.updateService(call)
	case ServiceRemove:
		return a.removeService(call)
	case NetworkCreate:
		return a.createNetwork(call)
	case NetworkRemove:
		return a.removeNetwork(call)
	default:
		return *plain(Unimplemented, "%T is not a call that writes", call)
	}
}

// An admission is what every call that writes needs.
type admission struct {
	d    *state.Draft
	mint *entropy.Source
	wall state.Wall
}

// created is the Meta of an object that is new in the draft.
func (a *admission) created() state.Meta {
	return state.Meta{Version: a.d.Version(), Created: a.wall, Updated: a.wall}
}

// touched is the Meta of an object that is written again in the draft.
func (a *admission) touched(m state.Meta) state.Meta {
	m.Version, m.Updated = a.d.Version(), a.wall
	return m
}

// outOfSequence refuses an update that was made to something older than what is
// stored. A version written in this very draft cannot have been read by anybody.
func (a *admission) outOfSequence(presented, stored uint64) *Failed {
	if (presented != stored || stored == a.d.Version()) && !mutant.On(mutant.VersionUnchecked) {
		return unknown("update out of sequence")
	}
	return nil
}
