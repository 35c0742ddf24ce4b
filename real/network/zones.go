package network

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
)

// A zoneTable is the nftables table that tells connections apart that came in by
// different nodes. A client may use one port of its own for connections to several
// nodes; to a task that they all lead to they would be one, of which the first alone
// is answered. So what comes by the mesh is tracked in a zone that is its node's, in
// the direction that it comes in: where the task's answers to two of them would be
// alike, the kernel has the task see another port. Everything else is in one zone, so
// that there is one for the two to differ in.
//
// It is put into the kernel as a whole: while it is not there, connections under way
// are others.
type zoneTable struct {
	unsupported bool // by the kernel: they are not told apart
}

const (
	zonesName     = "zones"
	beforeZones   = -301 // before connections are tracked, and before others' raw tables
	zoneOffset    = 10   // of the last two bytes of the sender's hardware address, which differ with nodes: see meshPrefixMin
	zoneBytes     = 2
	zoneDirection = 0 // IP_CT_DIR_ORIGINAL of linux/netfilter/nf_conntrack_tuple_common.h
)

// rule returns the expressions of the only rule, as the kernel takes them, and its
// comment.
func (zoneTable) rule(m netplan.Mesh) (exprs [][]byte, comment string, err error) {
	r := rule{"a zone for each node that it came in by", join(iif(expr.CmpOpEq, meshName(m)), []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseLLHeader, Offset: zoneOffset, Len: zoneBytes},
	})}
	if exprs, err = r.encode(); err != nil {
		return nil, "", err
	}
	set, err := attributes(func(a *mdlayher.AttributeEncoder) {
		a.String(unix.NFTA_EXPR_NAME, "ct")
		a.Nested(unix.NFTA_EXPR_DATA, func(a *mdlayher.AttributeEncoder) error {
			a.Uint32(unix.NFTA_CT_KEY, unix.NFT_CT_ZONE)
			a.Uint32(unix.NFTA_CT_SREG, reg0)
			a.Uint8(unix.NFTA_CT_DIRECTION, zoneDirection)
			return nil
		})
	})
	exprs = append(exprs, set)
	return exprs, r.signed(exprs), err
}

func (zoneTable) chain() chain {
	return chain{name: zonesName, kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting, priority: beforeZones}
}

func (zoneTable) kernel(k *kernel) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: k.config.Table}
}

func (z zoneTable) lines(m netplan.Mesh) ([]string, error) {
	_, comment, err := z.rule(m)
	return []string{z.chain().line(), ruleLine(zonesName, 0, comment)}, err
}

// difference tells what converge would change.
func (z zoneTable) difference(k *kernel, m netplan.Mesh) ([]string, error) {
	if z.unsupported {
		return nil, nil
	}
	if err := k.table.open(); err != nil {
		return nil, err
	}
	has, _, err := tableLines(k.table.conn, k.table.raw, z.kernel(k))
	if err != nil {
		return nil, err
	}
	want, err := z.lines(m)
	return meshTableDifference(z.kernel(k), has, want), err
}

// converge makes the table anew if it is not as wanted.
func (z zoneTable) converge(k *kernel, m netplan.Mesh) error {
	lines, err := z.difference(k, m)
	if err != nil || len(lines) == 0 {
		return err
	}
	batch, err := z.batch(k.config.Table, m)
	if err == nil {
		err = transact(k.table.raw, batch)
	}
	if err != nil {
		k.table.close()
		return fmt.Errorf("cannot tell apart what comes in by different nodes: %w", err)
	}
	return nil
}

// batch is what puts the table in place of the one before, all or nothing.
func (z zoneTable) batch(name string, m netplan.Mesh) ([]mdlayher.Message, error) {
	exprs, comment, err := z.rule(m)
	if err != nil {
		return nil, err
	}
	c := z.chain()
	table := func(a *mdlayher.AttributeEncoder) { a.String(unix.NFTA_TABLE_NAME, name) }
	b := tableBatch{family: nftables.TableFamilyIPv4}
	b.add(unix.NFT_MSG_NEWTABLE, mdlayher.Create, table)
	b.add(unix.NFT_MSG_DELTABLE, 0, table)
	b.add(unix.NFT_MSG_NEWTABLE, mdlayher.Create, table)
	b.add(unix.NFT_MSG_NEWCHAIN, mdlayher.Create, func(a *mdlayher.AttributeEncoder) {
		a.String(unix.NFTA_CHAIN_TABLE, name)
		a.String(unix.NFTA_CHAIN_NAME, c.name)
		a.Nested(unix.NFTA_CHAIN_HOOK, func(a *mdlayher.AttributeEncoder) error {
			a.Uint32(unix.NFTA_HOOK_HOOKNUM, uint32(*c.hook))
			a.Int32(unix.NFTA_HOOK_PRIORITY, int32(c.priority))
			return nil
		})
		a.String(unix.NFTA_CHAIN_TYPE, string(c.kind))
	})
	b.add(unix.NFT_MSG_NEWRULE, mdlayher.Create|mdlayher.Append, func(a *mdlayher.AttributeEncoder) {
		a.String(unix.NFTA_RULE_TABLE, name)
		a.String(unix.NFTA_RULE_CHAIN, c.name)
		a.Nested(unix.NFTA_RULE_EXPRESSIONS, func(a *mdlayher.AttributeEncoder) error {
			for _, e := range exprs {
				a.Bytes(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, e)
			}
			return nil
		})
		a.Bytes(unix.NFTA_RULE_USERDATA, udata(comment))
	})
	return b.messages, b.err
}

func (z zoneTable) remove(k *kernel) error { return k.table.drop(z.kernel(k)) }

// tryZones tries the very table.
func tryZones() error {
	raw, err := mdlayher.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	batch, err := zoneTable{}.batch("probe", netplan.Mesh{VNI: 1})
	if err == nil {
		err = transact(raw, batch)
	}
	return errors.Join(err, raw.Close())
}
