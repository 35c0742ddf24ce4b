package network

import (
	"fmt"
	"log/slog"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A wish is something that the kernel may lack, and what does not work then.
type wish struct {
	feature
	without string
	lacks   lacking // without it
}

// lacking is what the kernel has not.
type lacking struct {
	mesh  bool // what the mesh needs
	zones bool // of connection tracking
}

// probeWishes names what will not work, and why; a host by itself needs none of it.
func probeWishes(wishes []wish, log *slog.Logger) (l lacking) {
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		for _, w := range wishes {
			if err := w.try(); err != nil {
				l.mesh, l.zones = l.mesh || w.lacks.mesh, l.zones || w.lacks.zones
				log.Warn("the kernel lacks "+w.name+": "+w.without, "err", err)
			}
		}
		return nil
	})
	if err != nil {
		log.Warn("what the kernel can do for a network of several hosts is not known", "err", err)
		l.mesh = true
	}
	return l
}

func wishes() []wish {
	filter, in := nftables.ChainTypeFilter, nftables.ChainHookInput
	const alone = "published ports do not lead to tasks of other nodes"
	hash := []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG32_08, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
		&expr.Hash{SourceRegister: unix.NFT_REG32_08, DestRegister: reg0, Length: 4, Modulus: 2, Type: expr.HashTypeJenkins},
	}
	return []wish{
		{feature{"VXLAN (CONFIG_VXLAN)", tryVXLAN}, "tasks on overlay networks fail, and " + alone, lacking{mesh: true}},
		{feature{"filters of what leaves an interface (CONFIG_NETFILTER_EGRESS, Linux 5.16)", tryEgress}, alone, lacking{mesh: true}},
		{feature{"zones of connection tracking (CONFIG_NF_CONNTRACK_ZONES)", tryZones}, "a client that connects from one port by two nodes at once is answered on one alone", lacking{zones: true}},
		{feature{"hashes in nftables (CONFIG_NFT_HASH)", tryRule(filter, in, join(ipv4(), hash))}, "sticky ports are not published", lacking{}},
	}
}

func tryVXLAN() error {
	h, err := openLinks(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe3"
	return h.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: vxlanPort})
}

func tryEgress() error {
	conn, err := openTables()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	t := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "probe"})
	accept := nftables.ChainPolicyAccept
	conn.AddChain(&nftables.Chain{
		Table: t, Name: "probe", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress,
		Priority: nftables.ChainPriorityFilter, Policy: &accept, Device: "lo",
	})
	return conn.Flush()
}

// warnOfFirewall tells of a firewall of the host that drops what it is to forward:
// what is accepted in our table does not override that.
func (k *kernel) warnOfFirewall() {
	if err := k.table.open(); err != nil {
		return // it is told when the table is made
	}
	chains, err := k.table.conn.ListChains()
	if err != nil {
		k.config.Logger.Warn("whether a firewall of the host drops what is forwarded is not known", "err", err)
		return
	}
	for _, c := range chains {
		ours := c.Table.Name == k.config.Table
		forward := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter
		of := c.Table.Family
		ip := of == nftables.TableFamilyIPv4 || of == nftables.TableFamilyINet
		if !ours && forward && ip && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			k.config.Logger.Warn("a firewall of the host drops what is forwarded, and so published ports and containers' ways out, unless it is told to accept "+
				"what enters or leaves by the interfaces named", "table", c.Table.Name, "chain", c.Name, "interfaces", k.config.Bridge+" "+meshPrefix+"*")
		}
	}
}
