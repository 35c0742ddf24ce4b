package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A station is a hardware address as what can be compared.
type station [6]byte

func stationOf(a netip.Addr) station { return station(mac(a)) }

func (s station) String() string { return net.HardwareAddr(s[:]).String() }

// forwarding is what a VXLAN knows of others: nothing is learnt, nothing is asked
// of everybody, and what is not known ends here.
type forwarding struct {
	neighbours map[netip.Addr]station    // who has an address
	stations   map[station]netip.Addr    // behind which node it is
	routes     map[netip.Addr]netip.Addr // through whom; the zero Addr is directly
}

func newForwarding() forwarding {
	return forwarding{
		neighbours: make(map[netip.Addr]station), stations: make(map[station]netip.Addr), routes: make(map[netip.Addr]netip.Addr),
	}
}

// readForwarding looks at what is there. Routes are those of single addresses
// that go out by the link.
func readForwarding(h *netlink.Handle, link netlink.Link) (forwarding, error) {
	f := newForwarding()
	index := link.Attrs().Index
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(index, family) })
		if err != nil {
			return f, fmt.Errorf("cannot list the neighbours on %s: %w", link.Attrs().Name, err)
		}
		for _, n := range list {
			if n.State&unix.NUD_PERMANENT != 0 && len(n.HardwareAddr) == len(station{}) {
				f.neighbours[addrOf(n.IP)] = station(n.HardwareAddr)
			}
		}
	}
	list, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(index, unix.AF_BRIDGE) })
	if err != nil {
		return f, fmt.Errorf("cannot list the stations behind %s: %w", link.Attrs().Name, err)
	}
	for _, n := range list {
		if n.Flags&netlink.NTF_SELF != 0 && len(n.HardwareAddr) == len(station{}) {
			f.stations[station(n.HardwareAddr)] = addrOf(n.IP)
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return f, fmt.Errorf("cannot list the routes by %s: %w", link.Attrs().Name, err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ones, bits := r.Dst.Mask.Size(); ones == bits && bits > 0 {
			f.routes[addrOf(r.Dst.IP)] = addrOf(r.Gw)
		}
	}
	return f, nil
}

// become changes what is there into what is wanted.
func (f forwarding) become(want forwarding, h *netlink.Handle, link netlink.Link) error {
	return errors.Join(f.grow(want, h, link), f.shrink(want, h, link))
}

// shrink takes away what is no longer wanted.
func (f forwarding) shrink(want forwarding, h *netlink.Handle, link netlink.Link) error {
	index := link.Attrs().Index
	var errs []error
	for _, a := range missing(f.routes, want.routes, netip.Addr.Compare) {
		r := &netlink.Route{LinkIndex: index, Dst: ipNet(netip.PrefixFrom(a, a.BitLen())), Scope: netlink.SCOPE_NOWHERE} // of any scope
		errs = append(errs, gone(h.RouteDel(r)))
	}
	for _, a := range missing(f.neighbours, want.neighbours, netip.Addr.Compare) {
		errs = append(errs, gone(h.NeighDel(&netlink.Neigh{LinkIndex: index, Family: familyOf(a), IP: a.AsSlice()})))
	}
	for _, s := range missing(f.stations, want.stations, compareStations) {
		errs = append(errs, gone(h.NeighDel(behind(index, s, f.stations[s]))))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot tell %s who is behind it no more: %w", link.Attrs().Name, err)
	}
	return nil
}

// grow makes what is wanted, and leaves what is not. A route comes when the neighbour
// that it goes through is there.
func (f forwarding) grow(want forwarding, h *netlink.Handle, link netlink.Link) error {
	index := link.Attrs().Index
	var errs []error
	for _, s := range changed(f.stations, want.stations, compareStations) {
		errs = append(errs, h.NeighSet(behind(index, s, want.stations[s])))
	}
	for _, a := range changed(f.neighbours, want.neighbours, netip.Addr.Compare) {
		s := want.neighbours[a]
		errs = append(errs, h.NeighSet(&netlink.Neigh{
			LinkIndex: index, Family: familyOf(a), State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: s[:],
		}))
	}
	// Those that others go through come first.
	later := changed(f.routes, want.routes, netip.Addr.Compare)
	slices.SortStableFunc(later, func(a, b netip.Addr) int {
		return cmp.Compare(boolInt(want.routes[a].IsValid()), boolInt(want.routes[b].IsValid()))
	})
	for _, a := range later {
		r := &netlink.Route{LinkIndex: index, Dst: ipNet(netip.PrefixFrom(a, a.BitLen())), Scope: netlink.SCOPE_LINK}
		if via := want.routes[a]; via.IsValid() {
			r.Gw, r.Scope, r.Flags = via.AsSlice(), netlink.SCOPE_UNIVERSE, int(netlink.FLAG_ONLINK)
		}
		errs = append(errs, h.RouteReplace(r))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot tell %s who is behind it: %w", link.Attrs().Name, err)
	}
	return nil
}

// difference tells what become would change.
func (f forwarding) difference(want forwarding) []string {
	var out []string
	for _, a := range missing(f.neighbours, want.neighbours, netip.Addr.Compare) {
		out = append(out, fmt.Sprintf("the neighbour %s is known and should not be", a))
	}
	for _, a := range changed(f.neighbours, want.neighbours, netip.Addr.Compare) {
		out = append(out, fmt.Sprintf("the neighbour %s is not known as %s", a, want.neighbours[a]))
	}
	for _, s := range missing(f.stations, want.stations, compareStations) {
		out = append(out, fmt.Sprintf("the station %s is behind %s and should not be", s, f.stations[s]))
	}
	for _, s := range changed(f.stations, want.stations, compareStations) {
		out = append(out, fmt.Sprintf("the station %s is not behind %s", s, want.stations[s]))
	}
	for _, a := range missing(f.routes, want.routes, netip.Addr.Compare) {
		out = append(out, fmt.Sprintf("there is a route to %s and should not be", a))
	}
	for _, a := range changed(f.routes, want.routes, netip.Addr.Compare) {
		if via := want.routes[a]; via.IsValid() {
			out = append(out, fmt.Sprintf("there is no route to %s through %s", a, via))
		} else {
			out = append(out, fmt.Sprintf("there is no direct route to %s", a))
		}
	}
	return out
}

func behind(index int, s station, node netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT, IP: node.AsSlice(), HardwareAddr: s[:],
	}
}

// missing are the keys of a that b has not.
func missing[K comparable, V any](a, b map[K]V, compare func(K, K) int) []K {
	var out []K
	for k := range a {
		if _, is := b[k]; !is {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// changed are the keys of b for which a has not the same.
func changed[K, V comparable](a, b map[K]V, compare func(K, K) int) []K {
	var out []K
	for k := range maps.All(b) {
		if v, is := a[k]; !is || v != b[k] {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

func compareStations(a, b station) int { return slices.Compare(a[:], b[:]) }

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// gone is no error if what was to be removed is not there.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
