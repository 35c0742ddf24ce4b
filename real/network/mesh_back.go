package network

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/swarmd/swarmd/engine/netplan"
)

const mapBack = "back" // mark : hardware address of the node that a connection came in by

// A backTable is the nftables table that sends what leaves by the mesh to the
// node that its mark names: one route is enough for however many nodes.
type backTable struct{}

func (backTable) kernel(k *kernel) (*nftables.Table, *nftables.Set) {
	t := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: k.config.Table}
	return t, &nftables.Set{Table: t, ID: 1, Name: mapBack, IsMap: true, KeyType: nftables.TypeMark, DataType: nftables.TypeEtherAddr}
}

func (backTable) rule() rule {
	return rule{"back to where it came in", join(marked(expr.MetaKeyMARK), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg1, IsDestRegSet: true, SetName: mapBack},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
		// Or the packet around it would be routed by the mark, too.
		&expr.Immediate{Register: reg0, Data: make([]byte, 4)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0, SourceRegister: true},
	})}
}

// marked matches marks of the mesh.
func marked(key expr.MetaKey) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: key, Register: 1}}, isMark()...)
}

func isMark() []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(meshMarkMask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(meshMark)},
	}
}

func (b backTable) elements(m netplan.Mesh) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range m.Peers {
		if p.Address.IsValid() {
			out = append(out, nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(markOf(p.Address)), Val: mac(p.Address)})
		}
	}
	return out
}

func (b backTable) lines(m netplan.Mesh) ([]string, error) {
	comment, err := b.rule().comment()
	if err != nil {
		return nil, err
	}
	out := []string{"map " + mapBack, b.chain(m).line(), ruleLine(mapBack, 0, comment)}
	for _, e := range b.elements(m) {
		out = append(out, elementLine(mapBack, e.Key, fmt.Sprintf("%x", e.Val)))
	}
	return out, nil
}

func (b backTable) chain(netplan.Mesh) chain {
	return chain{mapBack, nftables.ChainTypeFilter, nftables.ChainHookEgress, *nftables.ChainPriorityFilter, []rule{b.rule()}}
}

func (b backTable) read(k *kernel) ([]string, error) {
	t, s := b.kernel(k)
	lines, there, err := tableLines(k.table.conn, k.table.raw, t)
	if err != nil || !there {
		return nil, err
	}
	elements, err := k.table.conn.GetSetElements(s)
	for _, e := range elements {
		lines = append(lines, elementLine(mapBack, e.Key, fmt.Sprintf("%x", e.Val)))
	}
	return lines, err
}

func (b backTable) difference(k *kernel, m netplan.Mesh) ([]string, error) {
	if err := k.table.open(); err != nil {
		return nil, err
	}
	has, err := b.read(k)
	if err != nil {
		return nil, err
	}
	want, err := b.lines(m)
	t, _ := b.kernel(k)
	return meshTableDifference(t, has, want), err
}

// meshTableDifference tells how a table of the mesh differs, from what it holds and
// should hold.
func meshTableDifference(t *nftables.Table, has, want []string) []string {
	slices.Sort(has)
	slices.Sort(want)
	if slices.Equal(has, want) {
		return nil
	}
	family := "ip"
	if t.Family == nftables.TableFamilyNetdev {
		family = "netdev"
	}
	return []string{fmt.Sprintf("the nftables table %s %s of the mesh has %q and should have %q", family, t.Name, has, want)}
}

// converge makes the table anew if it is not as wanted.
func (b backTable) converge(k *kernel, m netplan.Mesh) error {
	lines, err := b.difference(k, m)
	if err != nil || len(lines) == 0 {
		return err
	}
	t, s := b.kernel(k)
	conn := k.table.conn
	conn.AddTable(t)
	conn.DelTable(t)
	conn.AddTable(t)
	if err := conn.AddSet(s, b.elements(m)); err != nil {
		return fmt.Errorf("cannot make the map %s: %w", s.Name, err)
	}
	c := b.chain(m)
	accept := nftables.ChainPolicyAccept
	made := conn.AddChain(&nftables.Chain{
		Table: t, Name: c.name, Type: c.kind, Hooknum: c.hook, Priority: &c.priority, Policy: &accept, Device: meshName(m),
	})
	comment, err := c.rules[0].comment()
	if err != nil {
		return err
	}
	conn.AddRule(&nftables.Rule{Table: t, Chain: made, Exprs: c.rules[0].exprs, UserData: udata(comment)})
	if err := k.table.flush(); err != nil {
		return errors.Join(errors.New("published ports do not lead to other nodes"), err)
	}
	return nil
}

func (b backTable) remove(k *kernel) error {
	t, _ := b.kernel(k)
	return k.table.drop(t)
}

// meshSets are what the rules of the host's table know of the nodes.
func meshSets() []*nftables.Set {
	return []*nftables.Set{
		{Name: setNodes + "4", KeyType: nftables.TypeIPAddr},
		{Name: setNodes + "6", KeyType: nftables.TypeIP6Addr},
		{Name: setStations, KeyType: nftables.TypeEtherAddr},
		{Name: mapIngress, IsMap: true, KeyType: nftables.TypeEtherAddr, DataType: nftables.TypeMark},
	}
}

const (
	setNodes    = "nodes"    // addresses that VXLAN comes from
	setStations = "stations" // hardware addresses in the mesh
	mapIngress  = "ingress"  // hardware address : mark
)

// sameNodes says whether two meshes have the same elements. A mesh without nodes is
// never sure to.
func sameNodes(a, b netplan.Mesh) bool {
	return len(a.Peers) > 0 && a.Underlay == b.Underlay && slices.Equal(a.Peers, b.Peers)
}

func meshElements(m netplan.Mesh) map[string][]nftables.SetElement {
	out := map[string][]nftables.SetElement{}
	nodes := setNodes + "4"
	if m.Underlay.Is6() {
		nodes = setNodes + "6"
	}
	if m.Underlay.IsValid() {
		out[nodes] = append(out[nodes], nftables.SetElement{Key: m.Underlay.AsSlice()})
	}
	for _, p := range m.Peers {
		if p.Underlay != m.Underlay {
			out[nodes] = append(out[nodes], nftables.SetElement{Key: p.Underlay.AsSlice()})
		}
		if p.Address.IsValid() {
			out[setStations] = append(out[setStations], nftables.SetElement{Key: mac(p.Address)})
			out[mapIngress] = append(out[mapIngress], nftables.SetElement{Key: mac(p.Address), Val: binaryutil.NativeEndian.PutUint32(markOf(p.Address))})
		}
	}
	return out
}
