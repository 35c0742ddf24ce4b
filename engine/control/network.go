package control

import (
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// The driver of every network of a swarm, and that of address pools.
const (
	networkDriver = "overlay"
	poolDriver    = "default"
)

// The names of networks that every node has, and of their drivers.
const (
	networkNone  = "none"
	driverNull   = "null"
	scopeSwarm   = "swarm"
	optEncrypted = "encrypted"
)

// foundNetwork is the network that published ports are carried by, as a swarm is
// founded with it. Its ID follows from the swarm's.
func foundNetwork(d *state.Draft, meta state.Meta, cluster state.ClusterID) *state.Network {
	n := &state.Network{
		ID:          state.NetworkID(entropy.New(sha256.Sum256([]byte("ingress network of " + cluster))).ID()),
		Meta:        meta,
		SpecVersion: d.Version(),
		VNI:         vniIngress,
		Spec: swarm.NetworkSpec{
			Annotations:         swarm.Annotations{Name: networkIngress, Labels: map[string]string{}},
			DriverConfiguration: &swarm.Driver{Name: networkDriver},
			IPAMOptions:         &swarm.IPAMOptions{Driver: swarm.Driver{Name: poolDriver}},
			Ingress:             true,
		},
	}
	if subnet, free := freeSubnet(d); free {
		n.Subnets = []netip.Prefix{gatewayOf(subnet)}
	}
	return n
}

// createNetwork stores a new network, with its number and its subnets.
func (a *admission) createNetwork(call NetworkCreate) Answer {
	spec := call.Spec
	if failed := first(
		func() *Failed { return a.networksOpen() },
		func() *Failed { return sized("network spec", spec, networkSpecBytesMax) },
		func() *Failed { return networkDriverKnown(&spec) },
		func() *Failed { return a.networkNameFree(spec.Name) },
		func() *Failed { return validateNetwork(&spec) },
		func() *Failed { return a.onlyIngress(&spec) },
		func() *Failed { return validatePools(&spec) },
		func() *Failed { return a.poolsFree(&spec) },
		func() *Failed { return servedNetwork(&spec) },
	); failed != nil {
		return *failed
	}
	normaliseNetwork(&spec)
	n := &state.Network{ID: state.NetworkID(a.mint.ID()), Meta: a.created(), SpecVersion: a.d.Version(), Spec: spec}
	if failed := a.allocate(n); failed != nil {
		return *failed
	}
	a.d.PutNetwork(n)
	return Created{ID: string(n.ID)}
}

// normaliseNetwork fills what Docker fills when it stores a spec.
func normaliseNetwork(spec *swarm.NetworkSpec) {
	labels := map[string]string{}
	maps.Copy(labels, spec.Labels)
	spec.Labels = labels
	spec.Scope = scopeSwarm
	driver := swarm.Driver{Name: networkDriver}
	if spec.DriverConfiguration != nil {
		driver.Options = maps.Clone(spec.DriverConfiguration.Options)
	}
	spec.DriverConfiguration = &driver
	options := swarm.IPAMOptions{Driver: swarm.Driver{Name: poolDriver}}
	if spec.IPAMOptions != nil {
		options.Configs = slices.Clone(spec.IPAMOptions.Configs)
	}
	spec.IPAMOptions = &options
}

// networksOpen refuses networks while there may be a manager that does not know them.
func (a *admission) networksOpen() *Failed {
	switch c := a.d.Cluster(); {
	case c == nil:
		return noSwarm()
	case c.Format < state.FormatNetworks:
		return unmet("this swarm was founded by a build that knows no networks: found it anew to have them")
	}
	count := 0
	for range a.d.Networks() {
		count++
	}
	if count >= networksMax {
		return plain(Invalid, "there are %d networks: at most %d are allowed; remove one first", count, networksMax)
	}
	return nil
}

func networkDriverKnown(spec *swarm.NetworkSpec) *Failed {
	driver := networkDriver
	if spec.DriverConfiguration != nil && spec.DriverConfiguration.Name != "" {
		driver = spec.DriverConfiguration.Name
	}
	switch driver {
	case networkDriver:
	case networkBridge, networkHost, driverNull, "macvlan", "ipvlan":
		return unserved("networks of driver "+driver, "create the network with --driver overlay")
	default:
		return plain(NotFound, "plugin %q not found", driver)
	}
	if o := spec.IPAMOptions; o != nil && o.Driver.Name != "" && o.Driver.Name != poolDriver {
		return plain(NotFound, "plugin %q not found", o.Driver.Name)
	}
	return nil
}

func (a *admission) networkNameFree(name string) *Failed {
	switch {
	case strings.TrimSpace(name) == "":
		return plain(Invalid, "invalid name: name is empty")
	case name == networkBridge, name == networkHost, name == networkNone, a.d.NetworkByName(name) != nil:
		return plain(Conflict, "network with name %s already exists", name)
	}
	return nil
}

func validateNetwork(spec *swarm.NetworkSpec) *Failed {
	switch {
	case !validName(spec.Name):
		return invalid("name must be valid as a DNS name component")
	case len(spec.Name) > nameBytesMax:
		return invalid("name must be %d characters or fewer", nameBytesMax)
	case len(spec.Labels) > labelsMax:
		return plain(Invalid, "network %s has %d labels: at most %d are allowed", spec.Name, len(spec.Labels), labelsMax)
	case spec.Ingress && spec.Attachable:
		return unimplemented("ingress network cannot be attachable")
	case spec.Ingress && spec.Internal:
		return invalid("ingress network cannot be an internal network")
	case spec.Ingress && spec.IPv6Enabled:
		return invalid("ingress network cannot have IPv6")
	case spec.Scope != "" && spec.Scope != scopeSwarm:
		return plain(Invalid, "network %s: an overlay has scope swarm, not %q; leave --scope out", spec.Name, spec.Scope)
	}
	return nil
}

func (a *admission) onlyIngress(spec *swarm.NetworkSpec) *Failed {
	if n := a.d.Ingress(); spec.Ingress && n != nil {
		return exists("ingress network (%s) is already present", n.ID)
	}
	return nil
}

// servedNetwork refuses what is valid and cannot be honoured.
func servedNetwork(spec *swarm.NetworkSpec) *Failed {
	if spec.ConfigFrom != nil && spec.ConfigFrom.Network != "" {
		return unserved("networks configured from another", "leave --config-from out")
	}
	if o := spec.IPAMOptions; o != nil && len(o.Driver.Options) > 0 {
		return unserved("options of the address pool", "leave --ipam-opt out")
	}
	if spec.DriverConfiguration == nil {
		return nil
	}
	options := slices.Sorted(maps.Keys(spec.DriverConfiguration.Options))
	switch {
	case len(options) == 0:
		return nil
	case slices.Contains(options, optEncrypted):
		return unserved("encrypted networks", "leave --opt encrypted out, and encrypt in the application or below the nodes")
	default:
		return unserved("option "+options[0]+" of the overlay driver", "leave it out")
	}
}

// removeNetwork removes a network that no service and no task is on. It is kept,
// unseen, until what has addresses of it has ended.
func (a *admission) removeNetwork(call NetworkRemove) Answer {
	n, failed := findNetwork(a.d, call.Ref)
	if failed != nil {
		return *failed
	}
	for s := range a.d.Services() {
		switch {
		case attached(&s.Spec.TaskTemplate, n.ID):
			return *unmet("network %s is in use by service %s", n.ID, s.ID)
		case n.Spec.Ingress && publishesIngress(s.Ports):
			return *unmet("ingress network cannot be removed because service %s depends on it", s.ID)
		}
	}
	if t := a.taskOn(n.ID); t != nil {
		return *unmet("network %s is in use by task %s", n.ID, t.ID)
	}
	gone := *n
	gone.Meta, gone.Removed = a.touched(n.Meta), true
	a.d.PutNetwork(&gone)
	return Done{}
}

// taskOn returns a task that is to run on the network, nil if there is none. Only
// the tasks of services that have it in a template are looked at.
func (a *admission) taskOn(id state.NetworkID) *state.Task {
	for _, service := range a.d.ServicesWithTemplates() {
		for _, made := range a.d.Templates(service) {
			if !attached(&made.Spec, id) {
				continue
			}
			for t := range a.d.TasksOf(service) {
				if t.Template == made.Version && t.Desired <= state.TaskRunning && t.Status.State <= state.TaskRunning {
					return t
				}
			}
		}
	}
	return nil
}

func attached(task *swarm.TaskSpec, id state.NetworkID) bool {
	return slices.ContainsFunc(task.Networks, func(n swarm.NetworkAttachmentConfig) bool { return n.Target == string(id) })
}

func publishesIngress(ports []swarm.PortConfig) bool {
	return slices.ContainsFunc(ports, func(p swarm.PortConfig) bool { return p.PublishMode == swarm.PortConfigPublishModeIngress })
}

// findNetwork finds a network that has not been removed.
func findNetwork(d *state.Draft, ref string) (*state.Network, *Failed) {
	if n := d.Network(state.NetworkID(ref)); n != nil && !n.Removed {
		return n, nil
	}
	if n := d.NetworkByName(ref); n != nil {
		return n, nil
	}
	var n *state.Network
	var failed *Failed
	if ref != "" {
		matches := d.NetworksByPrefix(ref, matchesMax)
		n, failed = only("network", ref, slices.DeleteFunc(matches, func(n *state.Network) bool { return n.Removed }))
	}
	return found("network", ref, n, failed)
}

func listNetworks(d *state.Draft) Answer {
	used := map[state.NetworkID]bool{}
	for s := range d.Services() {
		for _, n := range s.Spec.TaskTemplate.Networks {
			used[state.NetworkID(n.Target)] = true
		}
	}
	answer := Networks{Networks: []*state.Network{}}
	for n := range d.Networks() {
		if !n.Removed {
			answer.Networks = append(answer.Networks, n)
			answer.Used = append(answer.Used, n.Spec.Ingress || used[n.ID])
		}
	}
	return answer
}
