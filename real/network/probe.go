package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A feature is something that the kernel must have, by the name that its
// configuration knows it by.
type feature struct {
	name string
	try  func() error
}

// probe tries everything that is needed in a network namespace made for it,
// which ends with it, and names what the kernel lacks.
func probe() error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace (swarmd must run as root, on a kernel with CONFIG_NET_NS): %w", err)
		}
		var errs []error
		for _, f := range append(linkFeatures(), tableFeatures()...) {
			if err := f.try(); err != nil {
				errs = append(errs, fmt.Errorf("the kernel lacks %s: %w", f.name, err))
			}
		}
		return errors.Join(errs...)
	})
}

func linkFeatures() []feature {
	with := func(f func(h *netlink.Handle) error) func() error {
		return func() error {
			h, err := openLinks(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
			if err != nil {
				return err
			}
			defer h.Close()
			return f(h)
		}
	}
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	return []feature{
		{"bridges (CONFIG_BRIDGE)", with(func(h *netlink.Handle) error {
			return h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("probe0")})
		})},
		{"virtual cables (CONFIG_VETH)", with(func(h *netlink.Handle) error {
			return h.LinkAdd(&netlink.Veth{LinkAttrs: attrs("probe1"), PeerName: "probe2"})
		})},
		{"isolated bridge ports (Linux 4.18)", with(func(h *netlink.Handle) error {
			bridge, err := h.LinkByName("probe0")
			if err != nil {
				return err
			}
			port, err := h.LinkByName("probe1")
			if err != nil {
				return err
			}
			return errors.Join(h.LinkSetMaster(port, bridge), h.LinkSetIsolated(port, true))
		})},
		{"a view of tracked connections (CONFIG_NF_CT_NETLINK)", with(func(h *netlink.Handle) error {
			_, err := h.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			return err
		})},
	}
}

// tableFeatures try each kind of rule by itself, so that what is missing has a name.
func tableFeatures() []feature {
	filter, nat := nftables.ChainTypeFilter, nftables.ChainTypeNAT
	in, pre, post := nftables.ChainHookInput, nftables.ChainHookPrerouting, nftables.ChainHookPostrouting
	a := netip.MustParseAddr("127.0.0.1")
	return []feature{
		{"nftables (CONFIG_NF_TABLES_INET)", tryRule(filter, in, verdict(expr.VerdictAccept))},
		{"connection tracking in nftables (CONFIG_NFT_CT)", tryRule(filter, in, connection(expr.CtStateBitNEW))},
		{"refusal in nftables (CONFIG_NFT_REJECT_INET)", tryRule(filter, in, join(protocol(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}))},
		{"route look-ups in nftables (CONFIG_NFT_FIB_INET)", tryRule(filter, pre, destinationLocal())},
		{"number generators in nftables (CONFIG_NFT_NUMGEN)", tryRule(filter, in, []expr.Any{&expr.Numgen{Register: 1, Modulus: 2, Type: unix.NFT_NG_INCREMENTAL}})},
		{"address translation in nftables (CONFIG_NFT_NAT)", tryRule(nat, post, join(ipv4(), from(a)))},
		{"masquerading in nftables (CONFIG_NFT_MASQ)", tryRule(nat, post, join(ipv4(), []expr.Any{&expr.Masq{}}))},
	}
}

func tryRule(kind nftables.ChainType, hook *nftables.ChainHook, exprs []expr.Any) func() error {
	return func() error {
		conn, err := openTables()
		if err != nil {
			return err
		}
		t := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "probe"})
		c := conn.AddChain(&nftables.Chain{Table: t, Name: "probe", Type: kind, Hooknum: hook, Priority: nftables.ChainPriorityFilter})
		conn.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: exprs})
		conn.DelTable(t)
		return errors.Join(conn.Flush(), conn.CloseLasting())
	}
}
