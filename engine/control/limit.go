package control

import (
	"github.com/moby/moby/api/types/swarm"
)

// Limits of what one call may bring in. Docker has none of them but the size of
// a raft message; they keep one call from filling the log, the memory of every
// manager, or a pass. All of them are answered with 400.
const (
	specBytesMax        = 256 << 10 // a spec as JSON
	authBytesMax        = 64 << 10  // X-Registry-Auth
	replicasMax         = 100_000   // tasks of one service
	labelsMax           = 1024      // on one object, or in one container
	portsMax            = 4096      // published by one service
	envMax              = 4096      // environment entries
	constraintsMax      = 256
	mountsMax           = 256
	genericsMax         = 64
	nameBytesMax        = 63 // a DNS label; Docker's own
	swarmSpecBytesMax   = 64 << 10
	nodeSpecBytesMax    = 64 << 10
	networkSpecBytesMax = 32 << 10
	networksMax         = 4096
	attachmentsMax      = 32     // networks of one service
	aliasBytesMax       = 253    // a DNS name
	aliasesMax          = 64     // of one service on one network
	filterValuesMax     = 10_000 // in one listing
	templateBytesMax    = 16 << 10
	templateDepthMax    = 64
	templateOutputsMax  = 64 << 10 // bytes of one expanded text
)

// limits refuses what is larger than anything sensible.
func limits(spec *swarm.ServiceSpec) *Failed {
	task := &spec.TaskTemplate
	rules := []struct {
		what     string
		have, at int
	}{
		{"labels", len(spec.Labels), labelsMax},
	}
	add := func(what string, have, at int) {
		rules = append(rules, struct {
			what     string
			have, at int
		}{what, have, at})
	}
	if c := task.ContainerSpec; c != nil {
		add("container labels", len(c.Labels), labelsMax)
		add("environment variables", len(c.Env), envMax)
		add("mounts", len(c.Mounts), mountsMax)
	}
	if spec.EndpointSpec != nil {
		add("published ports", len(spec.EndpointSpec.Ports), portsMax)
	}
	add("networks", len(task.Networks), attachmentsMax)
	for _, n := range task.Networks {
		add("aliases on one network", len(n.Aliases), aliasesMax)
	}
	if task.Placement != nil {
		add("constraints", len(task.Placement.Constraints), constraintsMax)
		add("placement preferences", len(task.Placement.Preferences), constraintsMax)
	}
	if task.Resources != nil && task.Resources.Reservations != nil {
		add("generic resources", len(task.Resources.Reservations.GenericResources), genericsMax)
	}
	for _, r := range rules {
		if r.have > r.at {
			return plain(Invalid, "service %s has %d %s: at most %d are allowed", spec.Name, r.have, r.what, r.at)
		}
	}
	return nil
}
