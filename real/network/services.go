package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/network/nameserver"
)

// services are what a task's namespace has a table for: connections to a service's
// own address go to one of its backends, from within the task, so that they know
// who connects; and the name server is reached on the port that everybody knows.
type services struct {
	lists [][]netplan.Balanced // of the task's networks
	dns   uint16               // the port that the name server has, 0 for none
	gen   uint32               // of the namespace's tables, when they were last as they should be
}

func (s services) equal(t services) bool {
	return s.dns == t.dns && slices.EqualFunc(s.lists, t.lists, sameBalanced)
}

// sameBalanced is quick about lists that are the same one, and about others says
// no: equal ones have been made the same by then.
func sameBalanced(a, b []netplan.Balanced) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// all are the services in order of their addresses; the first network that has
// one counts.
func (s services) all() []netplan.Balanced {
	if len(s.lists) == 1 {
		return s.lists[0]
	}
	out := slices.Concat(s.lists...)
	slices.SortStableFunc(out, func(a, b netplan.Balanced) int { return a.VIP.Compare(b.VIP) })
	return slices.CompactFunc(out, func(a, b netplan.Balanced) bool { return a.VIP == b.VIP })
}

func (w wanted) services(e endpoint, dns uint16) services {
	s := services{dns: dns}
	for _, l := range e.links {
		s.lists = append(s.lists, w.overlays[l.vni].balanced)
	}
	return s
}

// A kind is what differs between IPv4 and IPv6 in a task's table.
type kind struct {
	suffix string
	family byte
	offset uint32 // of the destination in the header
	bytes  uint32 // of an address
	value  nftables.SetDatatype
}

func kinds() []kind {
	return []kind{
		{"4", unix.NFPROTO_IPV4, destinationOffset, 4, nftables.TypeIPAddr},
		{"6", unix.NFPROTO_IPV6, 24, 16, nftables.TypeIP6Addr},
	}
}

func kindOf(a netip.Addr) kind {
	if a.Is4() {
		return kinds()[0]
	}
	return kinds()[1]
}

// match passes on packets of the kind, with the destination in the registers from
// the first on.
func (k kind) match() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{k.family}},
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: k.offset, Len: k.bytes},
	}
}

func (k kind) balancer(n, group int) chain {
	index := reg0 + k.bytes/4
	to := index + 4
	turn := func(modulus int) []expr.Any {
		return join(k.match(), []expr.Any{
			&expr.Numgen{Register: index, Modulus: uint32(modulus), Type: unix.NFT_NG_INCREMENTAL},
			&expr.Lookup{SourceRegister: reg0, DestRegister: to, IsDestRegSet: true, SetName: mapBackends + k.suffix},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(k.family), RegAddrMin: to},
		})
	}
	return chain{name: fmt.Sprintf("lb%s_%d_%d", k.suffix, n, group), rules: []rule{
		{"in turn", turn(n)}, {"the first, if the map has just shrunk", turn(1)},
	}}
}

// balancerOfService is the chain that a service's connections go through.
func balancerOfService(b netplan.Balanced) (name string, n, group int) {
	last := b.VIP.AsSlice()
	n, group = len(b.Backends), int(last[len(last)-1])%balancerGroups
	return fmt.Sprintf("lb%s_%d_%d", kindOf(b.VIP).suffix, n, group), n, group
}

// balancers are the chains that services need.
func balancers(list []netplan.Balanced) map[string]chain {
	out := map[string]chain{}
	for _, b := range list {
		if name, n, group := balancerOfService(b); n > 0 && out[name].name == "" {
			out[name] = kindOf(b.VIP).balancer(n, group)
		}
	}
	return out
}

// A taskTable is the table in one task's namespace, for as long as it is open.
type taskTable struct {
	conn   *nftables.Conn
	raw    *mdlayher.Conn
	kernel *nftables.Table
	sets   map[string]*nftables.Set
}

const setServicesRefused = "none"

// inTask runs f in a task's namespace with its table.
func (k *kernel) inTask(task state.TaskID, f func(t *taskTable) error) error {
	ns, err := netns.GetFromPath(k.netns(task))
	if err != nil {
		return fmt.Errorf("cannot open the network namespace of task %s: %w", task, err)
	}
	defer ns.Close()
	return inside(ns, func() error {
		raw, err := mdlayher.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("cannot open a socket to nftables: %w", err)
		}
		defer raw.Close() //nolint:errcheck // nothing was written that has not been answered
		conn, err := openTables()
		if err != nil {
			return err
		}
		defer conn.CloseLasting()
		t := &taskTable{conn: conn, raw: raw, kernel: &nftables.Table{Family: nftables.TableFamilyINet, Name: k.config.Table}, sets: map[string]*nftables.Set{}}
		for i, s := range t.layout() {
			s.Table, s.ID = t.kernel, uint32(i+1)
			t.sets[s.Name] = s
		}
		return f(t)
	})
}

func (t *taskTable) layout() []*nftables.Set {
	var out []*nftables.Set
	for _, k := range kinds() {
		out = append(out,
			&nftables.Set{Name: mapPublished + k.suffix, IsMap: true, KeyType: k.value, DataType: nftables.TypeVerdict},
			&nftables.Set{
				Name: mapBackends + k.suffix, IsMap: true, Concatenation: true,
				KeyType: nftables.MustConcatSetType(k.value, nftables.TypeMark), DataType: k.value,
			},
			&nftables.Set{Name: setServicesRefused + k.suffix, KeyType: k.value},
		)
	}
	return out
}

// chains are all but the balancers.
func (s services) chains() []chain {
	var balanced, refused []rule
	if s.dns != 0 {
		balanced = append(balanced, nameServer("udp", unix.IPPROTO_UDP, s.dns), nameServer("tcp", unix.IPPROTO_TCP, s.dns))
	}
	for _, k := range kinds() {
		balanced = append(balanced, rule{"services, IPv" + k.suffix, join(k.match(), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: mapPublished + k.suffix},
		})})
		none := []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: setServicesRefused + k.suffix}}
		refused = append(refused,
			rule{"no backend, tcp, IPv" + k.suffix, join(protocol(unix.IPPROTO_TCP), k.match(), none, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})},
			rule{"no backend, IPv" + k.suffix, join(k.match(), none, []expr.Any{
				&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH},
			})})
	}
	return []chain{
		{"balanced", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest, balanced},
		{"refused", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityFilter, refused},
	}
}

func nameServer(name string, number byte, to uint16) rule {
	address := netip.MustParseAddr(nameserver.Address)
	return rule{"name server, " + name, join(ipv4(), protocol(number), address4(address), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(53)},
		&expr.Immediate{Register: reg0, Data: address.AsSlice()},
		&expr.Immediate{Register: reg1, Data: binaryutil.BigEndian.PutUint16(to)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg0, RegProtoMin: reg1},
	})}
}

func address4(a netip.Addr) []expr.Any {
	return address(destinationOffset, expr.CmpOpEq, netip.PrefixFrom(a, 32))
}

// elements are what a service has in the maps.
func elements(b netplan.Balanced, to map[string][]nftables.SetElement) {
	suffix, key := kindOf(b.VIP).suffix, b.VIP.AsSlice()
	name, n, _ := balancerOfService(b)
	if n == 0 {
		to[setServicesRefused+suffix] = append(to[setServicesRefused+suffix], nftables.SetElement{Key: key})
		return
	}
	to[mapPublished+suffix] = append(to[mapPublished+suffix], nftables.SetElement{
		Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: name},
	})
	for i, a := range b.Backends {
		to[mapBackends+suffix] = append(to[mapBackends+suffix], nftables.SetElement{
			Key: append(slices.Clip(key), binaryutil.NativeEndian.PutUint32(uint32(i))...), Val: a.AsSlice(),
		})
	}
}

// build makes the table anew.
func (t *taskTable) build(s services) error {
	t.conn.AddTable(t.kernel)
	t.conn.DelTable(t.kernel)
	t.conn.AddTable(t.kernel)
	for _, set := range t.layout() {
		if err := t.conn.AddSet(t.sets[set.Name], nil); err != nil {
			return fmt.Errorf("cannot make the map %s: %w", set.Name, err)
		}
	}
	for _, c := range s.chains() {
		if err := addChain(t.conn, t.kernel, c); err != nil {
			return err
		}
	}
	for _, c := range balancers(s.all()) {
		if err := addChain(t.conn, t.kernel, c); err != nil {
			return err
		}
	}
	return t.change(nil, s.all())
}

// change makes the maps lead where services are now; it is one transaction with
// what has been gathered before.
func (t *taskTable) change(before, after []netplan.Balanced) error {
	del, add := map[string][]nftables.SetElement{}, map[string][]nftables.SetElement{}
	compare := func(a, b netplan.Balanced) int { return a.VIP.Compare(b.VIP) }
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && compare(before[0], after[0]) < 0:
			elements(before[0], del)
			before = before[1:]
		case len(before) == 0 || compare(before[0], after[0]) > 0:
			elements(after[0], add)
			after = after[1:]
		default:
			if !slices.Equal(before[0].Backends, after[0].Backends) {
				elements(before[0], del)
				elements(after[0], add)
			}
			before, after = before[1:], after[1:]
		}
	}
	return t.send(del, add)
}

func (t *taskTable) send(del, add map[string][]nftables.SetElement) error {
	var errs []error
	for _, s := range t.layout() {
		for part := range slices.Chunk(del[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetDeleteElements(t.sets[s.Name], part))
		}
	}
	for _, s := range t.layout() {
		for part := range slices.Chunk(add[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetAddElements(t.sets[s.Name], part))
		}
	}
	return errors.Join(errs...)
}

// differences tells how the table differs from what it should be.
func (t *taskTable) differences(s services) ([]string, error) {
	has, err := t.lines()
	if err != nil {
		return nil, err
	}
	expected, err := s.lines(t)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, line := range has {
		if !expected[line] {
			out = append(out, "its table of services has a foreign "+line)
		}
		delete(expected, line)
	}
	for line := range expected {
		out = append(out, "its table of services lacks the "+line)
	}
	slices.Sort(out)
	return out, nil
}

// lines are what the table should hold.
func (s services) lines(t *taskTable) (map[string]bool, error) {
	out := map[string]bool{}
	all := s.chains()
	for _, c := range balancers(s.all()) {
		all = append(all, c)
	}
	for _, set := range t.layout() {
		out[setLine(set)] = true
	}
	for _, x := range all {
		out[x.line()] = true
		for n, r := range x.rules {
			comment, err := r.comment()
			if err != nil {
				return nil, err
			}
			out[ruleLine(x.name, n, comment)] = true
		}
	}
	elementsOf := map[string][]nftables.SetElement{}
	for _, b := range s.all() {
		elements(b, elementsOf)
	}
	for name, list := range elementsOf {
		for _, e := range list {
			value := fmt.Sprintf("%x", e.Val)
			if e.VerdictData != nil {
				value = e.VerdictData.Chain
			}
			out[elementLine(name, e.Key, value)] = true
		}
	}
	return out, nil
}

func elementLine(set string, key []byte, value string) string {
	return fmt.Sprintf("element %x of %s leading to %s", key, set, value)
}

// lines are what the table holds.
func (t *taskTable) lines() ([]string, error) {
	lines, there, err := tableLines(t.conn, t.raw, t.kernel)
	if err != nil || !there {
		return lines, err
	}
	for _, s := range t.layout() {
		list, err := t.conn.GetSetElements(t.sets[s.Name])
		if err != nil && strings.Contains(err.Error(), unix.ENOENT.Error()) {
			continue // the set is missing: the lines say so
		}
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			value := fmt.Sprintf("%x", e.Val)
			if s.IsMap && s.DataType.Name == nftables.TypeVerdict.Name {
				value = verdictChain(e)
			}
			lines = append(lines, elementLine(s.Name, e.Key, value))
		}
	}
	return lines, nil
}
