package control

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// nodesMax is how many nodes a swarm has.
const nodesMax = 100_000

// Docker's words for those that are not let in.
const (
	textBadToken   = "A valid join token is necessary to join this cluster"
	textOtherKey   = "the certificate is for a key that is not this node's any more"
	textUnknown    = "this node is not a member of the swarm: it was removed"
	textTokenForm  = "invalid join token"
	tokenPrefix    = "SWMTKN"
	tokenVersion   = "1"
	tokenDigest    = 50 // digits
	tokenSecret    = 25 // digits
	joinKeyBytesIs = 32 // a SHA-256
)

// A Token is what is in a join token.
type Token struct{ Digest, Secret string }

// ParseToken takes a join token apart.
func ParseToken(text string) (Token, *Failed) {
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != tokenPrefix || parts[1] != tokenVersion ||
		len(parts[2]) != tokenDigest || len(parts[3]) != tokenSecret {
		return Token{}, plain(Invalid, textTokenForm)
	}
	return Token{parts[2], parts[3]}, nil
}

// CheckJoin refuses what no swarm can be joined with; the second result says
// whether it does.
func CheckJoin(call SwarmJoin) (Failed, bool) {
	failed := first(
		func() *Failed {
			if len(call.RemoteAddrs) == 0 {
				return plain(Invalid, "at least 1 RemoteAddr is required to join")
			}
			return nil
		},
		func() *Failed { _, failed := ParseToken(call.JoinToken); return failed },
		func() *Failed { return availability(call.Availability, true) },
	)
	if failed == nil {
		return Failed{}, false
	}
	return *failed, true
}

// joinNode makes a node of whoever knows a token.
func (a *admission) joinNode(call NodeJoin) Answer {
	cluster := a.d.Cluster()
	if cluster == nil {
		return *noSwarm()
	}
	role := swarm.NodeRole("")
	switch {
	case same(call.Secret, cluster.ManagerSecret):
		role = swarm.NodeRoleManager
	case same(call.Secret, cluster.WorkerSecret):
		role = swarm.NodeRoleWorker
	default:
		return *invalid(textBadToken)
	}
	addr, err := netip.ParseAddrPort(call.Addr)
	switch {
	case len(call.Key) != joinKeyBytesIs:
		return *invalid("a node joins with the digest of its key, of %d bytes; this has %d", joinKeyBytesIs, len(call.Key))
	case err != nil:
		return *invalid("a node joins with an address; %q is none", call.Addr)
	case a.d.NodeCount() >= nodesMax:
		return *invalid("the swarm has %d nodes, and takes no more: remove some", nodesMax)
	}
	if failed := availability(call.Availability, true); failed != nil {
		return *failed
	}
	for n := range a.d.Nodes() {
		if len(n.Key) > 0 && bytes.Equal(n.Key, call.Key) && n.Spec.Role == role { // its answer was lost
			return a.admitted(n)
		}
	}
	node := &state.Node{
		ID: state.NodeID(a.mint.ID()), Meta: a.created(), SpecVersion: a.d.Version(),
		Spec: swarm.NodeSpec{
			Annotations: swarm.Annotations{Labels: map[string]string{}}, Role: role,
			Availability: swarm.NodeAvailability(strings.ToLower(string(call.Availability))),
		},
		Addr: addr.Addr().String(), Key: bytes.Clone(call.Key), State: state.NodeUnknown, Since: a.wall,
		Trust: a.d.Version(), Certificate: a.d.Version(),
	}
	if node.Spec.Availability == "" {
		node.Spec.Availability = swarm.NodeAvailabilityActive
	}
	a.d.PutNode(node)
	return a.admitted(node)
}

// renewNode lets a member have a certificate for another key.
func (a *admission) renewNode(call NodeRenew) Answer {
	if a.d.Cluster() == nil {
		return *noSwarm()
	}
	n := a.d.Node(call.Node)
	switch {
	case n == nil:
		return *plain(Forbidden, textUnknown)
	case len(n.Key) > 0 && !bytes.Equal(n.Key, call.Held):
		return *plain(Forbidden, textOtherKey)
	case len(call.Key) != joinKeyBytesIs:
		return *invalid("a node renews with the digest of its key, of %d bytes; this has %d", joinKeyBytesIs, len(call.Key))
	}
	if !bytes.Equal(n.Key, call.Key) {
		put := *n
		put.Meta, put.Key, put.Trust = a.touched(n.Meta), bytes.Clone(call.Key), a.d.Version()
		a.d.PutNode(&put)
		n = &put
	}
	return a.admitted(n)
}

// admitted is what a member's certificate is made from.
func (a *admission) admitted(n *state.Node) Answer {
	cluster := a.d.Cluster()
	answer := Admitted{
		Node: n.ID, Cluster: cluster.ID, Manager: n.Spec.Role == swarm.NodeRoleManager,
		Version:  max(a.d.Base(), n.Trust, cluster.CertVersion),
		RootCert: cluster.RootCert, IssuerCert: cluster.RootCert, IssuerKey: cluster.RootKey,
		Crossed: cluster.Crossed, Expiry: cluster.Spec.CAConfig.NodeCertExpiry,
	}
	if cluster.NextCert != nil { // the old root first: it is the swarm's until all have the new one
		answer.RootCert = slices.Concat(cluster.RootCert, cluster.NextCert)
		answer.IssuerCert, answer.IssuerKey = cluster.NextCert, cluster.NextKey
		answer.Crossed = slices.Concat(cluster.NextCross, cluster.Crossed)
	}
	if answer.Manager {
		answer.UnlockKey, answer.UnlockVersion = cluster.UnlockKey, cluster.UnlockVersion
	}
	for o := range a.d.Nodes() {
		if o.Manager {
			answer.Managers = append(answer.Managers, Peer{o.ID, o.ManagerAddr})
		}
	}
	return answer
}

// same compares secrets in a time that does not tell how much of them is alike.
func same(a, b string) bool {
	if len(a) != len(b) || a == "" {
		return false
	}
	different := byte(0)
	for i := range len(a) {
		different |= a[i] ^ b[i]
	}
	return different == 0
}
