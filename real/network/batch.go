package network

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A batch gathers what one transaction does to maps and balancers.
type batch struct {
	del, add map[string][]nftables.SetElement
	base     map[balancer]int // uses before, nil when the table is made anew; it is not changed
	delta    map[balancer]int
}

func newBatch(base map[balancer]int) *batch {
	return &batch{
		del: make(map[string][]nftables.SetElement), add: make(map[string][]nftables.SetElement),
		base: base, delta: make(map[balancer]int),
	}
}

// idleMax is how many balancers stay that no port uses. When one is made, the kernel
// looks at every backend that there is; a rolling update needs the same two again and
// again.
const idleMax = 2 * balancerGroups

// uses is the table's count of uses once the batch has been carried out, and the
// balancers that go with it.
func (b *batch) uses() (after map[balancer]int, gone []balancer) {
	after = make(map[balancer]int, len(b.base)+len(b.delta))
	maps.Copy(after, b.base)
	for l, n := range b.delta {
		if after[l] += n; after[l] == 0 && !b.has(l) {
			delete(after, l)
		}
	}
	for l, n := range after {
		if n == 0 {
			gone = append(gone, l)
		}
	}
	if len(gone) <= idleMax && len(gone) < len(after) {
		return after, nil
	}
	for _, l := range gone {
		delete(after, l)
	}
	return after, gone
}

// fresh are the balancers that the batch leads to and that are not there yet.
func (b *batch) fresh() []balancer {
	uses, _ := b.uses()
	var out []balancer
	for l := range b.delta {
		if uses[l] > 0 && !b.has(l) {
			out = append(out, l)
		}
	}
	return out
}

// has says whether a balancer is there already.
func (b *batch) has(l balancer) bool {
	_, is := b.base[l]
	return is
}

func (b *batch) change(c change) {
	entries, backends, refused := names(c.port)
	before, after := len(c.before), len(c.after)
	if c.before != nil && (c.after == nil || before != after) {
		if before == 0 {
			b.del[refused] = append(b.del[refused], nftables.SetElement{Key: portBytes(c.port)})
		} else {
			l := balancerOf(c.port, before)
			b.delta[l]--
			b.del[entries] = append(b.del[entries], entry(c.port, l))
		}
	}
	if c.after != nil && (c.before == nil || before != after) {
		if after == 0 {
			b.add[refused] = append(b.add[refused], nftables.SetElement{Key: portBytes(c.port)})
		} else {
			l := balancerOf(c.port, after)
			b.delta[l]++
			b.add[entries] = append(b.add[entries], entry(c.port, l))
		}
	}
	for i := range max(before, after) {
		if i < before && i < after && c.before[i] == c.after[i] {
			continue
		}
		if i < before {
			b.del[backends] = append(b.del[backends], element(c.port, i, c.before[i]))
		}
		if i < after {
			b.add[backends] = append(b.add[backends], element(c.port, i, c.after[i]))
		}
	}
}

// send puts a batch into the transaction, in an order in which nothing refers to
// what is not there. Its balancers are: see [table.makeBalancers].
func (t *table) send(b *batch) error {
	var errs []error
	_, gone := b.uses()
	for _, s := range t.sets[:t.portSets] {
		for part := range slices.Chunk(b.del[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetDeleteElements(s, part))
		}
	}
	for _, s := range t.sets[:t.portSets] {
		for part := range slices.Chunk(b.add[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetAddElements(s, part))
		}
	}
	for _, l := range gone {
		t.conn.DelChain(&nftables.Chain{Table: t.kernel, Name: l.name()})
	}
	if err := errors.Join(errs...); err != nil {
		return t.unencoded(err)
	}
	return nil
}

// unencoded gives up what was to be sent.
func (t *table) unencoded(err error) error {
	t.known = false
	t.close()
	return fmt.Errorf("cannot encode the changes of the nftables table %s: %w", t.config.Table, err)
}

func names(p port) (entries, backends, refused string) {
	if p.at().IsValid() {
		return mapPublishedAt, mapBackendsAt, setRefusedAt
	}
	return mapPublished, mapBackends, setRefused
}

func entry(p port, l balancer) nftables.SetElement {
	return nftables.SetElement{Key: portBytes(p), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: l.name()}}
}
