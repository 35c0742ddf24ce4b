package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
)

const (
	elementsMax    = 400 // of one message: an attribute has no more than 64 KB
	balancerGroups = 31  // prime, so that 80 and 8080, 443 and 8443 are in different ones
)

// A balancer is a chain that passes connections to one of so many backends. Its
// counter is shared by the ports of a group: one chain a port would take ten
// times as long to build, and one for all would let two ports take turns at each
// other's backends.
type balancer struct {
	backends int
	group    uint16
	at       bool
	sticky   bool // a client's connections go to one
}

func balancerOf(p port, backends int) balancer {
	return balancer{backends: backends, group: p.number % balancerGroups, at: p.at().IsValid(), sticky: p.sticky}
}

func (b balancer) name() string {
	return fmt.Sprintf(balancerFormat(b.at, b.sticky), b.backends) + fmt.Sprint(b.group)
}

// balancerNamed is the balancer of that name, if it is one's.
func balancerNamed(name string) (balancer, bool) {
	b := balancer{at: strings.Contains(name, "_at_"), sticky: strings.Contains(name, "_sticky_")}
	_, err := fmt.Sscanf(name, balancerFormat(b.at, b.sticky)+"%d", &b.backends, &b.group)
	return b, err == nil && b.backends > 0 && b.group < balancerGroups && b.name() == name
}

func balancerFormat(at, sticky bool) string {
	out := "lb"
	if at {
		out += "_at"
	}
	if sticky {
		out += "_sticky"
	}
	return out + "_%d_"
}

func (b balancer) chain() chain {
	return chain{name: b.name(), rules: balanceRules(b.backends, b.at, b.sticky)}
}

// A change is what became of a published port.
type change struct {
	port          port
	before, after []netip.AddrPort // nil: not published
}

// A table is our nftables table and what is known to be in it.
type table struct {
	config Config
	host   *host
	conn   *nftables.Conn // nil until it is needed, and after a failure
	raw    *mdlayher.Conn // as conn, for what the library has not
	kernel *nftables.Table
	sets   []*nftables.Set // those of ports, then those of the mesh

	portSets int

	known  bool
	frame  frame
	nodes  string                    // what is in the sets of the mesh
	mesh   netplan.Mesh              // whose nodes they are, if it is known
	ports  map[port][]netip.AddrPort // backends in the order of their indices
	wanted map[port][]netip.AddrPort // as last asked for, to see quickly what is new
	uses   map[balancer]int          // by published ports, of those that are there
}

func newTable(c Config, h *host) *table {
	t := &table{config: c, host: h, kernel: &nftables.Table{Family: nftables.TableFamilyINet, Name: c.Table}}
	proto, number, ip, index := nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIPAddr, nftables.TypeMark
	backend := nftables.MustConcatSetType(ip, number)
	t.sets = []*nftables.Set{
		{Name: mapPublished, IsMap: true, KeyType: nftables.MustConcatSetType(proto, number), DataType: nftables.TypeVerdict},
		{Name: mapPublishedAt, IsMap: true, KeyType: nftables.MustConcatSetType(ip, proto, number), DataType: nftables.TypeVerdict},
		{Name: mapBackends, IsMap: true, KeyType: nftables.MustConcatSetType(proto, number, index), DataType: backend},
		{Name: mapBackendsAt, IsMap: true, KeyType: nftables.MustConcatSetType(ip, proto, number, index), DataType: backend},
		{Name: setRefused, KeyType: nftables.MustConcatSetType(proto, number)},
		{Name: setRefusedAt, KeyType: nftables.MustConcatSetType(ip, proto, number)},
	}
	for _, s := range t.sets {
		s.Concatenation = true
	}
	t.portSets = len(t.sets)
	t.sets = append(t.sets, meshSets()...)
	for i, s := range t.sets {
		s.Table, s.ID = t.kernel, uint32(i+1)
	}
	return t
}

func (t *table) set(name string) *nftables.Set {
	return t.sets[slices.IndexFunc(t.sets, func(s *nftables.Set) bool { return s.Name == name })]
}

func (t *table) close() {
	if t.conn != nil {
		_ = t.conn.CloseLasting()
		_ = t.raw.Close()
		t.conn, t.raw = nil, nil
	}
}

func (t *table) open() error {
	if t.conn != nil {
		return nil
	}
	return inside(t.host.ns, func() error {
		raw, err := mdlayher.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("cannot open a socket to nftables: %w", err)
		}
		conn, err := openTables()
		if err != nil {
			return errors.Join(err, raw.Close())
		}
		t.conn, t.raw = conn, raw
		return nil
	})
}

// flush carries out what has been gathered, all or nothing. After a failure
// nothing is known, and the socket, which may still hold answers, is not used again.
func (t *table) flush() error {
	if err := t.conn.Flush(); err != nil {
		t.known = false
		t.close()
		return fmt.Errorf("cannot change the nftables table %s: %w", t.config.Table, err)
	}
	return nil
}

// remove takes the table away, if it is there.
func (t *table) remove() error {
	t.known = false
	return t.drop(t.kernel)
}

// drop takes one of our tables away, if it is there. The kernel may not know its family.
func (t *table) drop(ours *nftables.Table) error {
	if err := t.open(); err != nil {
		return err
	}
	all, err := t.conn.ListTablesOfFamily(ours.Family)
	if err != nil || !slices.ContainsFunc(all, func(x *nftables.Table) bool { return x.Name == ours.Name }) {
		return err
	}
	t.conn.DelTable(ours)
	return t.flush()
}

// converge makes the table as wanted, in one transaction, and tells what that
// meant for each port. Something may have changed behind our back; then it is
// looked at anew, once.
func (t *table) converge(w wanted, f frame) ([]change, error) {
	if !w.gateway.IsValid() {
		return nil, t.remove()
	}
	sure := t.known && t.frame == f
	changes, err := t.attempt(w, f)
	if err != nil && sure {
		return t.attempt(w, f)
	}
	return changes, err
}

func (t *table) attempt(w wanted, f frame) ([]change, error) {
	if err := t.open(); err != nil {
		return nil, err
	}
	rebuild := false
	if !t.known || t.frame != f {
		c, err := t.read()
		if err != nil {
			return nil, err
		}
		broken, err := t.broken(c, f)
		if err != nil {
			return nil, err
		}
		rebuild = len(broken) > 0
		t.learn(c, f)
	}
	changes := t.changes(w)
	if err := t.commit(changes, w.mesh, rebuild); err != nil {
		return nil, err
	}
	t.known, t.wanted = true, w.ports
	return changes, nil
}

// learn takes what has been read for what is known.
func (t *table) learn(c content, f frame) {
	t.frame, t.nodes, t.mesh, t.ports, t.wanted, t.uses = f, c.nodes, netplan.Mesh{}, c.ports, nil, make(map[balancer]int)
	for l := range c.balancers() {
		t.uses[l] = 0
	}
	for p, backends := range t.ports {
		if len(backends) > 0 {
			t.uses[balancerOf(p, len(backends))]++
		}
	}
}

// changes are what leads from what is there to what is wanted, in order of ports.
func (t *table) changes(w wanted) []change {
	var out []change
	stay := 0
	for p, want := range w.ports {
		before, published := t.ports[p]
		if published {
			stay++
		}
		if last, asked := t.wanted[p]; published && asked && equal(last, want) {
			continue
		}
		if after := arrange(before, want); !published || !slices.Equal(before, after) {
			out = append(out, change{port: p, before: before, after: after})
		}
	}
	if stay < len(t.ports) {
		for p, before := range t.ports {
			if _, is := w.ports[p]; !is {
				out = append(out, change{port: p, before: before})
			}
		}
	}
	slices.SortFunc(out, func(a, b change) int { return a.port.compare(b.port) })
	return out
}

// equal is quick about lists that are the same one.
func equal(a, b []netip.AddrPort) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// commit carries the changes out, if need be into a table made anew.
func (t *table) commit(changes []change, m netplan.Mesh, rebuild bool) error {
	nodes := t.nodes
	if !sameNodes(t.mesh, m) {
		nodes = nodeLines(meshElements(m))
	}
	if len(changes) == 0 && !rebuild && nodes == t.nodes {
		return nil
	}
	b := newBatch(t.uses)
	if rebuild {
		if err := t.build(); err != nil {
			return err
		}
		b = newBatch(nil)
		for _, c := range t.rest(changes) {
			b.change(c)
		}
	}
	for _, c := range changes {
		if rebuild {
			c.before = nil
		}
		b.change(c)
	}
	if err := t.makeBalancers(b, rebuild); err != nil {
		return err
	}
	if rebuild || nodes != t.nodes {
		if err := t.refill(meshElements(m)); err != nil {
			return err
		}
	}
	if err := t.send(b); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	t.nodes, t.mesh = nodes, m
	for _, c := range changes {
		if c.after == nil {
			delete(t.ports, c.port)
		} else {
			t.ports[c.port] = c.after
		}
	}
	t.uses, _ = b.uses()
	return nil
}

// makeBalancers makes those that a batch leads to, in a transaction of their own unless
// the table is made anew with them. A packet under way looks maps up as they are from
// now on, and follows the rules that were: of a balancer made together with what leads
// to it, it would find none, and go to the host instead of a task.
func (t *table) makeBalancers(b *batch, rebuild bool) error {
	fresh := b.fresh()
	for _, l := range fresh {
		if err := t.addChain(l.chain()); err != nil {
			return t.unencoded(err)
		}
	}
	if rebuild || len(fresh) == 0 {
		return nil
	}
	return t.flush()
}

// rest are the ports that changes do not touch, as new.
func (t *table) rest(changes []change) []change {
	touched := make(map[port]bool, len(changes))
	for _, c := range changes {
		touched[c.port] = true
	}
	var out []change
	for p, backends := range t.ports {
		if !touched[p] {
			out = append(out, change{port: p, after: backends})
		}
	}
	return out
}

// build makes the table anew, without any ports.
func (t *table) build() error {
	t.conn.AddTable(t.kernel)
	t.conn.DelTable(t.kernel)
	t.conn.AddTable(t.kernel)
	for _, s := range t.sets {
		if err := t.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("cannot make the map %s: %w", s.Name, err)
		}
	}
	for _, c := range t.frame.chains() {
		if err := t.addChain(c); err != nil {
			return err
		}
	}
	return nil
}

// refill puts the nodes of the mesh into their sets, in place of those before.
func (t *table) refill(nodes map[string][]nftables.SetElement) error {
	for _, s := range t.sets[t.portSets:] {
		t.conn.FlushSet(s)
		for part := range slices.Chunk(nodes[s.Name], elementsMax) {
			if err := t.conn.SetAddElements(s, part); err != nil {
				return fmt.Errorf("cannot fill the set %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// nodeLines are elements as what can be compared.
func nodeLines(nodes map[string][]nftables.SetElement) string {
	var lines []string
	for name, list := range nodes {
		for _, e := range list {
			lines = append(lines, elementLine(name, e.Key, fmt.Sprintf("%x", e.Val)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (t *table) addChain(c chain) error { return addChain(t.conn, t.kernel, c) }

func addChain(conn *nftables.Conn, table *nftables.Table, c chain) error {
	made := &nftables.Chain{Table: table, Name: c.name}
	if c.hook != nil {
		accept := nftables.ChainPolicyAccept
		made.Type, made.Hooknum, made.Priority, made.Policy = c.kind, c.hook, &c.priority, &accept
	}
	conn.AddChain(made)
	for _, r := range c.rules {
		comment, err := r.comment()
		if err != nil {
			return err
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: made, Exprs: r.exprs, UserData: udata(comment)})
	}
	return nil
}
