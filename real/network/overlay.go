package network

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

const (
	overlaysName    = ".overlays" // of the namespace that bridges of overlays are in, beside the tasks'
	vxlanPort       = 4789
	vxlanBytes      = 50 // that VXLAN adds to a frame, over IPv4
	vxlanBytes6     = 70 // over IPv6
	overlayMTUMin   = 576
	overlayMTUMin6  = 1280
	overlaysMax     = 1024    // networks of one node
	remotesMax      = 1 << 17 // endpoints of one network on other nodes
	balancedMax     = 1 << 14 // services of one network
	attachmentsMax  = 32      // networks of one task
	vniMax          = 1<<24 - 1
	bridgeOfOverlay = "ov-" // and the VNI
	vxlanOfOverlay  = "vx-"
)

// An overlay is one node's part of a network: a bridge and a VXLAN, both in a
// namespace that is for nothing else. No filter of the host sees what passes
// there, none of its addresses is reached from there, and networks whose subnets
// are the same do not meet.
type overlay struct {
	id, name string
	vni      uint32
	port     uint16
	source   netip.Addr // of the node
	subnets  []netip.Prefix
	internal bool
	remote   []netplan.Route
	balanced []netplan.Balanced
	names    []netplan.Name
}

func (o overlay) bridge() string { return fmt.Sprintf("%s%d", bridgeOfOverlay, o.vni) }
func (o overlay) vxlan() string  { return fmt.Sprintf("%s%d", vxlanOfOverlay, o.vni) }

// settings are those of the VXLAN.
func (o overlay) settings() []sysctl {
	if !slices.ContainsFunc(o.subnets, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return nil
	}
	return interfaceSysctls(o.vxlan())
}

// same says that the links of two are the same, whoever is on the network.
func (o overlay) same(p overlay) bool {
	return o.id == p.id && o.vni == p.vni && o.port == p.port && o.source == p.source && slices.Equal(o.subnets, p.subnets)
}

// forwarding is who is behind which peer.
func (o overlay) forwarding() forwarding {
	f := newForwarding()
	for _, r := range o.remote {
		first := r.Address
		if r.First.IsValid() {
			first = r.First
		}
		f.neighbours[r.Address] = stationOf(first)
		f.stations[stationOf(first)] = r.Underlay
	}
	return f
}

// place is an address with the prefix of its subnet, ok if it is of the network.
func (o overlay) place(a netip.Addr) (netip.Prefix, bool) {
	for _, s := range o.subnets {
		if s.Contains(a) && s.Addr() != a {
			return netip.PrefixFrom(a, s.Bits()), true
		}
	}
	return netip.Prefix{}, false
}

func (k *kernel) overlaysPath() string { return filepath.Join(k.config.NetnsDir, overlaysName) }

// prepareOverlays sets up the namespace of overlays: no frame on a bridge goes
// through iptables, no bridge has addresses.
func prepareOverlays() error { return write(overlaySysctls()) }

func overlaySysctls() []sysctl {
	return []sysctl{
		{"ipv4/ip_forward", "0"},
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"bridge/bridge-nf-call-iptables", "0"},
		{"bridge/bridge-nf-call-ip6tables", "0"},
		{"bridge/bridge-nf-call-arptables", "0"},
	}
}

// openOverlays opens the namespace of overlays, and makes it if need be.
func (k *kernel) openOverlays(create bool) error {
	path := k.overlaysPath()
	there := isNamespace(path)
	if k.over != nil && there {
		return nil
	}
	k.closeOverlays()
	if !there && !create {
		return nil
	}
	if !there {
		if err := errors.Join(removeNamespace(path), makeNamespace(path, prepareOverlays)); err != nil {
			return err
		}
	}
	h, err := openHostAt(path)
	if err != nil {
		return err
	}
	k.over = h
	return nil
}

func (k *kernel) closeOverlays() {
	if k.over != nil {
		_ = k.over.close()
		k.over = nil
	}
	clear(k.overlays)
	k.seenOver = nil
}

// ensureOverlays makes the networks that are wanted; what cannot be made is the
// failure of every task on it.
func (k *kernel) ensureOverlays(w wanted, failed map[state.TaskID]string) error {
	if len(w.overlays) == 0 {
		return nil
	}
	broken := map[uint32]error{}
	err := k.openOverlays(true)
	if err == nil {
		err = k.measure(w.mesh.Underlay)
	}
	for _, vni := range slices.Sorted(maps.Keys(w.overlays)) {
		o := w.overlays[vni]
		old, known := k.overlays[vni]
		switch {
		case err != nil:
			broken[vni] = err
		case known && old.same(o) && slices.Equal(old.remote, o.remote):
			k.overlays[vni] = o
		default:
			delete(k.overlays, vni)
			if e := k.ensureOverlay(o, old, known); e != nil {
				broken[vni] = fmt.Errorf("network %s: %w", o.id, e)
				continue
			}
			k.overlays[vni] = o
		}
	}
	var errs []error
	for _, vni := range slices.Sorted(maps.Keys(broken)) {
		errs = append(errs, broken[vni])
		for task, e := range w.endpoints {
			if slices.ContainsFunc(e.links, func(l attachment) bool { return l.vni == vni }) {
				failed[task] = broken[vni].Error()
			}
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(errs...)
}

// measure finds the MTU of overlays from that of the interface that has the
// node's address.
func (k *kernel) measure(underlay netip.Addr) error {
	if k.underlay == underlay && k.overlayMTU != 0 {
		return nil
	}
	mtu, err := k.overlayMTUOf(underlay)
	if err != nil {
		return err
	}
	if k.overlayMTU != mtu {
		clear(k.overlays)
		clear(k.endpoints)
	}
	k.underlay, k.overlayMTU = underlay, mtu
	return nil
}

func (k *kernel) overlayMTUOf(underlay netip.Addr) (int, error) {
	mtu, err := mtuOf(k.host.link, underlay)
	if err != nil {
		return 0, err
	}
	mtu = min(mtu, k.config.MTU)
	if underlay.Is4() {
		return max(mtu-vxlanBytes, overlayMTUMin), nil
	}
	return max(mtu-vxlanBytes6, overlayMTUMin6), nil
}

func mtuOf(h *netlink.Handle, a netip.Addr) (int, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return 0, fmt.Errorf("cannot list the addresses of the host: %w", err)
	}
	for _, x := range list {
		if addrOf(x.IP) != a {
			continue
		}
		link, err := h.LinkByIndex(x.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("cannot look at the interface that has %s: %w", a, err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, fmt.Errorf("no interface of this host has the node's data path address %s: give the address that other nodes reach this one at, with --data-path-addr", a)
}

// ensureOverlay makes one network as wanted. If it is known, only who is on it
// has changed.
func (k *kernel) ensureOverlay(o, old overlay, known bool) error {
	if !known || !old.same(o) {
		if err := k.ensureOverlayLinks(o); err != nil {
			return err
		}
	}
	link, err := findLink(k.over.link, o.vxlan())
	if err != nil || link == nil {
		return errors.Join(err, fmt.Errorf("the interface %s has gone", o.vxlan()))
	}
	var has forwarding
	if known && old.same(o) {
		has = old.forwarding()
	} else if has, err = readForwarding(k.over.link, link); err != nil {
		return err
	}
	return k.forward(has, o.forwarding(), k.over, link)
}

func (k *kernel) ensureOverlayLinks(o overlay) error {
	s, err := k.seeOverlay(o)
	if err != nil {
		return err
	}
	if s.bridge == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = o.bridge(), k.overlayMTU
		off := false
		err := errors.Join(removeLink(k.over.link, o.bridge()), k.over.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}))
		if err != nil {
			return fmt.Errorf("cannot make the bridge %s: %w", o.bridge(), err)
		}
		if s.bridge, err = k.over.link.LinkByName(o.bridge()); err != nil {
			return fmt.Errorf("the bridge %s was made and is not there: %w", o.bridge(), err)
		}
	}
	if s.vxlan == nil {
		if s.vxlan, err = k.makeVXLAN(k.over, o.vxlan(), o.vni, o.port, o.source, true, nil); err != nil {
			return err
		}
	}
	// IPv6 neighbours need the protocol, and no address.
	if err := inside(k.over.ns, func() error { return write(o.settings()) }); err != nil {
		return err
	}
	if len(s.differences(k, o)) == 0 {
		return nil
	}
	h := k.over.link
	return run([]step{
		{"name its network", func() error {
			return errors.Join(h.LinkSetAlias(s.bridge, k.overlayAlias(o)), h.LinkSetAlias(s.vxlan, k.overlayAlias(o)))
		}},
		{"put its VXLAN on the bridge", func() error { return h.LinkSetMaster(s.vxlan, s.bridge) }},
		{"keep its VXLAN from learning", func() error { return h.LinkSetLearning(s.vxlan, false) }},
		{"set its MTU", func() error {
			return errors.Join(h.LinkSetMTU(s.vxlan, k.overlayMTU), h.LinkSetMTU(s.bridge, k.overlayMTU))
		}},
		{"bring the bridge up", func() error { return h.LinkSetUp(s.bridge) }},
		{"bring its VXLAN up", func() error { return upVXLAN(h, s.vxlan, o.port) }},
	})
}

func (k *kernel) overlayAlias(o overlay) string { return k.config.Bridge + "/net/" + o.id }

// makeVXLAN makes a VXLAN whose packets pass through the host's namespace, and
// which is itself in that of h.
func (k *kernel) makeVXLAN(h *host, name string, vni uint32, port uint16, source netip.Addr, proxy bool, hardware net.HardwareAddr) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace, attrs.MTU, attrs.HardwareAddr = name, netlink.NsFd(int(h.ns)), k.overlayMTU, hardware
	vxlan := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(vni), SrcAddr: source.AsSlice(), Port: int(port), Proxy: proxy}
	err := errors.Join(removeLink(h.link, name), k.host.link.LinkAdd(vxlan))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("another VXLAN of this host has the VNI %d on port %d: remove it, or take another data path port", vni, port)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make the VXLAN %s: %w", name, err)
	}
	link, err := h.link.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("the VXLAN %s was made and is not there: %w", name, err)
	}
	return link, nil
}

func upVXLAN(h *netlink.Handle, link netlink.Link, port uint16) error {
	err := h.LinkSetUp(link)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("another program of this host uses UDP port %d, which VXLAN needs: end it, or take another data path port", port)
	}
	return err
}
