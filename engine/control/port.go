package control

import (
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

const portMax = 65535

// portConflicts refuses ports that another service publishes. Two services may
// publish the same port in host mode: the scheduler keeps them apart.
func portConflicts(d *state.Draft, self state.ServiceID, e *swarm.EndpointSpec) *Failed {
	if e == nil {
		return nil
	}
	for _, p := range e.Ports {
		if p.PublishedPort == 0 {
			continue
		}
		owner, as := portTaken(d, self, p)
		if owner == "" || mutant.On(mutant.PortConflictAllowed) {
			continue
		}
		name := ""
		if s := d.Service(owner); s != nil {
			name = s.Spec.Name
		}
		return invalid("port '%d' is already in use by service '%s' (%s) as %s port", p.PublishedPort, name, owner, as)
	}
	return nil
}

// portTaken says which other service stands in the way of a published port, and
// how it publishes it; "" when none does.
func portTaken(d *state.Draft, self state.ServiceID, p swarm.PortConfig) (state.ServiceID, string) {
	const ingress, host = swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost
	if owner, _, taken := d.PortOwner(string(p.Protocol), p.PublishedPort, ingress, self); taken {
		return owner, "an ingress"
	}
	if p.PublishMode == ingress {
		if owner, _, taken := d.PortOwner(string(p.Protocol), p.PublishedPort, host, self); taken {
			return owner, "a host-published"
		}
	}
	return "", ""
}

// publish lists the ports that the service is to publish, each with what it had
// when nobody chose one: a port once given out stays. What no host can publish is
// left out, with a warning: Docker takes such ports, and its tasks never start.
func publish(e *swarm.EndpointSpec, had []swarm.PortConfig) (ports []swarm.PortConfig, warnings []string) {
	if e == nil {
		return nil, nil
	}
	chosen := map[swarm.PortConfig]bool{}
	key := func(p swarm.PortConfig) swarm.PortConfig {
		return swarm.PortConfig{Protocol: p.Protocol, PublishedPort: p.PublishedPort}
	}
	for _, p := range e.Ports {
		chosen[key(p)] = p.PublishedPort != 0
	}
	for _, p := range e.Ports {
		if p.TargetPort == 0 || p.TargetPort > portMax || p.PublishedPort > portMax {
			warnings = append(warnings, fmt.Sprintf("port %d->%d/%s is not published: ports are 1 to %d", p.PublishedPort, p.TargetPort, p.Protocol, portMax))
			continue
		}
		if p.PublishedPort == 0 && p.PublishMode == swarm.PortConfigPublishModeIngress {
			for _, h := range had {
				if h.Name == p.Name && h.Protocol == p.Protocol && h.TargetPort == p.TargetPort && h.PublishMode == p.PublishMode && !chosen[key(h)] {
					p.PublishedPort = h.PublishedPort
					chosen[key(h)] = true
					break
				}
			}
		}
		ports = append(ports, p)
	}
	return ports, warnings
}
