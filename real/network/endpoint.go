package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/state"
)

const (
	innerName     = "eth0" // the interface as the container sees it
	vethPrefix    = "ve"   // of the host's end
	vethNameBytes = 14     // 15 are all that a name may have
)

// vethName is the host's end of a task's interface. Too short for the task, it is
// a digest; the link's alias has the task in full.
func vethName(task state.TaskID) string {
	sum := sha256.Sum256([]byte(task))
	return vethPrefix + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:vethNameBytes-len(vethPrefix)])
}

func (k *kernel) alias(task state.TaskID) string { return k.config.Bridge + "/" + string(task) }

func (k *kernel) netns(task state.TaskID) string {
	return filepath.Join(k.config.NetnsDir, string(task))
}

// namespaceSysctls are the switches of a new namespace, which may otherwise
// inherit the host's: a container does not route, is not told other routes, and
// may use every port and ping without being root, as in Docker.
func namespaceSysctls() []sysctl {
	return []sysctl{
		{"ipv4/ip_forward", "0"},
		{"ipv4/conf/all/accept_redirects", "0"},
		{"ipv4/conf/default/accept_redirects", "0"},
		{"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv4/ip_unprivileged_port_start", "0"},
		{"ipv4/ping_group_range", "0 2147483647"},
	}
}

func prepareNamespace() error {
	for _, s := range namespaceSysctls() {
		if err := s.write(); err != nil {
			return err
		}
	}
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find the loopback interface: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot bring the loopback interface up: %w", err)
	}
	return nil
}

// ensureEndpoint makes a task's namespace and interface. What is right already
// is not touched.
func (k *kernel) ensureEndpoint(e endpoint) error {
	path := k.netns(e.task)
	fresh := !isNamespace(path)
	if fresh {
		if err := errors.Join(k.removeLink(vethName(e.task)), removeNamespace(path)); err != nil {
			return err
		}
		if err := makeNamespace(path, prepareNamespace); err != nil {
			return err
		}
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("cannot open the network namespace %s: %w", path, err)
	}
	defer ns.Close()
	var s seen
	if !fresh {
		if s, err = k.see(ns, e); err != nil || len(s.differences(e, k.bridge, k.alias(e.task))) == 0 {
			return err
		}
	}
	if !s.joined(e) {
		if s.outer, err = k.join(ns, e, s); err != nil {
			return err
		}
	}
	return k.configure(ns, e, s.outer)
}

// seen is what there is of an endpoint.
type seen struct {
	outer, inner netlink.Link // nil when missing
	isolated     bool
	learning     bool
	stations     []string // at the bridge port
	neighbour    string   // of its address
	loopback     bool     // up
	addresses    []netip.Prefix
	routed       bool // to the gateway by default
}

func (k *kernel) see(ns netns.NsHandle, e endpoint) (seen, error) {
	var s seen
	err := inside(ns, func() error {
		h, err := openLinks(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err := findLink(h, "lo")
		if err != nil {
			return err
		}
		s.loopback = lo != nil && lo.Attrs().Flags&net.FlagUp != 0
		if s.inner, err = findLink(h, innerName); err != nil || s.inner == nil {
			return err
		}
		if s.addresses, err = addresses(h, s.inner); err != nil {
			return err
		}
		routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(s.inner, unix.AF_INET) })
		if err != nil {
			return fmt.Errorf("cannot list the routes of %s: %w", innerName, err)
		}
		s.routed = slices.ContainsFunc(routes, func(r netlink.Route) bool {
			all := r.Dst == nil || r.Dst.String() == "0.0.0.0/0"
			return all && r.Gw.Equal(e.gateway.Addr().AsSlice())
		})
		return nil
	})
	if err != nil {
		return s, err
	}
	if s.outer, err = k.findLink(vethName(e.task)); err != nil || s.outer == nil {
		return s, err
	}
	p, err := k.ports()
	if err != nil {
		return s, err
	}
	index := s.outer.Attrs().Index
	s.isolated, s.learning, s.stations = p.isolated[index], p.learning[index], p.stations[index]
	s.neighbour = p.neighbours[e.address]
	return s, nil
}

// joined says that the two ends are those of one pair, with the right hardware
// address; if not, the pair is made anew.
func (s seen) joined(e endpoint) bool {
	return s.outer != nil && s.inner != nil && s.outer.Type() == "veth" && s.inner.Type() == "veth" &&
		s.inner.Attrs().ParentIndex == s.outer.Attrs().Index && s.outer.Attrs().ParentIndex == s.inner.Attrs().Index &&
		bytes.Equal(s.inner.Attrs().HardwareAddr, mac(e.address))
}

func (s seen) differences(e endpoint, bridge int, alias string) []string {
	if !s.joined(e) {
		return []string{"its interface is missing"}
	}
	inner, outer := s.inner.Attrs(), s.outer.Attrs()
	rules := []struct {
		broken bool
		what   string
	}{
		{!s.loopback, "its loopback interface is down"},
		{outer.Alias != alias, "its interface does not name it"},
		{outer.MasterIndex != bridge || bridge == 0, "its interface is not on the bridge"},
		{!s.isolated, "its bridge port is not isolated"},
		{s.learning, "its bridge port learns addresses"},
		{!slices.Equal(s.stations, []string{mac(e.address).String()}), fmt.Sprintf("its bridge port leads to %v and should lead to %s", s.stations, mac(e.address))},
		{s.neighbour != mac(e.address).String(), "the host does not know its hardware address"},
		{outer.Flags&net.FlagUp == 0, "the host's end of its interface is down"},
		{inner.Flags&net.FlagUp == 0, "its interface is down"},
		{inner.MTU != e.mtu || outer.MTU != e.mtu, fmt.Sprintf("its MTU is not %d", e.mtu)},
		{!slices.Contains(s.addresses, e.prefix()), fmt.Sprintf("its address %s is missing", e.prefix())},
		{!s.routed, fmt.Sprintf("it has no default route to %s", e.gateway.Addr())},
	}
	var out []string
	for _, r := range rules {
		if r.broken {
			out = append(out, r.what)
		}
	}
	return out
}

func (e endpoint) prefix() netip.Prefix { return netip.PrefixFrom(e.address, e.gateway.Bits()) }

// join makes the pair, in place of what there may be of one.
func (k *kernel) join(ns netns.NsHandle, e endpoint, s seen) (netlink.Link, error) {
	name := vethName(e.task)
	if err := k.removeLink(name); err != nil {
		return nil, err
	}
	if s.inner != nil {
		err := inside(ns, func() error {
			h, err := openLinks(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer h.Close()
			return removeLink(h, innerName)
		})
		if err != nil {
			return nil, err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = name, e.mtu, k.bridge
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         innerName,
		PeerHardwareAddr: mac(e.address),
		PeerNamespace:    netlink.NsFd(int(ns)),
		PeerMTU:          uint32(e.mtu),
	}
	if err := k.host.link.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("cannot make the interface %s: %w", name, err)
	}
	return pair, nil
}

// configure sets both ends. The host's end goes up when it is already isolated.
func (k *kernel) configure(ns netns.NsHandle, e endpoint, outer netlink.Link) error {
	h := k.host.link
	steps := []struct {
		what string
		do   func() error
	}{
		{"name its task", func() error { return h.LinkSetAlias(outer, k.alias(e.task)) }},
		{"put it on the bridge", func() error { return h.LinkSetMasterByIndex(outer, k.bridge) }},
		{"isolate its bridge port", func() error { return h.LinkSetIsolated(outer, true) }},
		{"keep its bridge port from learning", func() error { return h.LinkSetLearning(outer, false) }},
		{"make it known", func() error { return k.introduce(e, outer.Attrs().Index) }},
		{"set its MTU", func() error { return h.LinkSetMTU(outer, e.mtu) }},
		{"bring the host's end up", func() error { return h.LinkSetUp(outer) }},
		{"set it up inside", func() error { return inside(ns, func() error { return configureInside(e) }) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("cannot make the task's interface: cannot %s: %w", s.what, err)
		}
	}
	return nil
}

func configureInside(e endpoint) error {
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	link, err := h.LinkByName(innerName)
	if err != nil {
		return err
	}
	if err := ensureAddress(h, link, e.prefix(), false); err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: e.gateway.Addr().AsSlice()}
	return errors.Join(h.LinkSetUp(lo), h.LinkSetMTU(link, e.mtu), h.LinkSetUp(link), h.RouteReplace(route))
}

// endpointDifference tells what ensureEndpoint would change.
func (k *kernel) endpointDifference(e endpoint, bridge int) ([]string, error) {
	path := k.netns(e.task)
	if !isNamespace(path) {
		return []string{fmt.Sprintf("task %s: its network namespace is missing", e.task)}, nil
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace %s: %w", path, err)
	}
	defer ns.Close()
	s, err := k.see(ns, e)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, d := range s.differences(e, bridge, k.alias(e.task)) {
		lines = append(lines, fmt.Sprintf("task %s: %s", e.task, d))
	}
	return lines, nil
}

// removeEndpoint takes a task's interface and namespace away.
func (k *kernel) removeEndpoint(task state.TaskID) error {
	return errors.Join(k.removeLink(vethName(task)), removeNamespace(k.netns(task)))
}

func (k *kernel) removeLink(name string) error { return removeLink(k.host.link, name) }

func removeLink(h *netlink.Handle, name string) error {
	link, err := findLink(h, name)
	if err != nil || link == nil {
		return err
	}
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot remove the interface %s: %w", name, err)
	}
	return nil
}
