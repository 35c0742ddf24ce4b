package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/state"
)

// An endpoint is a task's namespace and the interfaces in it.
type endpoint struct {
	task    state.TaskID
	address netip.Addr // the zero Addr is none: only on overlays
	gateway netip.Prefix
	mtu     int
	mesh    netip.Addr // the zero Addr is none
	routed  bool       // has a way out
	links   []attachment

	upstream []netip.Addr // name servers, instead of the node's; no part of the interfaces
}

// An attachment is a place on an overlay.
type attachment struct {
	vni       uint32
	addresses []netip.Prefix
}

func (e endpoint) equal(f endpoint) bool {
	return e.task == f.task && e.address == f.address && e.gateway == f.gateway && e.mtu == f.mtu && e.mesh == f.mesh && e.routed == f.routed &&
		slices.EqualFunc(e.links, f.links, func(a, b attachment) bool {
			return a.vni == b.vni && slices.Equal(a.addresses, b.addresses)
		})
}

// at are the addresses that the host knows the endpoint by.
func (e endpoint) at() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{e.address, e.mesh} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

func (e endpoint) prefix() netip.Prefix { return netip.PrefixFrom(e.address, e.gateway.Bits()) }

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
	if err := write(namespaceSysctls()); err != nil {
		return err
	}
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return raiseLoopback(h)
}

func raiseLoopback(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find the loopback interface: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot bring the loopback interface up: %w", err)
	}
	return nil
}

// ensureEndpoint makes a task's namespace and interfaces. What is right already
// is not touched.
func (k *kernel) ensureEndpoint(e endpoint) error {
	path := k.netns(e.task)
	cables := k.cables(e)
	fresh := !isNamespace(path)
	if fresh {
		errs := []error{removeNamespace(path)}
		for _, c := range cables {
			errs = append(errs, removeLink(k.side(c).link, c.outer))
		}
		if err := errors.Join(errs...); err != nil {
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
	s := seen{cables: make([]seenCable, len(cables))}
	if !fresh {
		if s, err = k.see(ns, cables); err != nil || len(s.differences(cables)) == 0 {
			return err
		}
	}
	if err := k.connect(ns, cables, s); err != nil {
		return fmt.Errorf("cannot make the task's interfaces: %w", err)
	}
	return nil
}

// connect lays the cables that are missing and sets all of them.
func (k *kernel) connect(ns netns.NsHandle, cables []cable, s seen) error {
	for i, c := range cables {
		outer := s.cables[i].outer
		if !s.cables[i].joined(c) {
			var err error
			if outer, err = k.lay(ns, c, s.cables[i]); err != nil {
				return err
			}
		}
		if err := k.configureOuter(c, s.cables[i], outer); err != nil {
			return fmt.Errorf("%s: %w", c.inner, err)
		}
	}
	return inside(ns, func() error {
		h, err := openLinks(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		errs := []error{raiseLoopback(h)}
		for _, c := range cables {
			if err := configureInner(h, c); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", c.inner, err))
			}
		}
		return errors.Join(errs...)
	})
}

// seen is what there is of an endpoint.
type seen struct {
	loopback bool // up
	cables   []seenCable
}

func (k *kernel) see(ns netns.NsHandle, cables []cable) (seen, error) {
	s := seen{cables: make([]seenCable, len(cables))}
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
		for i, c := range cables {
			if err := s.cables[i].seeInside(h, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	for i, c := range cables {
		if err := k.seeOutside(&s.cables[i], c); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s seen) differences(cables []cable) []string {
	out := broken([]finding{{!s.loopback, "its loopback interface is down"}})
	for i, c := range cables {
		out = append(out, s.cables[i].differences(c)...)
	}
	return out
}

// endpointDifference tells what ensureEndpoint would change.
func (k *kernel) endpointDifference(e endpoint) ([]string, error) {
	path := k.netns(e.task)
	if !isNamespace(path) {
		return []string{fmt.Sprintf("task %s: its network namespace is missing", e.task)}, nil
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace %s: %w", path, err)
	}
	defer ns.Close()
	cables := k.cables(e)
	s, err := k.see(ns, cables)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, d := range s.differences(cables) {
		lines = append(lines, fmt.Sprintf("task %s: %s", e.task, d))
	}
	return lines, nil
}

// removeEndpoint takes a task's interfaces and namespace away. Interfaces on
// overlays go as strays, if not with the namespace.
func (k *kernel) removeEndpoint(e endpoint) error {
	errs := []error{k.removeLink(vethName(e.task))}
	if k.over != nil {
		for _, l := range e.links {
			errs = append(errs, removeLink(k.over.link, overlayVethName(e.task, l.vni)))
		}
	}
	return errors.Join(append(errs, removeNamespace(k.netns(e.task)))...)
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
