package check

import (
	"net/netip"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// All returns an oracle of every sentence, to watch one world.
func All() []Oracle { return append(Safety(), Liveness()...) }

// Safety returns the oracles of what must never happen, whatever goes wrong. Some
// of them look at rest too.
func Safety() []Oracle {
	return []Oracle{
		&leaderCompleteness{},
		&logOnlyGrows{map[*sim.Host]logSeen{}},
		&oneVote{map[ballot]*sim.Host{}},
		&acknowledgedLast{writes: map[request]bool{}, removes: map[request]bool{}, filled: map[uint64]bool{}, created: map[string]bool{}},
		&appliedOnce{map[state.ProposalID]uint64{}, map[string]uint64{}},
		&entriesLed{},
		&snapshotReplay{},
		&restoreIdentity{},
		&watch{map[uint64][]control.Event{}, map[*sim.Host]published{}},
		&versionsOnce{map[request]version{}, map[version]bool{}},
		&applies{},
		&tasksOfServices{map[state.TaskID]bool{}},
		&forward{},
		&immutable{},
		&assignedHaveNode{},
		&oneWanted{},
		&oneContainer{map[state.TaskID]*sim.Host{}},
		&oneOfSlot{
			live: map[slotRef][]*sim.Container{}, slot: map[*sim.Container]slotRef{}, told: map[state.TaskID]time.Duration{},
			made: map[state.TaskID]time.Duration{}, down: map[state.NodeID]time.Duration{},
		},
		&reservationsFit{},
		&placementHolds{},
		&onlyOpen{},
		&portsOnce{},
		&keepsServing{},
		&parallelism{map[state.ServiceID]uint64{}, map[state.ServiceID][]landing{}},
		&failuresCounted{map[state.ServiceID]*updateSeen{}, map[state.TaskID]time.Duration{}},
		&rollbackRestores{},
		&restarts{map[tries][]ending{}, map[tries]time.Duration{}, map[state.TaskID]time.Duration{}},
		&jobsOnce{map[tries]state.TaskID{}},
		&globalCovers{},
		&historyBounded{map[state.TaskID]bool{}},
		&addressesUnique{},
		&networksApart{map[netip.Addr]string{}},
		&addressesKept{},
		&addressesRest{},
		&quarantine{map[netip.Addr]*sim.Container{}, map[*sim.Container][]netip.Addr{}},
		&portsLead{},
		&portsOrder{map[hostAddress]time.Duration{}},
		&lettingGo{map[state.TaskID]time.Duration{}, map[state.NodeID]time.Duration{}},
		&tablesConverge{},
	}
}

// Liveness returns the oracles of what must come about once a core of the swarm is
// well: see [Settle].
func Liveness() []Oracle {
	return []Oracle{
		&leaderElected{},
		&writesCommit{},
		&followersCatchUp{installs: map[*sim.Host]int{}, own: map[*sim.Host]bool{}},
		&desiredActual{},
		&updatesEnd{},
		&drainedEmpty{},
		&deadNoticed{},
		&notPremature{proposed: map[state.ProposalID]time.Duration{}},
		&nothingLeaks{},
		&restQuiet{},
		&pendingPlaced{},
		&callsReturn{out: map[request]bool{}},
		&removalRemoves{},
		&coreConverges{},
		&certificatesFresh{},
	}
}
