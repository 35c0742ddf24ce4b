package control

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// What Docker fills into a swarm's spec, and its bounds.
const (
	swarmName            = "default"
	historyDefault       = 5
	snapshotDefault      = 10_000 // log entries
	slowFollowerDefault  = 500    // log entries
	electionTickDefault  = 10     // seconds
	heartbeatTickDefault = 1      // seconds
	heartbeatDefault     = 5 * time.Second
	heartbeatMax         = time.Hour
	certExpiryDefault    = 90 * 24 * time.Hour
	certExpiryMin        = time.Hour
	subnetSizeDefault    = 24
	subnetSizeMax        = 29 // smaller ones leave too few addresses
	dataPathPortDefault  = 4789
	dataPathPortMin      = 1024
	dataPathPortMax      = 49151
)

// A Founder is what a swarm is founded with beside what the user asked: the first
// node and the certificate authority made for the swarm.
type Founder struct {
	Node              state.NodeID
	Cluster           state.ClusterID
	Description       swarm.NodeDescription
	RootCert, RootKey []byte // PEM
	RootDigest        string // base 36, 50 digits
	NodeKey           []byte // SHA-256 of the node's public key
}

// CheckInit refuses what a swarm cannot be founded with; the second result says
// whether it does. It is asked before an authority is made.
func CheckInit(call SwarmInit) (Failed, bool) {
	spec := call.Spec
	failed := first(
		func() *Failed { return sized("swarm spec", spec, swarmSpecBytesMax) },
		func() *Failed { return initAddresses(call) },
		func() *Failed { return swarmNamed(&spec) },
		func() *Failed { return addressPools(call.DefaultAddrPool, call.SubnetSize) },
		func() *Failed { return dataPathPort(call.DataPathPort) },
		func() *Failed { return availability(call.Availability, true) },
		func() *Failed {
			if failed := validateSwarm(&spec); failed != nil {
				return plain(failed.Kind, "error updating cluster settings: %s", failed.Message)
			}
			return nil
		},
		func() *Failed { return servedSwarm(&spec) },
		func() *Failed { return ownRoot(&spec) },
	)
	if failed == nil {
		return Failed{}, false
	}
	return *failed, true
}

// Found writes the first objects of a swarm: the cluster, and the node that
// founds it, which is its only manager, and the network of published ports. The call must have passed [CheckInit].
func Found(d *state.Draft, mint *entropy.Source, wall state.Wall, call SwarmInit, f Founder) {
	a := admission{d: d, mint: mint, wall: wall}
	spec := call.Spec
	fillSwarm(&spec)
	spec.CAConfig.SigningCACert, spec.CAConfig.SigningCAKey = "", ""
	cluster := &state.Cluster{
		ID: f.Cluster, Meta: a.created(), SpecVersion: d.Version(), Spec: spec, Format: state.FormatNewest,
		RootCert: f.RootCert, RootKey: f.RootKey, RootDigest: f.RootDigest,
		WorkerSecret: mint.Secret(), ManagerSecret: mint.Secret(),
		SubnetSize: call.SubnetSize, DataPathPort: call.DataPathPort,
	}
	for _, pool := range call.DefaultAddrPool {
		cluster.DefaultAddrPool = append(cluster.DefaultAddrPool, pool.String())
	}
	if cluster.SubnetSize == 0 {
		cluster.SubnetSize = subnetSizeDefault
	}
	if cluster.DataPathPort == 0 {
		cluster.DataPathPort = dataPathPortDefault
	}
	lock(cluster, mint, false, d.Version())
	d.PutCluster(cluster)
	d.PutNetwork(foundNetwork(d, a.created(), f.Cluster))
	node := &state.Node{
		ID: f.Node, Meta: a.created(), SpecVersion: d.Version(),
		Spec: swarm.NodeSpec{
			Annotations:  swarm.Annotations{Labels: map[string]string{}},
			Role:         swarm.NodeRoleManager,
			Availability: swarm.NodeAvailability(strings.ToLower(string(call.Availability))),
		},
		Description: f.Description, State: state.NodeReady,
		Manager: true, ManagerAddr: call.AdvertiseAddr, Key: f.NodeKey,
	}
	if node.Spec.Availability == "" {
		node.Spec.Availability = swarm.NodeAvailabilityActive
	}
	if addr, err := netip.ParseAddrPort(call.AdvertiseAddr); err == nil {
		node.Addr = addr.Addr().String()
	}
	d.PutNode(node)
}

// fillSwarm gives every part of the spec that was left out Docker's default.
func fillSwarm(s *swarm.Spec) {
	s.Name = swarmName
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Orchestration.TaskHistoryRetentionLimit == nil {
		limit := int64(historyDefault)
		s.Orchestration.TaskHistoryRetentionLimit = &limit
	}
	if s.Raft.KeepOldSnapshots == nil {
		s.Raft.KeepOldSnapshots = new(uint64)
	}
	fill(&s.Raft.SnapshotInterval, snapshotDefault)
	fill(&s.Raft.LogEntriesForSlowFollowers, slowFollowerDefault)
	fill(&s.Raft.ElectionTick, electionTickDefault)
	fill(&s.Raft.HeartbeatTick, heartbeatTickDefault)
	fill(&s.Dispatcher.HeartbeatPeriod, heartbeatDefault)
	fill(&s.CAConfig.NodeCertExpiry, certExpiryDefault)
}

// fill gives a value that is zero its default.
func fill[T comparable](value *T, to T) {
	if *value == *new(T) {
		*value = to
	}
}

// updateSwarm replaces the spec and rotates what it is asked to.
func (a *admission) updateSwarm(call SwarmUpdate) Answer {
	old := a.d.Cluster()
	if old == nil {
		return *noSwarm()
	}
	spec := call.Spec
	if failed := first(
		func() *Failed { return sized("swarm spec", spec, swarmSpecBytesMax) },
		func() *Failed { return swarmNamed(&spec) },
		func() *Failed { return validateSwarm(&spec) },
		func() *Failed { return a.outOfSequence(call.Version, old.SpecVersion) },
		func() *Failed { return servedSwarm(&spec) },
	); failed != nil {
		return *failed
	}
	fillSwarm(&spec)
	next := *old
	next.Meta, next.SpecVersion, next.Spec = a.touched(old.Meta), a.d.Version(), spec
	if failed := a.rotateRoot(&next, old, call); failed != nil {
		return *failed
	}
	if call.RotateWorker {
		next.WorkerSecret = a.mint.Secret()
	}
	if call.RotateManager {
		next.ManagerSecret = a.mint.Secret()
	}
	lock(&next, a.mint, call.RotateUnlock, a.d.Version())
	a.d.PutCluster(&next)
	return Done{}
}

// noSwarm is the answer to anything asked before the swarm's first objects are there.
func noSwarm() *Failed {
	return plain(Unavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
}

func swarmNamed(s *swarm.Spec) *Failed {
	if s.Name != "" && s.Name != swarmName {
		return plain(Invalid, "swarm spec must be named %q", swarmName)
	}
	return nil
}

// validateSwarm checks a spec by itself, in Docker's order.
func validateSwarm(s *swarm.Spec) *Failed {
	for _, ca := range s.CAConfig.ExternalCAs {
		switch {
		case ca == nil:
			return plain(Invalid, "CAConfig: ExternalCAs has an entry that is null")
		case !strings.EqualFold(string(ca.Protocol), string(swarm.ExternalCAProtocolCFSSL)):
			return plain(Invalid, "invalid protocol: %q", ca.Protocol)
		}
	}
	switch {
	case s.CAConfig.NodeCertExpiry != 0 && s.CAConfig.NodeCertExpiry < certExpiryMin:
		return invalid("minimum certificate expiry time is: %s", certExpiryMin)
	case s.Dispatcher.HeartbeatPeriod < 0:
		return invalid("heartbeat time period cannot be a negative duration")
	case s.Dispatcher.HeartbeatPeriod > heartbeatMax:
		return plain(Invalid, "heartbeat period %s: at most %s is allowed", s.Dispatcher.HeartbeatPeriod, heartbeatMax)
	case len(s.Labels) > labelsMax:
		return plain(Invalid, "the swarm has %d labels: at most %d are allowed", len(s.Labels), labelsMax)
	}
	return nil
}

// servedSwarm refuses what is valid and cannot be honoured.
func servedSwarm(s *swarm.Spec) *Failed {
	switch ca := s.CAConfig; {
	case len(ca.ExternalCAs) > 0:
		return unserved("external certificate authorities", "leave them out")
	case s.TaskDefaults.LogDriver != nil:
		return unserved("a default log driver", "name the log driver in each service")
	}
	return nil
}

func initAddresses(call SwarmInit) *Failed {
	addr, err := netip.ParseAddrPort(call.AdvertiseAddr)
	switch {
	case call.ListenAddr == "":
		return plain(Invalid, "invalid ListenAddr %q: invalid empty address", call.ListenAddr)
	case err != nil || addr.Addr().IsUnspecified():
		return plain(Invalid, "advertise address must be a non-zero IP address or network interface (with optional port number)")
	case call.DataPathAddr != "" && !usable(call.DataPathAddr):
		return plain(Invalid, "data path address must be a non-zero IP address")
	}
	return nil
}

// usable reports whether a text is an IP address that others can send to.
func usable(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && !a.IsUnspecified()
}

func dataPathPort(port uint32) *Failed {
	if port != 0 && (port < dataPathPortMin || port > dataPathPortMax) {
		return plain(Invalid, "Datapath port number is not in valid range (%d-%d) : %d", dataPathPortMin, dataPathPortMax, port)
	}
	return nil
}

func addressPools(pools []netip.Prefix, subnetSize uint32) *Failed {
	if len(pools) == 0 {
		return nil
	}
	if subnetSize == 0 {
		subnetSize = subnetSizeDefault
	}
	if subnetSize > subnetSizeMax {
		return plain(Invalid, "subnet size is out of range: %d", subnetSize)
	}
	for i, pool := range pools {
		switch {
		case !pool.IsValid() || !pool.Addr().Is4():
			return plain(Invalid, "invalid base pool %s: an IPv4 subnet is wanted", pool)
		case int(subnetSize) < pool.Bits():
			return plain(Invalid, "invalid CIDR: %q. Subnet size is too small for pool: %d", pool.String(), subnetSize)
		}
		for _, other := range pools[:i] {
			if pool.Overlaps(other) {
				return plain(Invalid, "default address pools %s and %s overlap", other, pool)
			}
		}
	}
	return nil
}

// sized refuses an object whose JSON is larger than limit, in bytes.
func sized(what string, object any, limit int) *Failed {
	data, err := json.Marshal(object)
	switch {
	case err != nil:
		return plain(Invalid, "%s: %s", what, err)
	case len(data) > limit:
		return plain(Invalid, "%s has %d bytes: at most %d are allowed", what, len(data), limit)
	}
	return nil
}
