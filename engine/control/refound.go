package control

import (
	"net/netip"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// textLost is what is said of managers that a swarm has gone on without.
const textLost = "the swarm was founded anew without this manager"

// Refound makes one node the only manager of a swarm whose others are lost. All
// else stays: services, tasks, nodes, tokens. The other managers are workers from
// now on, and taken for dead until they are heard of: whoever of them comes back
// has another log than this, and begins as a worker, without one.
func Refound(d *state.Draft, wall state.Wall, self state.NodeID, advertised string) {
	var changed []*state.Node
	for n := range d.Nodes() {
		put := *n
		put.Version, put.Updated = d.Version(), wall
		switch {
		case n.ID == self:
			put.Manager, put.ManagerAddr = true, advertised
			put.Spec.Role = swarm.NodeRoleManager
			if addr, err := netip.ParseAddrPort(advertised); err == nil {
				put.Addr = addr.Addr().String()
			}
		case n.Manager || n.Spec.Role == swarm.NodeRoleManager:
			put.Manager, put.ManagerAddr = false, ""
			put.Spec.Role = swarm.NodeRoleWorker
			put.SpecVersion, put.Trust = d.Version(), d.Version()
			if n.State != state.NodeDown {
				put.State, put.Since = state.NodeDown, wall
			}
			put.Message = textLost
		default:
			continue
		}
		changed = append(changed, &put)
	}
	for _, n := range changed {
		d.PutNode(n)
	}
}
