package state

import (
	"cmp"
	"slices"

	"github.com/moby/moby/api/types/swarm"
)

// A publishedPort is a port that services publish.
type publishedPort struct {
	protocol string
	number   uint32
}

// A portIndex says which services publish a port: one as an ingress port, or
// any number as host ports.
type portIndex map[publishedPort][]portOwner

type portOwner struct {
	service ServiceID
	mode    swarm.PortConfigPublishMode
}

func (x portIndex) add(s *Service) {
	for _, p := range s.Ports {
		if p.PublishedPort != 0 {
			k := publishedPort{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort}
			// In order, so that a restored store names the same owner first.
			at, _ := slices.BinarySearchFunc(x[k], s.ID, func(o portOwner, id ServiceID) int { return cmp.Compare(o.service, id) })
			x[k] = slices.Insert(x[k], at, portOwner{s.ID, p.PublishMode})
		}
	}
}

func (x portIndex) remove(s *Service) {
	for _, p := range s.Ports {
		k := publishedPort{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort}
		var rest []portOwner
		for _, o := range x[k] {
			if o.service != s.ID {
				rest = append(rest, o)
			}
		}
		if len(rest) == 0 {
			delete(x, k)
			continue
		}
		x[k] = rest
	}
}

// PortOwner returns a service other than except that publishes the port in the
// given mode; any mode if mode is empty.
func (d *Draft) PortOwner(protocol string, port uint32, mode swarm.PortConfigPublishMode, except ServiceID) (ServiceID, swarm.PortConfigPublishMode, bool) {
	k := publishedPort{protocol, port}
	for _, owners := range [][]portOwner{d.ports[k], d.base.ports[k]} {
		for _, o := range owners {
			if o.service == except || mode != "" && o.mode != mode {
				continue
			}
			if s := d.Service(o.service); s != nil && publishes(s, k, o.mode) {
				return o.service, o.mode, true
			}
		}
	}
	return "", "", false
}

func publishes(s *Service, k publishedPort, mode swarm.PortConfigPublishMode) bool {
	for _, p := range s.Ports {
		if p.PublishedPort == k.number && cmp.Or(string(p.Protocol), "tcp") == k.protocol && p.PublishMode == mode {
			return true
		}
	}
	return false
}
