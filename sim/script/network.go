package script

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/sim"
)

// This file has what stories can say of networks.

// network reads network NAME exists.
func (r *reader) network() (condition, error) {
	name, err := r.networkName()
	if err != nil {
		return condition{}, err
	}
	want, err := r.known("exists", "gone", "forgotten")
	if want == "forgotten" {
		r.p.need("network forgotten", 0)
	}
	return condition{holds: func(p *player) (bool, string) {
		kept, seen := false, false
		for _, n := range p.stage.View().Networks {
			kept = kept || n.Name == name
			seen = seen || n.Name == name && !n.Removed
		}
		is := "there is none"
		switch {
		case seen:
			is = "it is there"
		case kept:
			is = "it is removed, and somebody has an address of it"
		}
		return want == "exists" && seen || want == "gone" && !seen || want == "forgotten" && !kept, is
	}}, err
}

// networkName takes the name of a network that the story creates before.
func (r *reader) networkName() (string, error) {
	if !r.p.networks[r.peek()] && r.peek() != "ingress" {
		return "", r.want("the name of a network that the story has created")
	}
	return r.next(), nil
}

// networked reads networked NAME = N: on how many hosts a network is made.
func (r *reader) networked() (condition, error) {
	r.p.need("networked", 0)
	name, err := r.networkName()
	if err != nil {
		return condition{}, err
	}
	compare, err := r.compare()
	return condition{volatile: true, holds: func(p *player) (bool, string) {
		n := p.stage.Networked(name)
		return compare(n), "it is made on " + strconv.Itoa(n) + " hosts"
	}}, err
}

// reach reads reach SERVICE from HOSTS = N: to how many of its containers something
// leads from each of the hosts.
func (r *reader) reach() (condition, error) {
	r.p.need("reach", 0)
	name, err := r.serviceName("the name of a service")
	if err != nil {
		return condition{}, err
	}
	if !r.accept("from") {
		return condition{}, r.want("from, and hosts")
	}
	from, err := r.target()
	if err != nil {
		return condition{}, err
	}
	compare, err := r.compare()
	return condition{volatile: true, holds: func(p *player) (bool, string) {
		s := p.stage.View().service(name)
		hosts, err := p.resolve(from)
		if s == nil || err != nil {
			return false, "there is no service " + name + ", or no such host"
		}
		for _, h := range hosts {
			if n := p.stage.Reach(h, s); !compare(n) {
				return false, fmt.Sprintf("%d are reached from %s", n, h)
			}
		}
		return true, ""
	}}, err
}

// Reach counts containers that something on a host leads to.
func (m *Model) Reach(host string, service *Service) (n int) {
	h := m.World.Host(host)
	plan := h.Plan()
	for _, on := range m.World.Hosts {
		for c := range on.Live() {
			if c.Service == service.ID && reaches(plan, c, on == h, service.Name) {
				n++
			}
		}
	}
	return n
}

// reaches reports whether a container is reached under one of its addresses.
func reaches(plan netplan.Plan, c *sim.Container, local bool, name string) bool {
	place := c.Place()
	at := []netip.Addr{place.Mesh}
	if local {
		at = append(at, c.Address)
	}
	for _, p := range plan.Published {
		if slices.ContainsFunc(p.Backends, func(b netplan.Backend) bool { return b.Address.IsValid() && slices.Contains(at, b.Address) }) {
			return true
		}
	}
	for _, a := range place.Attachments {
		i := slices.IndexFunc(plan.Networks, func(n netplan.Network) bool { return n.ID == a.Network })
		if i < 0 {
			continue
		}
		on := func(list []netip.Addr) bool { return slices.Contains(list, a.Addresses[0]) }
		if slices.ContainsFunc(plan.Networks[i].Balanced, func(b netplan.Balanced) bool { return on(b.Backends) }) ||
			slices.ContainsFunc(plan.Networks[i].Names, func(n netplan.Name) bool { return n.Name == strings.ToLower(name) && on(n.Addresses) }) {
			return true
		}
	}
	return false
}

// Networked counts hosts on which a network is made.
func (m *Model) Networked(name string) (n int) {
	for _, h := range m.World.Hosts {
		if slices.ContainsFunc(h.Plan().Networks, func(x netplan.Network) bool { return x.Name == name }) {
			n++
		}
	}
	return n
}
