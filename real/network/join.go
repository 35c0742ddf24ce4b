package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// settle adds an endpoint, or says why it cannot be.
func (w wanted) settle(e netplan.Endpoint, c Config, owners map[netip.Addr]state.TaskID) string {
	if why := w.refuse(e); why != "" {
		return why
	}
	made := endpoint{
		task: e.Task, address: e.Address, gateway: w.gateway, mtu: c.MTU, mesh: e.Mesh,
		routed: len(e.Attachments) == 0 || e.Mesh.IsValid(), upstream: e.Resolver.Upstream,
	}
	for _, a := range e.Attachments {
		l, why := w.attach(a)
		if why != "" {
			return why
		}
		made.links = append(made.links, l)
		made.routed = made.routed || !w.overlays[l.vni].internal
	}
	for _, a := range made.at() {
		if owner, owned := owners[a]; owned {
			return fmt.Sprintf("the task's address %s is that of task %s too", a, owner)
		}
	}
	for _, a := range made.at() {
		owners[a] = e.Task
	}
	w.endpoints[e.Task] = made
	return ""
}

func (w wanted) refuse(e netplan.Endpoint) string {
	name := string(e.Task)
	_, twice := w.endpoints[e.Task]
	nowhere := !e.Address.IsValid() && len(e.Attachments) > 0 && !e.Mesh.IsValid()
	switch {
	case name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") || len(name) > taskNameMax:
		return fmt.Sprintf("the task's identifier %q cannot be a file name", name)
	case !w.gateway.IsValid():
		return "the plan names no gateway for the task's network"
	case !nowhere && !e.Address.Is4():
		return fmt.Sprintf("the task's address %q is not an IPv4 address", e.Address)
	case !nowhere && (!w.gateway.Contains(e.Address) || w.gateway.Addr() == e.Address):
		return fmt.Sprintf("the task's address %s is not one of the subnet of the gateway %s", e.Address, w.gateway)
	case e.Mesh.IsValid() && !w.mesh.Subnet.Contains(e.Mesh):
		return fmt.Sprintf("the task's address %s is not one of the mesh's subnet %s", e.Mesh, w.mesh.Subnet)
	case len(e.Attachments) > attachmentsMax:
		return fmt.Sprintf("the task is on %d networks, more than %d", len(e.Attachments), attachmentsMax)
	case twice:
		return "the plan has the task twice"
	}
	return ""
}

// attach places an endpoint on an overlay, or says why it cannot.
func (w wanted) attach(a netplan.Attachment) (attachment, string) {
	vni, is := w.vnis[a.Network]
	if !is {
		return attachment{}, fmt.Sprintf("the task is on network %s, which the plan does not have or which is wrong", a.Network)
	}
	l := attachment{vni: vni}
	for _, address := range a.Addresses {
		p, ok := w.overlays[vni].place(address)
		if !ok {
			return l, fmt.Sprintf("the task's address %s is not one of network %s", address, a.Network)
		}
		l.addresses = append(l.addresses, p)
	}
	if len(l.addresses) == 0 {
		return l, fmt.Sprintf("the task has no address on network %s", a.Network)
	}
	return l, ""
}

// join reads the mesh and the overlays of a plan.
func (w *wanted) join(p netplan.Plan, last *wanted) error {
	w.mesh = p.Mesh
	if w.mesh.Port == 0 {
		w.mesh.Port = vxlanPort
	}
	var errs []error
	peers := map[netip.Addr]bool{}
	for _, peer := range p.Mesh.Peers {
		peers[peer.Underlay] = true
	}
	for _, n := range p.Networks {
		if err := w.refuseNetwork(n, peers); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", n.ID, err))
			continue
		}
		o := overlay{
			id: n.ID, name: n.Name, vni: n.VNI, port: w.mesh.Port, source: w.mesh.Underlay, subnets: n.Subnets, internal: n.Internal,
			remote: n.Remote, balanced: n.Balanced, names: n.Names,
		}
		byVIP := func(a, b netplan.Balanced) int { return a.VIP.Compare(b.VIP) }
		if !slices.IsSortedFunc(o.balanced, byVIP) {
			o.balanced = slices.SortedFunc(slices.Values(o.balanced), byVIP)
		}
		if last != nil {
			o.share(last.overlays[n.VNI])
		}
		w.overlays[n.VNI], w.vnis[n.ID] = o, n.VNI
	}
	return errors.Join(errs...)
}

// share takes the lists of another where they are equal, to see quickly later
// that they are.
func (o *overlay) share(p overlay) {
	if slices.Equal(o.remote, p.remote) {
		o.remote = p.remote
	}
	if slices.EqualFunc(o.balanced, p.balanced, func(a, b netplan.Balanced) bool {
		return a.VIP == b.VIP && slices.Equal(a.Backends, b.Backends)
	}) {
		o.balanced = p.balanced
	}
	if slices.EqualFunc(o.names, p.names, func(a, b netplan.Name) bool {
		return a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
	}) {
		o.names = p.names
	}
}

func (w *wanted) refuseNetwork(n netplan.Network, peers map[netip.Addr]bool) error {
	_, twice := w.vnis[n.ID]
	other, taken := w.overlays[n.VNI]
	switch {
	case n.ID == "":
		return errors.New("it has no ID")
	case twice:
		return errors.New("the plan has it twice")
	case n.VNI == 0 || n.VNI > vniMax:
		return fmt.Errorf("the VNI %d is not between 1 and %d", n.VNI, vniMax)
	case taken:
		return fmt.Errorf("the VNI %d is that of network %s too", n.VNI, other.id)
	case n.VNI == w.mesh.VNI:
		return fmt.Errorf("the VNI %d is that of the mesh too", n.VNI)
	case !w.mesh.Underlay.IsValid():
		return errors.New("the plan does not say which address the node has for others")
	case len(w.overlays) >= overlaysMax:
		return fmt.Errorf("the plan has more than %d networks", overlaysMax)
	case len(n.Remote) > remotesMax:
		return fmt.Errorf("%d endpoints on other nodes are more than %d", len(n.Remote), remotesMax)
	case len(n.Balanced) > balancedMax:
		return fmt.Errorf("%d services are more than %d", len(n.Balanced), balancedMax)
	}
	for _, r := range n.Remote {
		if !peers[r.Underlay] {
			return fmt.Errorf("the address %s is behind %q, which is no peer", r.Address, r.Underlay)
		}
		if !r.Address.IsValid() {
			return fmt.Errorf("%q is no address of an endpoint", r.Address)
		}
	}
	for _, b := range n.Balanced {
		if wrong := func(a netip.Addr) bool { return a.BitLen() != b.VIP.BitLen() }; !b.VIP.IsValid() || slices.ContainsFunc(b.Backends, wrong) {
			return fmt.Errorf("the service at %s leads to addresses of another kind: %v", b.VIP, b.Backends)
		}
		if len(b.Backends) > backendsMax {
			return fmt.Errorf("the service at %s: %d backends are more than %d", b.VIP, len(b.Backends), backendsMax)
		}
	}
	return nil
}
