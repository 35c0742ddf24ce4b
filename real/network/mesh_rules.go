package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// replyDirection is IP_CT_DIR_REPLY of linux/netfilter/nf_conntrack_tuple_common.h.
const replyDirection = 1

// beforeMesh is ahead of a host firewall's filter, and of what answers for refused
// ports.
const beforeMesh = beforeFilter - 1

// frameOf is what the rules depend on in a plan.
func (k *kernel) frameOf(w wanted) frame {
	f := frame{bridge: k.config.Bridge, gateway: w.gateway}
	if w.mesh.Underlay.IsValid() {
		f.vxlan, f.v6 = w.mesh.Port, w.mesh.Underlay.Is6()
	}
	if meshActive(w.mesh) {
		f.mesh, f.subnet, f.address, f.mtu = meshName(w.mesh), w.mesh.Subnet.Masked(), w.mesh.Address, k.overlayMTU
	}
	return f
}

// stationSource puts the hardware address of the sender into the first register.
func stationSource() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}}
}

// underlay refuses VXLAN from whoever is no node: it would be among tasks at once.
func (f frame) underlay() chain {
	return chain{"underlay", nftables.ChainTypeFilter, nftables.ChainHookInput, beforeMesh, []rule{
		{"VXLAN comes from nodes of the swarm", join(f.carrier(), f.node(sender, false), verdict(expr.VerdictDrop))},
		{"and by no other protocol", join(f.carrier(), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{f.kind().family}},
		}, verdict(expr.VerdictDrop))},
	}}
}

// untracked is what is done with VXLAN that leaves. Its packets are no connections:
// they have another port for each connection that they carry, and answers do not come
// back to it. To remember them would be to remember everything twice. Of packets that
// come, the chain of spoofed ones has as much.
func (f frame) untracked() chain {
	return chain{"untracked", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityRaw, []rule{
		{"VXLAN to nodes is no connection", join(f.carrier(), f.node(receiver, true), []expr.Any{&expr.Notrack{}})},
	}}
}

// arriving is the same for VXLAN from node to node. Nobody else's may pass by: it
// would get out without the host's address.
func (f frame) arriving() rule {
	return rule{"VXLAN from node to node is no connection", join(f.carrier(), f.node(sender, true), f.node(receiver, true), []expr.Any{&expr.Notrack{}})}
}

// carrier matches VXLAN.
func (f frame) carrier() []expr.Any {
	return join(protocol(unix.IPPROTO_UDP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(f.vxlan)},
	})
}

// Ends of a packet.
const (
	sender = iota
	receiver
)

// node matches packets one end of which is a node, or is none.
func (f frame) node(end int, is bool) []expr.Any {
	k := f.kind()
	if end == sender {
		k.offset -= k.bytes
	}
	return join(k.match(), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: setNodes + k.suffix, Invert: !is}})
}

// kind is that of the addresses that nodes have for each other.
func (f frame) kind() kind {
	if f.v6 {
		return kinds()[1]
	}
	return kinds()[0]
}

// marks remember by which node a connection came in, and send answers back to it.
func (f frame) marks() chain {
	return chain{"ways", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, []rule{
		{"the node that it came in by", join(connection(expr.CtStateBitNEW), iif(expr.CmpOpEq, f.mesh), stationSource(), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, DestRegister: reg2, IsDestRegSet: true, SetName: mapIngress},
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg2, SourceRegister: true},
		})},
		{"answers go back to it", join(ipv4(), []expr.Any{
			&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{replyDirection}},
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		}, isMark(), iif(expr.CmpOpEq, f.bridge), []expr.Any{
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
		})},
	}}
}

// translatedMesh has clients that another node could not answer seen as this one.
func (f frame) translatedMesh() []rule {
	to := join(ipv4(), oif(expr.CmpOpEq, f.mesh), destinationTranslated())
	out := []rule{
		{"loopback client of another node's task", join(to, source(expr.CmpOpEq, netip.MustParsePrefix("127.0.0.0/8")), from(f.address))},
		{"this node as client of another's task", join(to, []expr.Any{
			&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		}, from(f.address))},
	}
	if f.v6 {
		return out
	}
	return append(out, rule{"a node as client of another's task", join(to, []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
		&expr.Lookup{SourceRegister: reg0, SetName: setNodes + "4"},
	}, from(f.address))})
}

func (f frame) forwardedMesh() []rule {
	return []rule{
		{"what another node has let in", join(ipv4(), iif(expr.CmpOpEq, f.mesh), oif(expr.CmpOpEq, f.bridge), address(destinationOffset, expr.CmpOpEq, f.subnet), verdict(expr.VerdictAccept))},
		{"to published ports of other nodes", join(oif(expr.CmpOpEq, f.mesh), destinationTranslated(), verdict(expr.VerdictAccept))},
		{"nothing else reaches other nodes' containers", join(oif(expr.CmpOpEq, f.mesh), verdict(expr.VerdictDrop))},
	}
}

// segments keep TCP to what a frame of the mesh has room for: whoever sends more
// would have to be told, which firewalls forbid.
func (f frame) segments() []rule {
	const headerBytes = 40 // of IPv4 and TCP
	opening := join(protocol(unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x06}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x02}},
	})
	clamp := []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(f.mtu - headerBytes))},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}
	return []rule{
		{"segments that fit, to the mesh", join(opening, oif(expr.CmpOpEq, f.mesh), clamp)},
		{"segments that fit, from the mesh", join(opening, iif(expr.CmpOpEq, f.mesh), clamp)},
	}
}
