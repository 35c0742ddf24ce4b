package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
)

const (
	meshPrefix       = "ing-" // of the VXLAN of the mesh, and the VNI
	meshMark         = 0x5d6d // lower half of the mark of what goes back to where it came in
	meshMarkMask     = 0xffff
	meshRulePriority = 1000
	meshTableBase    = 1 << 24 // of routes; the VNI is added
	meshPrefixMin    = 16      // bits: the upper half of a mark tells the nodes of the mesh apart
)

// meshBack is the next hop of what goes back; whose hardware address a packet
// really gets depends on its mark.
func meshBack() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 93, 109}) }

func meshActive(m netplan.Mesh) bool { return m.VNI != 0 }

func meshName(m netplan.Mesh) string { return fmt.Sprintf("%s%d", meshPrefix, m.VNI) }

// markOf is the mark of connections that came in by a node.
func markOf(node netip.Addr) uint32 {
	b := node.As4()
	return uint32(b[2])<<24 | uint32(b[3])<<16 | meshMark
}

func refuseMesh(m netplan.Mesh) error {
	peers := map[netip.Addr]bool{}
	for _, p := range m.Peers {
		if p.Underlay.BitLen() != m.Underlay.BitLen() {
			return fmt.Errorf("the mesh: the peer %q has an address of another kind than the node, %q", p.Underlay, m.Underlay)
		}
		if p.Address.IsValid() && !m.Subnet.Contains(p.Address) {
			return fmt.Errorf("the mesh: the address %s of the peer %s is not one of the subnet %s", p.Address, p.Underlay, m.Subnet)
		}
		peers[p.Underlay] = p.Address.IsValid()
	}
	if !meshActive(m) {
		return nil
	}
	switch {
	case !m.Underlay.IsValid():
		return errors.New("the mesh: the plan does not say which address the node has for others")
	case m.VNI > vniMax:
		return fmt.Errorf("the mesh: the VNI %d is more than %d", m.VNI, vniMax)
	case !m.Subnet.Addr().Is4() || m.Subnet.Bits() < meshPrefixMin:
		return fmt.Errorf("the mesh: the ingress network's subnet %s is not an IPv4 subnet of at least %d bits", m.Subnet, meshPrefixMin)
	case !m.Subnet.Contains(m.Address):
		return fmt.Errorf("the mesh: the node's address %q is not one of the subnet %s", m.Address, m.Subnet)
	}
	for _, r := range m.Routes {
		if !peers[r.Underlay] || !m.Subnet.Contains(r.Address) {
			return fmt.Errorf("the mesh: %s is behind %s, which is no peer in the mesh, or not one of the subnet %s", r.Address, r.Underlay, m.Subnet)
		}
	}
	return nil
}

// meshForwarding is who is behind which peer: nodes are neighbours, tasks are
// behind their nodes.
func meshForwarding(m netplan.Mesh) forwarding {
	f := newForwarding()
	nodes := map[netip.Addr]netip.Addr{}
	for _, p := range m.Peers {
		if !p.Address.IsValid() {
			continue
		}
		nodes[p.Underlay] = p.Address
		f.neighbours[p.Address] = stationOf(p.Address)
		f.stations[stationOf(p.Address)] = p.Underlay
		f.routes[p.Address] = netip.Addr{}
	}
	for _, r := range m.Routes {
		f.routes[r.Address] = nodes[r.Underlay]
	}
	f.neighbours[meshBack()] = station{0x02, 0x42}
	return f
}

func meshSysctls(m netplan.Mesh) []sysctl {
	at := "ipv4/conf/" + meshName(m) + "/"
	return []sysctl{
		{at + "route_localnet", "1"},
		{at + "rp_filter", "2"}, // clients are behind other interfaces
		{at + "send_redirects", "0"},
		{"ipv6/conf/" + meshName(m) + "/disable_ipv6", "1"},
	}
}

// ensureMesh joins the node to the mesh.
func (k *kernel) ensureMesh(w wanted) error {
	m := w.mesh
	if !meshActive(m) || !w.gateway.IsValid() {
		return nil
	}
	if k.meshed != nil && sameMesh(*k.meshed, m) && k.meshLocal == w.meshLocal() {
		return nil
	}
	k.meshed = nil
	if err := k.measure(m.Underlay); err != nil {
		return err
	}
	if err := k.zones.converge(k, m); err != nil {
		return err
	}
	link, err := k.ensureMeshLink(m)
	if err != nil {
		return fmt.Errorf("cannot join the mesh: %w", err)
	}
	has, err := readForwarding(k.host.link, link)
	if err != nil {
		return err
	}
	if err := k.forward(has, meshForwarding(m), k.host, link); err != nil {
		return err
	}
	if err := k.ensureMeshReturn(m, link); err != nil {
		return fmt.Errorf("cannot make the way back of the mesh: %w", err)
	}
	if err := k.ensureMeshLocal(w); err != nil {
		return err
	}
	if err := k.back.converge(k, m); err != nil {
		return err
	}
	k.meshed, k.meshLocal = &m, w.meshLocal()
	return nil
}

func sameMesh(a, b netplan.Mesh) bool {
	return a.Underlay == b.Underlay && a.Port == b.Port && a.VNI == b.VNI && a.Subnet == b.Subnet && a.Address == b.Address &&
		slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Routes, b.Routes)
}

// meshLocal names the addresses of the mesh that tasks of this host have.
func (w wanted) meshLocal() string {
	var b strings.Builder
	for _, task := range sorted(w.endpoints) {
		if a := w.endpoints[task].mesh; a.IsValid() {
			b.WriteString(a.String() + " ")
		}
	}
	return b.String()
}

func (k *kernel) ensureMeshLink(m netplan.Mesh) (netlink.Link, error) {
	link, err := k.seeMesh(m)
	if err != nil {
		return nil, err
	}
	if link == nil {
		if link, err = k.makeVXLAN(k.host, meshName(m), m.VNI, m.Port, m.Underlay, false, mac(m.Address)); err != nil {
			return nil, err
		}
	}
	if err := inside(k.host.ns, func() error { return write(meshSysctls(m)) }); err != nil {
		return nil, err
	}
	h := k.host.link
	return link, run([]step{
		{"name it", func() error { return h.LinkSetAlias(link, k.meshAlias()) }},
		{"set its MTU", func() error { return h.LinkSetMTU(link, k.overlayMTU) }},
		{"give it its address", func() error { return ensureAddress(h, link, netip.PrefixFrom(m.Address, 32)) }},
		{"bring it up", func() error { return upVXLAN(h, link, m.Port) }},
	})
}

func (k *kernel) meshAlias() string { return k.config.Bridge + "/mesh" }

// seeMesh returns the VXLAN of the mesh, nil if there is none as it should be.
func (k *kernel) seeMesh(m netplan.Mesh) (netlink.Link, error) {
	link, err := k.findLink(meshName(m))
	if err != nil {
		return nil, err
	}
	v, is := link.(*netlink.Vxlan)
	if !is || v.VxlanId != int(m.VNI) || v.Port != int(m.Port) || addrOf(v.SrcAddr) != m.Underlay || v.Learning ||
		!bytes.Equal(v.HardwareAddr, mac(m.Address)) {
		return nil, nil
	}
	return link, nil
}

// ensureMeshReturn has what is marked go by the mesh, if it comes from a task.
func (k *kernel) ensureMeshReturn(m netplan.Mesh, link netlink.Link) error {
	table := meshTableBase + int(m.VNI)
	err := k.host.link.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: meshBack().AsSlice(), Table: table, Flags: int(netlink.FLAG_ONLINK),
		Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
	})
	if err != nil {
		return err
	}
	rules, err := k.meshRules()
	if err != nil {
		return err
	}
	there := false
	for _, r := range rules {
		if !there && k.rightRule(r, m) {
			there = true
			continue
		}
		if err := k.host.link.RuleDel(&r); err != nil {
			return err
		}
	}
	if there {
		return nil
	}
	mask := uint32(meshMarkMask)
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Mask, rule.IifName = unix.AF_INET, meshMark, &mask, k.config.Bridge
	rule.Table, rule.Priority = table, meshRulePriority
	return k.host.link.RuleAdd(rule)
}

// returns says whether the route of what is marked is there.
func (k *kernel) returns(m netplan.Mesh, link netlink.Link) (bool, error) {
	want := &netlink.Route{LinkIndex: link.Attrs().Index, Table: meshTableBase + int(m.VNI)}
	routes, err := dump(func() ([]netlink.Route, error) {
		return k.host.link.RouteListFiltered(unix.AF_INET, want, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return false, fmt.Errorf("cannot list the routes of the mesh: %w", err)
	}
	return slices.ContainsFunc(routes, func(r netlink.Route) bool { return addrOf(r.Gw) == meshBack() }), nil
}

// meshRules are those that send what comes from our bridge by the mesh.
func (k *kernel) meshRules() ([]netlink.Rule, error) {
	all, err := dump(func() ([]netlink.Rule, error) { return k.host.link.RuleList(unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("cannot list the routing rules: %w", err)
	}
	var out []netlink.Rule
	for _, r := range all {
		if r.IifName == k.config.Bridge && r.Table >= meshTableBase {
			out = append(out, r)
		}
	}
	return out, nil
}

func (k *kernel) rightRule(r netlink.Rule, m netplan.Mesh) bool {
	return r.Mark == meshMark && r.Mask != nil && *r.Mask == meshMarkMask && r.Table == meshTableBase+int(m.VNI) && r.Priority == meshRulePriority
}

// ensureMeshLocal routes the addresses of this host's tasks to the bridge.
func (k *kernel) ensureMeshLocal(w wanted) error {
	bridge, has, err := k.seeMeshLocal()
	if err != nil || bridge == nil {
		return err
	}
	return k.forward(has, w.localForwarding(), k.host, bridge)
}

func (k *kernel) seeMeshLocal() (netlink.Link, forwarding, error) {
	bridge, err := k.findLink(k.config.Bridge)
	if err != nil || bridge == nil {
		return nil, forwarding{}, err
	}
	has, err := readForwarding(k.host.link, bridge)
	clear(has.neighbours) // these are looked after with the cables
	clear(has.stations)
	return bridge, has, err
}

func (w wanted) localForwarding() forwarding {
	f := newForwarding()
	for _, e := range w.endpoints {
		if e.mesh.IsValid() {
			f.routes[e.mesh] = netip.Addr{}
		}
	}
	return f
}

// meshDifference tells what ensureMesh would change.
func (k *kernel) meshDifference(w wanted) ([]string, error) {
	m := w.mesh
	stray, err := k.strayMesh(w)
	var lines []string
	for _, name := range stray {
		lines = append(lines, fmt.Sprintf("the interface %s is there and should not be", name))
	}
	rules, failed := k.meshRules()
	errs := []error{err, failed}
	if !meshActive(m) || !w.gateway.IsValid() {
		if len(rules) > 0 {
			lines = append(lines, "there is a routing rule of the mesh and should not be")
		}
		return lines, errors.Join(errs...)
	}
	link, err := k.seeMesh(m)
	if err != nil || link == nil {
		return append(lines, "the VXLAN of the mesh is missing"), errors.Join(append(errs, err)...)
	}
	has, err := addresses(k.host.link, link)
	errs = append(errs, err, k.measure(m.Underlay))
	a := link.Attrs()
	lines = append(lines, broken([]finding{
		{a.Alias != k.meshAlias(), "the VXLAN of the mesh does not say whose it is"},
		{a.MTU != k.overlayMTU, fmt.Sprintf("the MTU of the mesh is not %d", k.overlayMTU)},
		{a.Flags&net.FlagUp == 0, "the VXLAN of the mesh is down"},
		{len(has) != 1 || has[0] != netip.PrefixFrom(m.Address, 32), fmt.Sprintf("the node's addresses in the mesh are %v and should be %s", has, m.Address)},
		{len(rules) != 1 || !k.rightRule(rules[0], m), "the routing rule of the mesh is missing or not the only one"},
	})...)
	if ok, err := k.returns(m, link); err != nil || !ok {
		lines, errs = append(lines, "the way back of the mesh is missing"), append(errs, err)
	}
	f, err := readForwarding(k.host.link, link)
	errs = append(errs, err)
	_, local, err := k.seeMeshLocal()
	errs = append(errs, err)
	more, err := k.back.difference(k, m)
	errs = append(errs, err)
	apart, err := k.zones.difference(k, m)
	more, errs = append(more, apart...), append(errs, err)
	err = inside(k.host.ns, func() error {
		settings, err := settingsDifference("", meshSysctls(m))
		lines = append(lines, settings...)
		return err
	})
	for _, line := range f.difference(meshForwarding(m)) {
		lines = append(lines, "the mesh: "+line)
	}
	for _, line := range local.difference(w.localForwarding()) {
		lines = append(lines, "the mesh, of this host: "+line)
	}
	return append(lines, more...), errors.Join(append(errs, err)...)
}

// strayMesh are VXLANs of a mesh that the node is not in.
func (k *kernel) strayMesh(w wanted) ([]string, error) {
	links, err := dump(k.host.link.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list the interfaces of the host: %w", err)
	}
	var out []string
	for _, l := range links {
		name := l.Attrs().Name
		wants := meshActive(w.mesh) && w.gateway.IsValid() && name == meshName(w.mesh)
		if l.Attrs().Alias == k.meshAlias() && !wants {
			out = append(out, name)
		}
	}
	return out, nil
}

// removeMesh takes away what belongs to a mesh that the node is not in. Routes go
// with their interface.
func (k *kernel) removeMesh(w wanted) error {
	stray, err := k.strayMesh(w)
	errs := []error{err}
	if !meshActive(w.mesh) || !w.gateway.IsValid() {
		k.meshed = nil
		errs = append(errs, k.back.remove(k), k.zones.remove(k))
		rules, err := k.meshRules()
		errs = append(errs, err)
		for _, r := range rules {
			errs = append(errs, k.host.link.RuleDel(&r))
		}
		if bridge, has, err := k.seeMeshLocal(); err == nil && bridge != nil {
			errs = append(errs, has.become(newForwarding(), k.host.link, bridge))
		}
	}
	for _, name := range stray {
		errs = append(errs, k.removeLink(name))
	}
	return errors.Join(errs...)
}
