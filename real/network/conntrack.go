package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// walkFlows is how many flows the kernel tells of in the time that it takes to look at
// all it has room for, which it does for each part that it is asked for. Measured: a
// table of 262144 places, 5 ms; 20 µs to tell of a flow and understand it.
const walkFlows = 250

// Of linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h, and of
// net/netfilter/nf_internals.h for the flags.
const (
	attributeTupleIP    = 1
	attributeTupleProto = 2
	attributeSource     = 1
	attributeProtocol   = 1
	attributeFilter     = 25
	attributeFlagsOrig  = 1
	attributeFlagsReply = 2
	flagSource          = 1 << 0
	flagProtocol        = 1 << 3
)

// A selection is which flows the kernel is to tell of: those that all of it is true
// of. A kernel before 5.8 tells of more.
type selection struct {
	client, server netip.Addr // IPv4
	protocol       uint8
}

func (s selection) family() netfilter.ProtoFamily {
	if s.client.IsValid() || s.server.IsValid() || s.protocol != 0 {
		return netfilter.ProtoIPv4
	}
	return netfilter.ProtoUnspec
}

func (s selection) attributes() []netfilter.Attribute {
	tuple := func(kind uint16, source netip.Addr, protocol uint8) (out []netfilter.Attribute, flags uint32) {
		t := netfilter.Attribute{Type: kind, Nested: true}
		if source.IsValid() {
			flags |= flagSource
			t.Children = append(t.Children, netfilter.Attribute{Type: attributeTupleIP, Nested: true, Children: []netfilter.Attribute{
				{Type: attributeSource, Data: source.AsSlice()},
			}})
		}
		if protocol != 0 {
			flags |= flagProtocol
			t.Children = append(t.Children, netfilter.Attribute{Type: attributeTupleProto, Nested: true, Children: []netfilter.Attribute{
				{Type: attributeProtocol, Data: []byte{protocol}},
			}})
		}
		if flags != 0 {
			out = append(out, t)
		}
		return out, flags
	}
	native := func(kind uint16, n uint32) netfilter.Attribute {
		return netfilter.Attribute{Type: kind, Data: binary.NativeEndian.AppendUint32(nil, n)}
	}
	out, ofClient := tuple(nl.CTA_TUPLE_ORIG, s.client, 0)
	more, ofServer := tuple(nl.CTA_TUPLE_REPLY, s.server, s.protocol)
	out = append(out, more...)
	if ofClient|ofServer != 0 {
		out = append(out, netfilter.Attribute{Type: attributeFilter, Nested: true, Children: []netfilter.Attribute{
			native(attributeFlagsOrig, ofClient), native(attributeFlagsReply, ofServer),
		}})
	}
	return out
}

// forgetFlows has the kernel forget the flows of the calling thread's namespace that
// match; each that does must be in one of the selections. One that has come in the
// place of another meanwhile, from the same port of its client, is not forgotten.
func forgetFlows(selections []selection, match func(f conntrack.Flow) bool) error {
	raw, err := netfilter.Dial(nil)
	if err != nil {
		return fmt.Errorf("cannot open a socket to the connections that the kernel knows: %w", err)
	}
	defer raw.Close() //nolint:errcheck // all has been answered
	conn, err := conntrack.Dial(nil)
	if err != nil {
		return fmt.Errorf("cannot open a socket to the connections that the kernel knows: %w", err)
	}
	defer conn.Close() //nolint:errcheck // all has been answered
	var errs []error
	if stats, err := conn.StatsGlobal(); err == nil && int(stats.Entries) < walkFlows*(len(selections)-1) {
		selections = []selection{{}}
	}
	for _, s := range selections {
		farewells, err := s.list(raw, match)
		errs = append(errs, err)
		for _, f := range farewells {
			if _, err := raw.Query(f); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot make the kernel forget stale connections: %w", err)
	}
	return nil
}

// list returns what has the kernel forget the flows that match.
func (s selection) list(raw *netfilter.Conn, match func(f conntrack.Flow) bool) (farewells []mdlayher.Message, err error) {
	request, err := netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink, MessageType: nl.IPCTNL_MSG_CT_GET, Family: s.family(), Flags: mdlayher.Request | mdlayher.Dump,
	}, s.attributes())
	if err != nil {
		return nil, err
	}
	answers, err := raw.Query(request)
	if err != nil {
		return nil, err
	}
	for _, m := range answers {
		var e conntrack.Event
		if err := e.Unmarshal(m); err != nil {
			return farewells, err
		}
		if e.Flow == nil || !match(*e.Flow) {
			continue
		}
		f, err := farewell(m)
		if err != nil {
			return farewells, err
		}
		farewells = append(farewells, f)
	}
	return farewells, nil
}

// farewell has the kernel forget the flow that it has told of, and none other: the
// place of a connection that is closed is free to the next one of its client's port,
// which may lead elsewhere, before its turn has come. So the flow is named by its
// answers, which say where it leads, and by its number, which the kernel makes of the
// rest: of the client's packets, and of its place in memory, where the next one may be.
func farewell(told mdlayher.Message) (mdlayher.Message, error) {
	h, all, err := netfilter.UnmarshalNetlink(told)
	if err != nil {
		return mdlayher.Message{}, err
	}
	name := slices.DeleteFunc(all, func(a netfilter.Attribute) bool {
		return a.Type != nl.CTA_TUPLE_REPLY && a.Type != nl.CTA_ZONE && a.Type != nl.CTA_ID
	})
	return netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink, MessageType: nl.IPCTNL_MSG_CT_DELETE, Family: h.Family, Flags: mdlayher.Request | mdlayher.Acknowledge,
	}, name)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func clientOf(f conntrack.Flow) netip.Addr { return f.TupleOrig.IP.SourceAddress.Unmap() }

// askedOf is what the client of a flow connects to.
func askedOf(f conntrack.Flow) netip.AddrPort {
	return netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress.Unmap(), f.TupleOrig.Proto.DestinationPort)
}

// serverOf is where that led.
func serverOf(f conntrack.Flow) netip.AddrPort {
	return netip.AddrPortFrom(f.TupleReply.IP.SourceAddress.Unmap(), f.TupleReply.Proto.SourcePort)
}

func isTCP(f conntrack.Flow) bool { return f.TupleOrig.Proto.Protocol == unix.IPPROTO_TCP }

// movable says of a flow that has lost its backend whether it goes elsewhere: a
// connection that has been answered stays until it has ended, as does, for a while, one
// that may be answered at this moment.
func movable(f conntrack.Flow, waited bool) bool {
	return !isTCP(f) || waited && (!f.Status.SeenReply() || ended(f))
}

// States of linux/netfilter/nf_conntrack_tcp.h.
const (
	stateTimeWait = 7
	stateClose    = 8
)

// ended says of a connection that it has been closed, or cut off. The kernel goes on to
// remember it, and leads the next one from its client's port to the same backend if
// that has cut it off.
func ended(f conntrack.Flow) bool {
	tcp := f.ProtoInfo.TCP
	return tcp != nil && (tcp.State == stateTimeWait || tcp.State == stateClose)
}

// stale matches the flows of the host that the kernel remembers and should not. A
// TCP connection ends with its backend; a UDP flow would go on for as long as the
// client does, to where it first went.
type stale struct {
	changes []change
	gone    []netip.Addr
	waited  bool // for answers to connections that had just begun
}

// match says that a flow is stale: it belongs to an address that is gone, to a
// backend that is no longer one of its port's, or it came before its port was
// published and has been answered by the host.
func (s stale) match(f conntrack.Flow) bool {
	client, asked, server := clientOf(f), askedOf(f), serverOf(f)
	if slices.Contains(s.gone, client) || slices.Contains(s.gone, server.Addr()) {
		return true
	}
	if !movable(f, s.waited) {
		return false
	}
	for _, c := range s.changes {
		if f.TupleOrig.Proto.Protocol != c.port.protocol || asked.Port() != c.port.number || c.port.at().IsValid() && c.port.at() != asked.Addr() {
			continue
		}
		if slices.Contains(c.before, server) && !slices.Contains(c.after, server) {
			return true
		}
		untranslated := server == asked && f.TupleReply.IP.DestinationAddress.Unmap() == client
		if !isTCP(f) && c.before == nil && untranslated {
			return true
		}
	}
	return false
}

// flush has the flows forgotten that changes have made stale, all at once, and not
// for changes that cannot have left any. Connections that have just begun are looked
// at later.
func (k *kernel) flush(changes []change, gone []netip.Addr) {
	s := stale{gone: gone}
	late := stale{waited: true}
	for _, c := range changes {
		lost := slices.ContainsFunc(c.before, func(b netip.AddrPort) bool { return !slices.Contains(c.after, b) })
		switch tcp := c.port.protocol == unix.IPPROTO_TCP; {
		case !tcp && (lost || c.before == nil):
			s.changes = append(s.changes, c)
		case tcp && lost:
			late.changes = append(late.changes, c)
		}
	}
	if len(late.changes) > 0 {
		k.forgets.later("", late.left(), late.match)
	}
	if len(s.changes)+len(s.gone) > 0 {
		k.forgets.now("", s.selections(), s.match)
	}
}

// left are selections of all flows to backends that are none any more.
func (s stale) left() []selection {
	var out []selection
	for _, c := range s.changes {
		for _, b := range c.before {
			if one := (selection{server: b.Addr()}); !slices.Contains(c.after, b) && !slices.Contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out
}

// selections are of all flows that may be stale.
func (s stale) selections() []selection {
	var out []selection
	for _, a := range s.gone {
		out = append(out, selection{client: a}, selection{server: a})
	}
	for i, c := range s.changes {
		same := func(d change) bool { return d.port.protocol == c.port.protocol }
		if slices.IndexFunc(s.changes, same) == i {
			out = append(out, selection{protocol: c.port.protocol})
		}
	}
	return out
}

// staleServices matches flows to services' own addresses whose backend is none any
// more.
type staleServices struct {
	backends map[netip.Addr][]netip.Addr // by service
	waited   bool
}

func (s staleServices) match(f conntrack.Flow) bool {
	asked, server := askedOf(f).Addr(), serverOf(f).Addr()
	backends, is := s.backends[asked]
	return is && server != asked && movable(f, s.waited) && !slices.Contains(backends, server)
}

// follow has flows from a task's namespace go where services are now. Before is nil if
// it is not known where they were.
func (k *kernel) follow(task state.TaskID, before, after []netplan.Balanced) {
	s := staleServices{backends: map[netip.Addr][]netip.Addr{}}
	was := map[netip.Addr][]netip.Addr{}
	for _, b := range before {
		was[b.VIP] = b.Backends
	}
	for _, b := range after {
		lost := func(a netip.Addr) bool { return !slices.Contains(b.Backends, a) }
		if before == nil || slices.ContainsFunc(was[b.VIP], lost) {
			s.backends[b.VIP] = b.Backends
		}
	}
	if len(s.backends) == 0 {
		return
	}
	k.forgets.now(task, []selection{{}}, s.match)
	if before != nil {
		s.waited = true
		k.forgets.later(task, []selection{{}}, s.match)
	}
}
