package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/mutant"
)

// A reason is what refuses a node: the filters in the order in which they are asked.
type reason uint8

const (
	accepted reason = iota
	unavailable
	insufficient
	missingPlugin
	unsatisfied
	unsupported
	portInUse
	tooMany
	gone // there is no such node
	reasons
)

// reason returns the first filter that refuses the node to the group. It is what
// [session.takes] decides, with the reason.
func (g *group) reason(n *node) reason {
	switch {
	case n.object == nil:
		return gone
	case !n.open:
		return unavailable
	case !n.fits(&g.demand):
		return insufficient
	case g.class.leaf(n) < 0:
		return g.class.refusal(n.object)
	case !n.free(g.demand.ports):
		return portInUse
	case g.demand.max > 0 && g.service.on(n) >= g.demand.max:
		return tooMany
	default:
		return accepted
	}
}

// fits reports whether what the node has left covers what is demanded.
func (n *node) fits(d *demand) bool {
	return (d.cpu <= 0 || d.cpu <= n.cpu) && (d.memory <= 0 || d.memory <= n.memory) &&
		(len(d.generic) == 0 || n.has(d.generic)) || mutant.On(mutant.ReservationIgnored)
}

// free reports whether none of the ports is in use on the node.
func (n *node) free(ports []port) bool {
	if len(n.ports) == 0 {
		return true
	}
	for _, p := range ports {
		if n.ports[p] > 0 && !mutant.On(mutant.HostPortTwice) {
			return false
		}
	}
	return true
}

// explain says how many nodes the filter refused, in Docker's words.
func (r reason) explain(count int) string {
	nodes := "nodes"
	if count == 1 {
		nodes = "node"
	}
	switch r {
	case unavailable:
		return fmt.Sprintf("%d %s not available for new tasks", count, nodes)
	case insufficient:
		return fmt.Sprintf("insufficient resources on %d %s", count, nodes)
	case missingPlugin:
		return fmt.Sprintf("missing plugin on %d %s", count, nodes)
	case unsatisfied:
		return fmt.Sprintf("scheduling constraints not satisfied on %d %s", count, nodes)
	case unsupported:
		return fmt.Sprintf("unsupported platform on %d %s", count, nodes)
	case portInUse:
		return fmt.Sprintf("host-mode port already in use on %d %s", count, nodes)
	case tooMany:
		return "max replicas per node limit exceed"
	case accepted, gone, reasons:
	}
	return ""
}

// explanation is why nothing can be placed when so many nodes were refused by each
// filter: the filter that refused most comes first.
func explanation(counts [reasons]int) string {
	var refused []reason
	for r := unavailable; r < gone; r++ {
		if counts[r] > 0 {
			refused = append(refused, r)
		}
	}
	slices.SortStableFunc(refused, func(a, b reason) int { return counts[b] - counts[a] })
	if len(refused) == 0 {
		return "no suitable node"
	}
	var words []string
	for _, r := range refused {
		words = append(words, r.explain(counts[r]))
	}
	return "no suitable node (" + strings.Join(words, "; ") + ")"
}
