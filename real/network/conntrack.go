package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stale matches the flows that the kernel remembers and should not. A TCP
// connection ends with its backend; a UDP flow would go on for as long as the
// client does, to where it first went.
type stale struct {
	changes []change // of UDP ports only
	gone    []netip.Addr
}

// MatchConntrackFlow says that a flow is stale: it belongs to an address that is
// gone, to a backend that is no longer one of its port's, or it came before its
// port was published and has been answered by the host.
func (s stale) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	client, server := addrOf(f.Forward.SrcIP), addrOf(f.Reverse.SrcIP)
	if slices.Contains(s.gone, client) || slices.Contains(s.gone, server) {
		return true
	}
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to := addrOf(f.Forward.DstIP)
	for _, c := range s.changes {
		if f.Forward.DstPort != c.port.number || c.port.at().IsValid() && c.port.at() != to {
			continue
		}
		backend := netip.AddrPortFrom(server, f.Reverse.SrcPort)
		if slices.Contains(c.before, backend) && !slices.Contains(c.after, backend) {
			return true
		}
		if untranslated := server == to && addrOf(f.Reverse.DstIP) == client; c.before == nil && untranslated {
			return true
		}
	}
	return false
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// flush makes the kernel forget the flows that changes have made stale. It looks
// at every flow there is, so it is done once for all changes, and not for those
// that cannot have left any.
func (k *kernel) flush(changes []change, gone []netip.Addr) error {
	s := stale{gone: gone}
	for _, c := range changes {
		lost := slices.ContainsFunc(c.before, func(b netip.AddrPort) bool { return !slices.Contains(c.after, b) })
		if c.port.protocol == unix.IPPROTO_UDP && (lost || c.before == nil) {
			s.changes = append(s.changes, c)
		}
	}
	if len(s.changes) == 0 && len(s.gone) == 0 {
		return nil
	}
	_, err := dump(func() (uint, error) {
		return k.host.link.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, s)
	})
	if err != nil {
		return fmt.Errorf("cannot make the kernel forget stale connections: %w", err)
	}
	return nil
}
