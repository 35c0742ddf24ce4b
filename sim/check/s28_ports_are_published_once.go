package check

import (
	"cmp"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// portsOnce looks at nodes that are given a task with ports of its host, and at
// services that publish ports.
type portsOnce struct{}

// Sentence implements [Oracle].
func (*portsOnce) Sentence() string {
	return "S28 a host's port is used once on it, a published port once in the swarm"
}

// Committed implements [Committer].
func (o *portsOnce) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if !placed(d) {
			continue
		}
		ports := hostPorts(c.template(d.After))
		if len(ports) == 0 {
			continue
		}
		for t := range c.View().TasksOn(d.After.Node) {
			if t.ID == d.After.ID || !holding(t) {
				continue
			}
			for _, p := range hostPorts(c.template(t)) {
				if slices.Contains(ports, p) {
					c.Violate(o, "entry %d places task %s on node %s, where task %s has port %v", index, d.After.ID, d.After.Node, t.ID, p)
				}
			}
		}
	}
	for _, d := range delta.Services {
		if d.After != nil && (d.Before == nil || !slices.Equal(d.Before.Ports, d.After.Ports)) {
			o.published(c, index, d.After)
		}
	}
}

func (o *portsOnce) published(c *Checker, index uint64, s *state.Service) {
	for _, p := range s.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeIngress || p.PublishedPort == 0 {
			continue
		}
		for other := range c.View().Services() {
			if other.ID == s.ID {
				continue
			}
			for _, q := range other.Ports {
				if q.PublishedPort == p.PublishedPort && q.PublishMode == p.PublishMode && cmp.Or(q.Protocol, "tcp") == cmp.Or(p.Protocol, "tcp") {
					c.Violate(o, "entry %d has %s publish port %d, which %s publishes", index, s.Spec.Name, p.PublishedPort, other.Spec.Name)
				}
			}
		}
	}
}
