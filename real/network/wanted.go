package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// Limits of a plan.
const (
	taskNameMax = 200  // bytes of a task's identifier: it becomes a file name and a link's alias
	backendsMax = 4096 // of one published port
)

// wanted is what a plan asks of the kernel.
type wanted struct {
	gateway   netip.Prefix // zero: no bridge and nothing on it
	endpoints map[state.TaskID]endpoint
	failed    map[state.TaskID]string // endpoints that no kernel could make
	ports     map[port][]netip.AddrPort
	mesh      netplan.Mesh // as the plan has it; zero: this host alone
	overlays  map[uint32]overlay
	vnis      map[string]uint32 // of networks, by their ID
}

// mac derives a hardware address from an IPv4 one, as Docker does, and from the
// end of an IPv6 one: whoever has the endpoints knows the neighbours.
func mac(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	b = b[len(b)-4:]
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
}

// A port is what a client connects to. It is eight bytes, so that maps of many are
// quick.
type port struct {
	host     [4]byte // the address of the host that it is at; zero: every one
	number   uint16
	protocol uint8
	sticky   bool // connections of one client go to one backend; it is not part of the key in the kernel
}

// at is the address of the host that the port is at, and none if it is at every one.
func (p port) at() netip.Addr {
	if p.host == [4]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom4(p.host)
}

func (p port) String() string {
	if p.at().IsValid() {
		return fmt.Sprintf("%s:%d/%s", p.at(), p.number, protocolName(p.protocol))
	}
	return fmt.Sprintf("%d/%s", p.number, protocolName(p.protocol))
}

// plain is the port whether it is sticky or not.
func (p port) plain() port {
	p.sticky = false
	return p
}

func (p port) compare(q port) int {
	return cmp.Or(cmp.Compare(p.number, q.number), cmp.Compare(p.protocol, q.protocol), slices.Compare(p.host[:], q.host[:]), cmp.Compare(boolInt(p.sticky), boolInt(q.sticky)))
}

func protocolNumber(name string) (uint8, bool) {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP, true
	case "udp":
		return unix.IPPROTO_UDP, true
	case "sctp":
		return unix.IPPROTO_SCTP, true
	}
	return 0, false
}

func protocolName(number uint8) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", number)
}

// want reads a plan. What is wrong with an endpoint is its task's failure; what
// is wrong with the rest is the error, and the right part of it is still wanted.
// What is as it was in last (which may be nil) is shared with it.
func want(p netplan.Plan, c Config, last *wanted) (wanted, error) {
	w := wanted{
		endpoints: make(map[state.TaskID]endpoint),
		failed:    make(map[state.TaskID]string),
		ports:     make(map[port][]netip.AddrPort, len(p.Published)),
		overlays:  make(map[uint32]overlay, len(p.Networks)),
		vnis:      make(map[string]uint32, len(p.Networks)),
	}
	var errs []error
	switch {
	case p.Gateway.IsValid() && p.Gateway.Addr().Is4():
		w.gateway = p.Gateway
	case p.Gateway.IsValid():
		errs = append(errs, fmt.Errorf("the gateway %s is not an IPv4 address", p.Gateway))
	}
	if err := refuseMesh(p.Mesh); err != nil {
		errs = append(errs, err)
		p.Mesh, p.Networks = netplan.Mesh{}, nil
	}
	if err := w.join(p, last); err != nil {
		errs = append(errs, err)
	}
	owners := map[netip.Addr]state.TaskID{}
	for _, e := range p.Endpoints {
		if why := w.settle(e, c, owners); why != "" {
			w.failed[e.Task] = why
		}
	}
	for _, published := range p.Published {
		if err := w.publish(published, last); err != nil {
			errs = append(errs, err)
		}
	}
	return w, errors.Join(errs...)
}

// publish adds a published port.
func (w wanted) publish(p netplan.Published, last *wanted) error {
	protocol, ok := protocolNumber(p.Protocol)
	if !ok {
		return fmt.Errorf("published port %d: the protocol %q is none of tcp, udp and sctp", p.Port, p.Protocol)
	}
	at := p.HostIP
	if at.IsValid() && at.IsUnspecified() {
		at = netip.Addr{}
	}
	key := port{protocol: protocol, number: p.Port, sticky: p.Sticky}
	if at.Is4() {
		key.host = at.As4()
	}
	other := key
	other.sticky = !key.sticky
	switch {
	case p.Port == 0:
		return fmt.Errorf("published port 0/%s: a port is between 1 and 65535", p.Protocol)
	case at.IsValid() && !at.Is4():
		return fmt.Errorf("published port %s: the host's address %s is not an IPv4 address", key, at)
	case w.ports[key] != nil || w.ports[other] != nil:
		return fmt.Errorf("published port %s: the plan has it twice", key)
	case !w.gateway.IsValid():
		return fmt.Errorf("published port %s: the plan names no gateway", key)
	case len(p.Backends) > backendsMax:
		return fmt.Errorf("published port %s: %d backends are more than %d", key, len(p.Backends), backendsMax)
	}
	if last != nil {
		if as := last.ports[key]; as != nil && slices.EqualFunc(as, p.Backends, same) {
			w.ports[key] = as
			return nil
		}
	}
	backends := make([]netip.AddrPort, 0, len(p.Backends))
	for _, b := range p.Backends {
		if !b.Address.Is4() || b.Port == 0 {
			return fmt.Errorf("published port %s: %s:%d is no backend", key, b.Address, b.Port)
		}
		backends = append(backends, netip.AddrPortFrom(b.Address, b.Port))
	}
	if !slices.IsSortedFunc(backends, netip.AddrPort.Compare) {
		slices.SortFunc(backends, netip.AddrPort.Compare)
	}
	w.ports[key] = backends
	return nil
}

func same(a netip.AddrPort, b netplan.Backend) bool {
	return a.Addr() == b.Address && a.Port() == b.Port
}

// strangers are those of a list that no endpoint has.
func (w wanted) strangers(list []netip.Addr) []netip.Addr {
	if len(list) == 0 {
		return nil
	}
	has := make(map[netip.Addr]bool, len(w.endpoints))
	for _, e := range w.endpoints {
		for _, a := range e.at() {
			has[a] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return has[a] })
}

// arrange orders the wanted backends so that as few as possible of the present
// ones change places: one more or one fewer is then one change, not a shift of
// all that follow.
func arrange(present, want []netip.AddrPort) []netip.AddrPort {
	if len(want) > 0 && slices.Equal(present, want) {
		return present
	}
	left := make(map[netip.AddrPort]int, len(want))
	for _, b := range want {
		left[b]++
	}
	out := make([]netip.AddrPort, len(want))
	for i := range min(len(present), len(want)) {
		if left[present[i]] > 0 {
			left[present[i]]--
			out[i] = present[i]
		}
	}
	next := 0
	for _, b := range want {
		if left[b] == 0 {
			continue
		}
		left[b]--
		for out[next].IsValid() {
			next++
		}
		out[next] = b
	}
	return out
}

func sorted[V any](m map[state.TaskID]V) []state.TaskID {
	return slices.Sorted(maps.Keys(m))
}

func sortedPorts(m map[port][]netip.AddrPort) []port {
	return slices.SortedFunc(maps.Keys(m), port.compare)
}
