package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/state"
)

// A cable joins a task's namespace to a bridge: the outer end is a port of the
// bridge, the inner one an interface of the task.
type cable struct {
	outer, inner string // names of the ends
	alias        string // of the outer end
	over         bool   // the bridge is that of an overlay, in their namespace
	bridge       string // its name
	isolated     bool   // ports do not reach each other
	hardware     net.HardwareAddr
	mtu          int
	addresses    []netip.Prefix
	known        []netip.Addr // that the host reaches over the bridge
	gateway      netip.Addr   // of the default route; the zero Addr is none
	source       netip.Addr   // that the task's packets have by default; the zero Addr is the first of addresses
}

const (
	vethPrefix        = "ve" // of the outer end on the gateway's bridge
	overlayVethPrefix = "vo"
	vethNameBytes     = 14 // 15 are all that a name may have
)

// vethName is the host's end of a task's interface. Too short for the task, it is
// a digest; the link's alias has the task in full.
func vethName(task state.TaskID) string { return digestName(vethPrefix, string(task)) }

func overlayVethName(task state.TaskID, vni uint32) string {
	return digestName(overlayVethPrefix, fmt.Sprintf("%d/%s", vni, task))
}

func digestName(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	return prefix + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:vethNameBytes-len(prefix)])
}

// cables are an endpoint's, in order of its interfaces: overlays first, as in
// Docker, and the way out last.
func (k *kernel) cables(e endpoint) []cable {
	var out []cable
	for _, l := range e.links {
		out = append(out, cable{
			outer: overlayVethName(e.task, l.vni), alias: k.alias(e.task), over: true, bridge: fmt.Sprintf("%s%d", bridgeOfOverlay, l.vni),
			hardware: mac(l.addresses[0].Addr()), mtu: k.overlayMTU, addresses: l.addresses,
		})
	}
	if e.address.IsValid() {
		c := cable{
			outer: vethName(e.task), alias: k.alias(e.task), bridge: k.config.Bridge, isolated: true,
			hardware: mac(e.address), mtu: e.mtu, addresses: []netip.Prefix{e.prefix()}, known: []netip.Addr{e.address},
		}
		if e.routed {
			c.gateway = e.gateway.Addr()
		}
		if e.mesh.IsValid() {
			c.addresses = append(c.addresses, netip.PrefixFrom(e.mesh, e.mesh.BitLen()))
			c.known, c.source = append(c.known, e.mesh), e.mesh
		}
		out = append(out, c)
	}
	for i := range out {
		out[i].inner = fmt.Sprintf("eth%d", i)
	}
	return out
}

// side is where the outer end is.
func (k *kernel) side(c cable) *host {
	if c.over {
		return k.over
	}
	return k.host
}

// sidePorts are what is known of the bridges there, as of this pass.
func (k *kernel) sidePorts(c cable) (*ports, error) {
	if c.over {
		return k.overPorts()
	}
	return k.ports()
}

// A seenCable is what there is of a cable.
type seenCable struct {
	outer, inner netlink.Link // nil when missing
	bridge       int          // index, 0 when missing
	isolated     bool
	learning     bool
	flooded      bool                // with frames for nobody known
	stations     []string            // at the bridge port
	neighbours   map[netip.Addr]bool // that the host knows by the inner end's hardware address
	addresses    []netip.Prefix
	routed       bool // by default to the gateway, with the source
	astray       bool // a default route that should not be
}

// seeInside looks at the inner end; it runs in the task's namespace.
func (s *seenCable) seeInside(h *netlink.Handle, c cable) (err error) {
	if s.inner, err = findLink(h, c.inner); err != nil || s.inner == nil {
		return err
	}
	if s.addresses, err = addresses(h, s.inner); err != nil {
		return err
	}
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(s.inner, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("cannot list the routes of %s: %w", c.inner, err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() != "0.0.0.0/0" {
			continue
		}
		s.routed = s.routed || addrOf(r.Gw) == c.gateway && addrOf(r.Src) == c.source
		s.astray = s.astray || !c.gateway.IsValid()
	}
	return nil
}

func (k *kernel) seeOutside(s *seenCable, c cable) (err error) {
	side := k.side(c)
	if side == nil {
		return nil
	}
	bridge, err := findLink(side.link, c.bridge)
	if err != nil {
		return err
	}
	if bridge != nil {
		s.bridge = bridge.Attrs().Index
	}
	if s.outer, err = findLink(side.link, c.outer); err != nil || s.outer == nil {
		return err
	}
	p, err := k.sidePorts(c)
	if err != nil {
		return err
	}
	index := s.outer.Attrs().Index
	s.isolated, s.learning, s.flooded, s.stations = p.isolated[index], p.learning[index], p.flooded[index], p.stations[index]
	s.neighbours = make(map[netip.Addr]bool)
	for _, a := range c.known {
		s.neighbours[a] = p.neighbours[a] == c.hardware.String()
	}
	return nil
}

// joined says that the two ends are those of one pair, with the right hardware
// address; if not, the pair is made anew.
func (s seenCable) joined(c cable) bool {
	return s.outer != nil && s.inner != nil && s.outer.Type() == "veth" && s.inner.Type() == "veth" &&
		s.inner.Attrs().ParentIndex == s.outer.Attrs().Index && s.outer.Attrs().ParentIndex == s.inner.Attrs().Index &&
		bytes.Equal(s.inner.Attrs().HardwareAddr, c.hardware)
}

func (s seenCable) differences(c cable) []string {
	if !s.joined(c) {
		return []string{c.inner + " is missing"}
	}
	inner, outer := s.inner.Attrs(), s.outer.Attrs()
	all := []finding{
		{outer.Alias != c.alias, c.inner + " does not name it"},
		{outer.MasterIndex != s.bridge || s.bridge == 0, c.inner + " is not on the bridge"},
		{c.isolated && !s.isolated, fmt.Sprintf("the bridge port of %s is not isolated", c.inner)},
		{!c.isolated && s.isolated, fmt.Sprintf("the bridge port of %s is isolated", c.inner)},
		{s.learning, fmt.Sprintf("the bridge port of %s learns addresses", c.inner)},
		{c.over && s.flooded, fmt.Sprintf("the bridge port of %s is sent others' frames", c.inner)},
		{!slices.Equal(s.stations, []string{c.hardware.String()}), fmt.Sprintf("the bridge port of %s leads to %v and should lead to %s", c.inner, s.stations, c.hardware)},
		{outer.Flags&net.FlagUp == 0, fmt.Sprintf("the host's end of %s is down", c.inner)},
		{inner.Flags&net.FlagUp == 0, c.inner + " is down"},
		{inner.MTU != c.mtu || outer.MTU != c.mtu, fmt.Sprintf("the MTU of %s is not %d", c.inner, c.mtu)},
		{c.gateway.IsValid() && !s.routed, fmt.Sprintf("it has no default route to %s", c.gateway)},
		{s.astray, "it has a default route that it should not have"},
	}
	for _, a := range c.known {
		all = append(all, finding{!s.neighbours[a], fmt.Sprintf("the host does not know the hardware address of %s", a)})
	}
	for _, a := range c.addresses {
		all = append(all, finding{!slices.Contains(s.addresses, a), fmt.Sprintf("its address %s is missing", a)})
	}
	return broken(all)
}

// lay makes the pair, in place of what there may be of one.
func (k *kernel) lay(ns netns.NsHandle, c cable, s seenCable) (netlink.Link, error) {
	side := k.side(c)
	if err := removeLink(side.link, c.outer); err != nil {
		return nil, err
	}
	if s.inner != nil {
		err := inside(ns, func() error {
			h, err := openLinks(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer h.Close()
			return removeLink(h, c.inner)
		})
		if err != nil {
			return nil, err
		}
	}
	bridge, err := findLink(side.link, c.bridge)
	if err != nil {
		return nil, err
	}
	if bridge == nil {
		return nil, fmt.Errorf("the bridge %s is missing", c.bridge)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = c.outer, c.mtu, bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         c.inner,
		PeerHardwareAddr: c.hardware,
		PeerNamespace:    netlink.NsFd(int(ns)),
		PeerMTU:          uint32(c.mtu),
	}
	if err := side.link.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("cannot make the interface %s: %w", c.outer, err)
	}
	return pair, nil
}

// configureOuter sets the host's end. It goes up when it is already isolated.
func (k *kernel) configureOuter(c cable, s seenCable, outer netlink.Link) error {
	h := k.side(c).link
	bridge, err := findLink(h, c.bridge)
	if err != nil || bridge == nil {
		return errors.Join(err, fmt.Errorf("the bridge %s is missing", c.bridge))
	}
	return run([]step{
		{"name its task", func() error { return h.LinkSetAlias(outer, c.alias) }},
		{"put it on the bridge", func() error { return h.LinkSetMaster(outer, bridge) }},
		{"isolate its bridge port", func() error { return h.LinkSetIsolated(outer, c.isolated) }},
		{"keep its bridge port from learning", func() error { return h.LinkSetLearning(outer, false) }},
		{"keep others' frames from it", func() error { return h.LinkSetFlood(outer, !c.over) }},
		{"make it known", func() error { return introduce(h, c, s, outer.Attrs().Index, bridge.Attrs().Index) }},
		{"set its MTU", func() error { return h.LinkSetMTU(outer, c.mtu) }},
		{"bring the host's end up", func() error { return h.LinkSetUp(outer) }},
	})
}

// introduce tells the bridge and the host who is at a port. Neither is left to
// learn it from what a container says, which may not be true.
func introduce(h *netlink.Handle, c cable, s seenCable, port, bridge int) error {
	station := &netlink.Neigh{
		LinkIndex: port, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: c.hardware,
	}
	errs := []error{h.NeighSet(station)}
	for _, other := range s.stations {
		if hardware, err := net.ParseMAC(other); err == nil && other != c.hardware.String() {
			errs = append(errs, gone(h.NeighDel(&netlink.Neigh{LinkIndex: port, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, HardwareAddr: hardware})))
		}
	}
	for _, a := range c.known {
		errs = append(errs, h.NeighSet(&netlink.Neigh{
			LinkIndex: bridge, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: c.hardware,
		}))
	}
	return errors.Join(errs...)
}

// configureInner sets the task's end; it runs in the task's namespace.
func configureInner(h *netlink.Handle, c cable) error {
	link, err := h.LinkByName(c.inner)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		if err := write(interfaceSysctls(c.inner)); err != nil {
			return err
		}
	}
	if err := ensureAddresses(h, link, c.addresses); err != nil {
		return err
	}
	if err := errors.Join(h.LinkSetMTU(link, c.mtu), h.LinkSetUp(link)); err != nil {
		return err
	}
	return ensureDefault(h, link, c)
}

// interfaceSysctls have an interface use IPv6, which a task's do not by default,
// with the addresses that it is given and no other.
func interfaceSysctls(name string) []sysctl {
	at := "ipv6/conf/" + name + "/"
	return []sysctl{{at + "accept_ra", "0"}, {at + "addr_gen_mode", "1"}, {at + "accept_dad", "0"}, {at + "disable_ipv6", "0"}}
}

// ensureDefault makes the default route by an interface; without a gateway there
// is to be none.
func ensureDefault(h *netlink.Handle, link netlink.Link, c cable) error {
	if c.gateway.IsValid() {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: c.gateway.AsSlice()}
		if c.source.IsValid() {
			route.Src = c.source.AsSlice()
		}
		return h.RouteReplace(route)
	}
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(link, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("cannot list the routes of %s: %w", c.inner, err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() != "0.0.0.0/0" {
			continue
		}
		if err := gone(h.RouteDel(&r)); err != nil {
			return fmt.Errorf("cannot remove a default route: %w", err)
		}
	}
	return nil
}
