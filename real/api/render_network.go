package api

import (
	"maps"
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// optionVNI is where Docker shows the number of a network.
const optionVNI = "com.docker.network.driver.overlay.vxlanid_list"

// renderNetwork is a network of the swarm as GET /networks shows it.
func renderNetwork(n *state.Network) network.Inspect {
	options := map[string]string{}
	if n.Spec.DriverConfiguration != nil {
		maps.Copy(options, n.Spec.DriverConfiguration.Options)
	}
	options[optionVNI] = strconv.FormatUint(uint64(n.VNI), 10)
	rendered := network.Inspect{Network: network.Network{
		Name:       n.Spec.Name,
		ID:         string(n.ID),
		Created:    n.Created.Time(),
		Scope:      "swarm",
		Driver:     "overlay",
		EnableIPv4: true,
		EnableIPv6: n.IPv6(),
		IPAM:       network.IPAM{Driver: "default", Config: []network.IPAMConfig{}},
		Internal:   n.Spec.Internal,
		Attachable: n.Spec.Attachable,
		Ingress:    n.Spec.Ingress,
		Options:    options,
	}}
	if len(n.Spec.Labels) > 0 { // Docker says null where there are none
		rendered.Labels = n.Spec.Labels
	}
	for _, c := range poolsOf(n) {
		rendered.IPAM.Config = append(rendered.IPAM.Config, network.IPAMConfig{Subnet: c.Subnet, IPRange: c.Range, Gateway: c.Gateway})
	}
	return rendered
}

// poolsOf are a network's subnets as they were given out.
func poolsOf(n *state.Network) []swarm.IPAMConfig {
	var pools []swarm.IPAMConfig
	for _, s := range n.Subnets {
		pool := swarm.IPAMConfig{Subnet: s.Masked(), Gateway: s.Addr()}
		if o := n.Spec.IPAMOptions; o != nil {
			for _, c := range o.Configs {
				if c.Subnet == pool.Subnet {
					pool.Range = c.Range
				}
			}
		}
		pools = append(pools, pool)
	}
	return pools
}

// renderSwarmNetwork is a network as tasks show it.
func renderSwarmNetwork(n *state.Network) swarm.Network {
	spec := n.Spec
	spec.Labels = labelsOf(spec.Labels)
	spec.Scope = "swarm"
	return swarm.Network{
		ID:          string(n.ID),
		Meta:        metaOf(n.Meta, n.SpecVersion),
		Spec:        spec,
		DriverState: swarm.Driver{Name: "overlay", Options: map[string]string{optionVNI: strconv.FormatUint(uint64(n.VNI), 10)}},
		IPAMOptions: &swarm.IPAMOptions{Driver: swarm.Driver{Name: "default"}, Configs: poolsOf(n)},
	}
}

// renderAttachments are the places that a task has on networks: first that of the
// published ports, as Docker has it.
func renderAttachments(task *state.Task, template *state.Template, networks []*state.Network) []swarm.NetworkAttachment {
	var list []swarm.NetworkAttachment
	add := func(n *state.Network, addresses []netip.Addr) {
		attachment := swarm.NetworkAttachment{Network: renderSwarmNetwork(n)}
		for _, a := range addresses {
			for _, s := range n.Subnets {
				if s.Contains(a) {
					attachment.Addresses = append(attachment.Addresses, netip.PrefixFrom(a, s.Bits()))
				}
			}
		}
		list = append(list, attachment)
	}
	for _, n := range networks {
		if n.Spec.Ingress && task.Mesh.IsValid() {
			add(n, []netip.Addr{task.Mesh})
		}
	}
	for _, at := range task.Attachments(template) {
		for _, n := range networks {
			if n.ID == at.Network {
				add(n, at.Addresses)
			}
		}
	}
	return list
}
