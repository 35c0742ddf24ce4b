package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// content is what a table holds.
type content struct {
	there   bool
	lines   []string // of everything but the elements, sorted
	ports   map[port][]netip.AddrPort
	nodes   string   // of the mesh, as [nodeLines] has them
	damaged []string // elements that make no sense
}

// read looks at the table, again if any table has changed meanwhile.
func (t *table) read() (content, error) {
	for try := 1; ; try++ {
		c, steady, err := t.readOnce()
		if err != nil {
			t.known = false
			t.close()
			return c, fmt.Errorf("cannot read the nftables table %s: %w", t.config.Table, err)
		}
		if steady || try == dumpTriesMax {
			slices.Sort(c.lines)
			return c, nil
		}
	}
}

func (t *table) readOnce() (c content, steady bool, err error) {
	c.ports = make(map[port][]netip.AddrPort)
	if err := t.open(); err != nil {
		return c, false, err
	}
	before, err := generation(t.raw)
	if err != nil {
		return c, false, err
	}
	if err := t.readInto(&c); err != nil {
		return c, false, err
	}
	after, err := generation(t.raw)
	if err != nil {
		return c, false, err
	}
	return c, before == after, nil
}

func (t *table) readInto(c *content) (err error) {
	if c.lines, c.there, err = tableLines(t.conn, t.raw, t.kernel); err != nil || !c.there {
		return err
	}
	return t.readPorts(c)
}

// tableLines tell what a table has, but for the elements of its sets.
func tableLines(conn *nftables.Conn, raw *mdlayher.Conn, table *nftables.Table) (lines []string, there bool, err error) {
	tables, err := conn.ListTablesOfFamily(table.Family)
	if err != nil {
		return nil, false, err
	}
	i := slices.IndexFunc(tables, func(x *nftables.Table) bool { return x.Name == table.Name })
	if i < 0 {
		return nil, false, nil
	}
	if tables[i].Flags != 0 {
		lines = append(lines, fmt.Sprintf("table with flags %d", tables[i].Flags))
	}
	sets, err := conn.GetSets(table)
	if err != nil {
		return nil, true, err
	}
	for _, s := range sets {
		lines = append(lines, setLine(s))
	}
	all, err := conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return nil, true, err
	}
	rules, err := comments(raw, table)
	if err != nil {
		return nil, true, err
	}
	for _, x := range all {
		if x.Table.Name != table.Name {
			continue
		}
		lines = append(lines, chainLine(x))
		for n, comment := range rules[x.Name] {
			lines = append(lines, ruleLine(x.Name, n, comment))
		}
	}
	return lines, true, nil
}

func (t *table) readPorts(c *content) error {
	promised := map[port]int{}
	found := map[port]map[uint32]netip.AddrPort{}
	if err := t.readNodes(c); err != nil {
		return err
	}
	for _, s := range t.sets[:t.portSets] {
		elements, err := t.conn.GetSetElements(s)
		if err != nil && strings.Contains(err.Error(), unix.ENOENT.Error()) {
			continue // the set is missing: the lines say so
		}
		if err != nil {
			return err
		}
		at := s.KeyType.Bytes-backendKeyBytes(s) == 12
		for _, e := range elements {
			p, index, ok := parseKey(e.Key, at)
			switch {
			case !ok:
				c.damaged = append(c.damaged, fmt.Sprintf("the map %s has an element %x", s.Name, e.Key))
			case s.Name == setRefused || s.Name == setRefusedAt:
				promised[p] = 0
			case s.Name == mapPublished || s.Name == mapPublishedAt:
				n, sticky := backendsOf(p, e)
				p.sticky = sticky
				if n == 0 {
					c.damaged = append(c.damaged, fmt.Sprintf("published port %s: its entry leads nowhere", p))
				}
				promised[p] = n
			default:
				if found[p] == nil {
					found[p] = map[uint32]netip.AddrPort{}
				}
				found[p][index] = parseBackend(e.Val)
			}
		}
	}
	c.match(promised, found)
	return nil
}

func (t *table) readNodes(c *content) error {
	nodes := map[string][]nftables.SetElement{}
	for _, s := range t.sets[t.portSets:] {
		elements, err := t.conn.GetSetElements(s)
		if err != nil && strings.Contains(err.Error(), unix.ENOENT.Error()) {
			continue // the set is missing: the lines say so
		}
		if err != nil {
			return err
		}
		nodes[s.Name] = elements
	}
	c.nodes = nodeLines(nodes)
	return nil
}

// balancers are those that are there, whole or not.
func (c content) balancers() map[balancer]bool {
	out := map[balancer]bool{}
	for _, line := range c.lines {
		name, _ := strings.CutPrefix(line, "chain ")
		if b, is := balancerNamed(name); is {
			out[b] = true
		}
	}
	return out
}

// match puts the backends found to the ports they belong to.
func (c *content) match(promised map[port]int, found map[port]map[uint32]netip.AddrPort) {
	entries := map[port]bool{}
	for p, n := range promised {
		backends := make([]netip.AddrPort, 0, n)
		has := found[p.plain()]
		for i := range n {
			if b, ok := has[uint32(i)]; ok && b.IsValid() {
				backends = append(backends, b)
			}
		}
		if len(backends) != n || len(has) != n {
			c.damaged = append(c.damaged, fmt.Sprintf("published port %s: %d backends of %d are in the map", p, len(has), n))
		}
		c.ports[p] = backends
		entries[p.plain()] = true
	}
	for p := range found {
		if !entries[p] {
			c.damaged = append(c.damaged, fmt.Sprintf("published port %s: has backends and no entry", p))
		}
	}
	slices.Sort(c.damaged)
}

// broken tells how the table differs from one that holds these very ports and
// is whole; then it has to be made anew.
func (t *table) broken(c content, f frame) ([]string, error) {
	if !c.there {
		return []string{fmt.Sprintf("the nftables table %s is missing", t.config.Table)}, nil
	}
	all := f.chains()
	balancers := c.balancers() // idle ones, too, have to be whole
	for p, backends := range c.ports {
		if len(backends) > 0 {
			balancers[balancerOf(p, len(backends))] = true
		}
	}
	for l := range balancers {
		all = append(all, l.chain())
	}
	expected := map[string]bool{}
	for _, s := range t.sets {
		expected[setLine(s)] = true
	}
	for _, x := range all {
		expected[x.line()] = true
		for n, r := range x.rules {
			comment, err := r.comment()
			if err != nil {
				return nil, err
			}
			expected[ruleLine(x.name, n, comment)] = true
		}
	}
	var out []string
	for _, line := range c.lines {
		if !expected[line] {
			out = append(out, fmt.Sprintf("the nftables table %s has a foreign %s", t.config.Table, line))
		}
		delete(expected, line)
	}
	for line := range expected {
		out = append(out, fmt.Sprintf("the nftables table %s lacks the %s", t.config.Table, line))
	}
	slices.Sort(out)
	return append(out, c.damaged...), nil
}

// difference tells what converge would change.
func (t *table) difference(w wanted, f frame) ([]string, error) {
	c, err := t.read()
	if err != nil {
		return nil, err
	}
	if !w.gateway.IsValid() {
		if c.there {
			return []string{fmt.Sprintf("the nftables table %s is there and should not be", t.config.Table)}, nil
		}
		return nil, nil
	}
	lines, err := t.broken(c, f)
	if err != nil || !c.there {
		return lines, err
	}
	if nodes := nodeLines(meshElements(w.mesh)); nodes != c.nodes {
		lines = append(lines, fmt.Sprintf("the nodes known to the nftables table %s are %q and should be %q", t.config.Table, c.nodes, nodes))
	}
	for _, p := range sortedPorts(c.ports) {
		if _, is := w.ports[p]; !is {
			lines = append(lines, fmt.Sprintf("published port %s: answers and should not", p))
		}
	}
	for _, p := range sortedPorts(w.ports) {
		has, published := c.ports[p]
		if !published {
			lines = append(lines, fmt.Sprintf("published port %s: does not answer", p))
			continue
		}
		if got := slices.SortedFunc(slices.Values(has), netip.AddrPort.Compare); !slices.Equal(got, w.ports[p]) {
			lines = append(lines, fmt.Sprintf("published port %s: leads to %v and should lead to %v", p, got, w.ports[p]))
		}
	}
	return lines, nil
}

func setLine(s *nftables.Set) string {
	kind := "set"
	if s.IsMap {
		kind = "map"
	}
	return fmt.Sprintf("%s %s", kind, s.Name)
}

func ruleLine(chain string, n int, comment string) string {
	return fmt.Sprintf("chain %s rule %d: %s", chain, n, comment)
}

func chainLine(c *nftables.Chain) string {
	if c.Hooknum == nil || c.Priority == nil {
		return fmt.Sprintf("chain %s", c.Name)
	}
	policy := "accept"
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		policy = "drop"
	}
	return fmt.Sprintf("chain %s of type %s hook %d priority %d policy %s", c.Name, c.Type, *c.Hooknum, *c.Priority, policy)
}

func (c chain) line() string {
	return chainLine(&nftables.Chain{Name: c.name, Type: c.kind, Hooknum: c.hook, Priority: &c.priority})
}

// Keys are put together from fields that are each padded to four bytes.

func portBytes(p port) []byte {
	var b []byte
	if p.at().IsValid() {
		b = p.at().AsSlice()
	}
	return append(b, p.protocol, 0, 0, 0, byte(p.number>>8), byte(p.number), 0, 0)
}

func element(p port, index int, to netip.AddrPort) nftables.SetElement {
	return nftables.SetElement{
		Key: append(portBytes(p), binaryutil.NativeEndian.PutUint32(uint32(index))...),
		Val: append(to.Addr().AsSlice(), byte(to.Port()>>8), byte(to.Port()), 0, 0),
	}
}

// backendKeyBytes is what the index takes of a set's keys.
func backendKeyBytes(s *nftables.Set) uint32 {
	if s.Name == mapBackends || s.Name == mapBackendsAt {
		return 4
	}
	return 0
}

func parseKey(b []byte, at bool) (p port, index uint32, ok bool) {
	if at {
		if len(b) < 4 {
			return p, 0, false
		}
		p.host = [4]byte(b)
		b = b[4:]
	}
	if len(b) != 8 && len(b) != 12 {
		return p, 0, false
	}
	p.protocol, p.number = b[0], binary.BigEndian.Uint16(b[4:])
	if len(b) == 12 {
		index = binary.NativeEndian.Uint32(b[8:])
	}
	return p, index, true
}

func parseBackend(b []byte) netip.AddrPort {
	if len(b) != 8 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
}

// backendsOf reads off the name of the chain that an entry leads to how many
// backends the port has; 0 if it is not the chain it should be.
func backendsOf(p port, e nftables.SetElement) (n int, sticky bool) {
	b, is := balancerNamed(verdictChain(e))
	p.sticky = b.sticky
	if is && balancerOf(p, b.backends) == b {
		return b.backends, b.sticky
	}
	return 0, false
}

// verdictChain is the name of the chain that an element leads to.
func verdictChain(e nftables.SetElement) string {
	d, err := mdlayher.NewAttributeDecoder(e.Val)
	if err != nil {
		return ""
	}
	for d.Next() {
		if d.Type() == unix.NFTA_VERDICT_CHAIN {
			return d.String()
		}
	}
	return ""
}
