package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// sysctls are the switches of the host's namespace.
func sysctls(c Config) []sysctl {
	all := []sysctl{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/" + c.Bridge + "/route_localnet", "1"},
		{"ipv4/conf/" + c.Bridge + "/send_redirects", "0"},
		{"ipv6/conf/" + c.Bridge + "/disable_ipv6", "1"},
	}
	if c.OwnHost {
		for _, family := range []string{"iptables", "ip6tables", "arptables"} {
			all = append(all, sysctl{"bridge/bridge-nf-call-" + family, "0"})
		}
	}
	return all
}

// ensureBridge makes the bridge as wanted and returns it. What is right already
// is not touched.
func (k *kernel) ensureBridge(gateway netip.Prefix) error {
	link, err := k.findLink(k.config.Bridge)
	if err != nil {
		return err
	}
	if _, is := link.(*netlink.Bridge); link != nil && !is {
		return fmt.Errorf("the interface %s is not a bridge: rename it or give the swarm's bridge another name", k.config.Bridge)
	}
	if link == nil {
		// A hardware address of its own, or the bridge takes one of its ports'
		// and changes it as they come and go.
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = k.config.Bridge, k.config.MTU, mac(gateway.Addr())
		if err := k.host.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("cannot make the bridge %s: %w", k.config.Bridge, err)
		}
		if link, err = k.findLink(k.config.Bridge); err != nil || link == nil {
			return errors.Join(err, fmt.Errorf("the bridge %s was made and is not there", k.config.Bridge))
		}
	}
	k.bridge = link.Attrs().Index
	if err := inside(k.host.ns, func() error { return write(sysctls(k.config)) }); err != nil {
		return err
	}
	if err := ensureAddress(k.host.link, link, gateway); err != nil {
		return fmt.Errorf("cannot give the bridge %s its address: %w", k.config.Bridge, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := k.host.link.LinkSetUp(link); err != nil {
			return fmt.Errorf("cannot bring the bridge %s up: %w", k.config.Bridge, err)
		}
	}
	return nil
}

// removeBridge takes the bridge away. An interface of that name that is none is
// somebody else's.
func (k *kernel) removeBridge() error {
	link, err := k.findLink(k.config.Bridge)
	if err != nil {
		return err
	}
	if _, is := link.(*netlink.Bridge); !is {
		return nil
	}
	return k.removeLink(k.config.Bridge)
}

// bridgeDifference tells what ensureBridge would change.
func (k *kernel) bridgeDifference(gateway netip.Prefix) ([]string, error) {
	link, err := k.findLink(k.config.Bridge)
	if err != nil {
		return nil, err
	}
	_, is := link.(*netlink.Bridge)
	if !gateway.IsValid() {
		if is {
			return []string{fmt.Sprintf("the bridge %s is there and should not be", k.config.Bridge)}, nil
		}
		return nil, nil
	}
	if link == nil {
		return []string{fmt.Sprintf("the bridge %s is missing", k.config.Bridge)}, nil
	}
	var lines []string
	if !is {
		return []string{fmt.Sprintf("the interface %s is not a bridge", k.config.Bridge)}, nil
	}
	if link.Attrs().Index != k.bridge && k.bridge != 0 {
		lines = append(lines, fmt.Sprintf("the bridge %s is not the one that was made", k.config.Bridge))
	}
	has, err := addresses(k.host.link, link)
	if err != nil {
		return nil, err
	}
	if len(has) != 1 || has[0] != gateway {
		lines = append(lines, fmt.Sprintf("the bridge %s has the addresses %v and should have %s", k.config.Bridge, has, gateway))
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		lines = append(lines, fmt.Sprintf("the bridge %s is down", k.config.Bridge))
	}
	err = inside(k.host.ns, func() error {
		more, err := settingsDifference("", sysctls(k.config))
		lines = append(lines, more...)
		return err
	})
	return lines, err
}

// settingsDifference looks at the namespace of the calling thread.
func settingsDifference(where string, all []sysctl) ([]string, error) {
	var lines []string
	for _, s := range all {
		value, err := s.read()
		if err != nil {
			return lines, err
		}
		if value != s.value {
			lines = append(lines, fmt.Sprintf("%sthe kernel setting net/%s is %s and should be %s", where, s.name, value, s.value))
		}
	}
	return lines, nil
}

// findLink returns a link of the host, nil when there is none of that name.
func (k *kernel) findLink(name string) (netlink.Link, error) {
	return findLink(k.host.link, name)
}

func findLink(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for the interface %s: %w", name, err)
	}
	return link, nil
}

// addresses are those of a link, but for the ones that IPv6 makes up by itself.
func addresses(h *netlink.Handle, link netlink.Link) ([]netip.Prefix, error) {
	list, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(link, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of %s: %w", link.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		ip := addrOf(a.IP)
		if made := ip.Is6() && ip.IsLinkLocalUnicast(); ip.IsValid() && !made {
			ones, _ := a.Mask.Size()
			out = append(out, netip.PrefixFrom(ip, ones))
		}
	}
	return out, nil
}

// ensureAddress gives a link an address, which is to be its only one.
func ensureAddress(h *netlink.Handle, link netlink.Link, want netip.Prefix) error {
	has, err := addresses(h, link)
	if err != nil {
		return err
	}
	for _, a := range has {
		if a == want {
			continue
		}
		if err := h.AddrDel(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("cannot take %s away: %w", a, err)
		}
	}
	return ensureAddresses(h, link, []netip.Prefix{want})
}

// ensureAddresses gives a link the addresses that it lacks. Those of IPv6 are used
// at once: nobody else has them.
func ensureAddresses(h *netlink.Handle, link netlink.Link, want []netip.Prefix) error {
	has, err := addresses(h, link)
	if err != nil {
		return err
	}
	for _, a := range want {
		if slices.Contains(has, a) {
			continue
		}
		address := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, address); err != nil {
			return fmt.Errorf("cannot give it the address %s: %w", a, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ports are the bridge ports of a namespace, by index, and who the bridge knows.
type ports struct {
	isolated   map[int]bool
	learning   map[int]bool
	flooded    map[int]bool
	stations   map[int][]string // hardware addresses that were set, not learnt
	neighbours map[netip.Addr]string
}

// readPorts looks at the namespace of the calling thread. Neighbours are those on
// the bridge, if one is named.
func readPorts(bridge string) (*ports, error) {
	p := &ports{
		isolated: make(map[int]bool), learning: make(map[int]bool), flooded: make(map[int]bool),
		stations: make(map[int][]string), neighbours: make(map[netip.Addr]string),
	}
	if err := p.readFlags(); err != nil {
		return nil, fmt.Errorf("cannot list the ports of bridges: %w", err)
	}
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	stations, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("cannot list what bridges forward: %w", err)
	}
	for _, s := range stations {
		if s.State&unix.NUD_NOARP != 0 {
			p.stations[s.LinkIndex] = append(p.stations[s.LinkIndex], s.HardwareAddr.String())
		}
	}
	if bridge == "" {
		return p, nil
	}
	link, err := findLink(h, bridge)
	if err != nil || link == nil {
		return p, err
	}
	neighbours, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(link.Attrs().Index, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("cannot list the neighbours on the bridge %s: %w", bridge, err)
	}
	for _, n := range neighbours {
		if n.State&unix.NUD_PERMANENT != 0 {
			p.neighbours[addrOf(n.IP)] = n.HardwareAddr.String()
		}
	}
	return p, nil
}

func (p *ports) readFlags() error {
	messages, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		return req.Execute(unix.NETLINK_ROUTE, 0)
	})
	if err != nil {
		return err
	}
	for _, m := range messages {
		head := nl.DeserializeIfInfomsg(m)
		attrs, err := nl.ParseRouteAttr(m[head.Len():])
		if err != nil {
			return err
		}
		for _, a := range attrs {
			if a.Attr.Type != unix.IFLA_PROTINFO|unix.NLA_F_NESTED {
				continue
			}
			flags, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return err
			}
			for _, f := range flags {
				set := len(f.Value) > 0 && f.Value[0] != 0
				switch f.Attr.Type {
				case nl.IFLA_BRPORT_ISOLATED:
					p.isolated[int(head.Index)] = set
				case nl.IFLA_BRPORT_LEARNING:
					p.learning[int(head.Index)] = set
				case nl.IFLA_BRPORT_UNICAST_FLOOD:
					p.flooded[int(head.Index)] = set
				}
			}
		}
	}
	return nil
}

// dismiss forgets neighbours.
func (k *kernel) dismiss(list []netip.Addr) error {
	if k.bridge == 0 {
		return nil // they went with it
	}
	var errs []error
	for _, a := range list {
		err := k.host.link.NeighDel(&netlink.Neigh{LinkIndex: k.bridge, Family: unix.AF_INET, IP: a.AsSlice()})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("cannot forget the neighbour %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}
