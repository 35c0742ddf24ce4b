package network

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// A rule is expressions and the comment that it can be known by: nobody can
// change the one without losing the other, as rules are replaced as a whole.
type rule struct {
	says  string
	exprs []expr.Any
}

// comment ends with a digest of the expressions, so that rules of another
// version of this program are seen to differ.
func (r rule) comment() (string, error) {
	exprs, err := r.encode()
	return r.signed(exprs), err
}

// encode returns the expressions as the kernel takes them.
func (r rule) encode() ([][]byte, error) {
	var out [][]byte
	for _, e := range r.exprs {
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the rule %q: %w", r.says, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// signed is the comment, if these are the expressions.
func (r rule) signed(exprs [][]byte) string {
	sum := fnv.New32a()
	for _, b := range exprs {
		sum.Write(b)
	}
	return fmt.Sprintf("%s #%08x", r.says, sum.Sum32())
}

// A chain is where packets pass, with its rules; one without a hook is jumped to.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

// Names of the maps and sets. Those ending in At hold the ports that answer on
// one address of the host only.
const (
	mapPublished   = "pub"     // protocol . port : goto a chain that balances
	mapPublishedAt = "pub_at"  // address . protocol . port
	mapBackends    = "eps"     // protocol . port . index : address . port
	mapBackendsAt  = "eps_at"  // address . protocol . port . index
	setRefused     = "none"    // protocol . port, published with no backend
	setRefusedAt   = "none_at" // address . protocol . port
)

// Registers of 32 bits, in which keys are put together from the first on.
const (
	reg0 = unix.NFT_REG32_00
	reg1 = unix.NFT_REG32_01
	reg2 = unix.NFT_REG32_02
	reg3 = unix.NFT_REG32_03
	reg4 = unix.NFT_REG32_04
	reg5 = unix.NFT_REG32_05
)

// before answers to local refusals come ahead of a host firewall's filter, which
// might drop what is to be refused.
const beforeFilter = -10

// A frame is what the rules depend on, but for ports and nodes.
type frame struct {
	bridge  string
	gateway netip.Prefix
	mtu     int          // of the mesh
	vxlan   uint16       // the port of VXLAN; 0: there is none
	v6      bool         // nodes reach each other over IPv6
	mesh    string       // the interface of the mesh; "": there is none
	subnet  netip.Prefix // of the mesh
	address netip.Addr   // the node's in it
}

// chains are all rules but those that balance: they depend on nothing that
// changes often. In each, what most packets are not is asked first, and the name of an
// interface last: the kernel copies it for each rule that asks.
func (f frame) chains() []chain {
	bridge, gateway := f.bridge, f.gateway
	spoofed := []rule{{"loopback addresses come from within", join(ipv4(), destinationLoopback(), iif(expr.CmpOpNeq, "lo"), verdict(expr.VerdictDrop))}}
	others := join(ipv4(), source(expr.CmpOpNeq, gateway.Masked()))
	if f.mesh != "" {
		others = join(others, source(expr.CmpOpNeq, f.subnet))
	}
	spoofed = append(spoofed, rule{"containers have addresses of their subnet", join(others, iif(expr.CmpOpEq, bridge), verdict(expr.VerdictDrop))})
	published := publishedRules()
	translated := []rule{
		{"loopback client of a published port", join(ipv4(), oif(expr.CmpOpEq, bridge), destinationTranslated(), source(expr.CmpOpEq, netip.MustParsePrefix("127.0.0.0/8")), from(gateway.Addr()))},
		{"container as client of a published port", join(ipv4(), iif(expr.CmpOpEq, bridge), oif(expr.CmpOpEq, bridge), destinationTranslated(), from(gateway.Addr()))},
		{"out into the world", join(ipv4(), iif(expr.CmpOpEq, bridge), oif(expr.CmpOpNeq, bridge), []expr.Any{&expr.Masq{}})},
	}
	forwarded := []rule{
		{"answers", join(connection(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))},
		{"to published ports", join(oif(expr.CmpOpEq, bridge), destinationTranslated(), verdict(expr.VerdictAccept))},
		{"nothing else reaches containers", join(oif(expr.CmpOpEq, bridge), verdict(expr.VerdictDrop))},
	}
	var more []chain
	if f.vxlan != 0 {
		spoofed = append(spoofed, f.arriving())
		more = append(more, f.underlay(), f.untracked())
	}
	if f.mesh != "" {
		spoofed = append(spoofed, rule{"nodes are known in the mesh", join(iif(expr.CmpOpEq, f.mesh), stationSource(), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: setStations, Invert: true}}, verdict(expr.VerdictDrop))})
		published = append([]rule{{"the node that it came in by has chosen", join(iif(expr.CmpOpEq, f.mesh), verdict(expr.VerdictAccept))}}, published...)
		translated = append(f.translatedMesh(), translated...)
		forwarded = slices.Concat(f.segments(), forwarded[:2], f.forwardedMesh(), forwarded[2:])
		more = append(more, f.marks())
	}
	return append([]chain{
		{"spoofed", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, spoofed},
		{"published", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest, published},
		{"published_local", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest, publishedRules()},
		{"refused", nftables.ChainTypeFilter, nftables.ChainHookInput, beforeFilter, refusedRules()},
		{"translated", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, translated},
		{"forwarded", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, forwarded},
	}, more...)
}

func publishedRules() []rule {
	return []rule{
		{"published on one address", join(ipv4(), destinationLocal(), portKey(true), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: mapPublishedAt},
		})},
		{"published", join(ipv4(), destinationLocal(), portKey(false), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: mapPublished},
		})},
	}
}

// refusedRules answer for ports that are published and have no backend, whether
// or not something on the host listens there: one moment's loss of all backends
// must not let a stranger answer. Only new connections are looked at, or the
// host's own, from such a port as their local one, would break.
func refusedRules() []rule {
	reset := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	unreachable := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	in := func(set string, at bool, end []expr.Any) []expr.Any {
		return join(ipv4(), connection(expr.CtStateBitNEW), portKey(at), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: set}}, end)
	}
	return []rule{
		{"no backend on one address, tcp", join(protocol(unix.IPPROTO_TCP), in(setRefusedAt, true, reset))},
		{"no backend, tcp", join(protocol(unix.IPPROTO_TCP), in(setRefused, false, reset))},
		{"no backend on one address", in(setRefusedAt, true, unreachable)},
		{"no backend", in(setRefused, false, unreachable)},
	}
}

// stickySeed is the same on every node, so that a client finds the same backend by
// each of them.
const stickySeed = 0x5d6d

// balanceRules pass a connection to the next of n backends, in turn. Should the
// map have shrunk between the two look-ups that a packet makes, its index may be
// gone; the first is there as long as any.
func balanceRules(n int, at, sticky bool) []rule {
	backends, index, address, number := mapBackends, reg2, reg3, reg4
	if at {
		backends, index, address, number = mapBackendsAt, reg3, reg4, reg5
	}
	to := []expr.Any{
		&expr.Lookup{SourceRegister: reg0, DestRegister: uint32(address), IsDestRegSet: true, SetName: backends},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: uint32(address), RegProtoMin: uint32(number)},
	}
	turn := []expr.Any{&expr.Numgen{Register: uint32(index), Modulus: uint32(n), Type: unix.NFT_NG_INCREMENTAL}}
	if sticky {
		// The client's address is hashed in a register of its own.
		turn = []expr.Any{
			&expr.Payload{DestRegister: unix.NFT_REG32_08, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: net.IPv4len},
			&expr.Hash{SourceRegister: unix.NFT_REG32_08, DestRegister: uint32(index), Length: net.IPv4len, Modulus: uint32(n), Seed: stickySeed, Type: expr.HashTypeJenkins},
		}
	}
	first := []expr.Any{&expr.Numgen{Register: uint32(index), Modulus: 1, Type: unix.NFT_NG_INCREMENTAL}}
	return []rule{
		{"in turn", join(portKey(at), turn, to)},
		{"the first, if the map has just shrunk", join(portKey(at), first, to)},
	}
}

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func ipv4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

func iif(op expr.CmpOp, name string) []expr.Any { return ifname(expr.MetaKeyIIFNAME, op, name) }
func oif(op expr.CmpOp, name string) []expr.Any { return ifname(expr.MetaKeyOIFNAME, op, name) }

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

// Where the addresses are in an IPv4 header.
const (
	sourceOffset      = 12
	destinationOffset = 16
)

func source(op expr.CmpOp, p netip.Prefix) []expr.Any { return address(sourceOffset, op, p) }

func destinationLoopback() []expr.Any {
	return address(destinationOffset, expr.CmpOpEq, netip.MustParsePrefix("127.0.0.0/8"))
}

func address(offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: net.IPv4len},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: net.IPv4len, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, net.IPv4len)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func destinationLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// portKey puts [address .] protocol . port into the registers from the first on.
func portKey(at bool) []expr.Any {
	if !at {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0},
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		}
	}
	return []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: destinationOffset, Len: net.IPv4len},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Payload{DestRegister: reg2, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// connectionDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const connectionDNAT = 1 << 5

func destinationTranslated() []expr.Any { return tracked(expr.CtKeySTATUS, connectionDNAT) }

func connection(states uint32) []expr.Any { return tracked(expr.CtKeySTATE, states) }

// tracked matches when any of the bits is set.
func tracked(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func from(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

func udata(comment string) []byte { return userdata.AppendString(nil, userdata.TypeComment, comment) }

func commentOf(b []byte) string {
	s, _ := userdata.GetString(b, userdata.TypeComment)
	return strings.TrimRight(s, "\x00")
}
