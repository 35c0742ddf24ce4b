package network

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A batch gathers what one transaction does to maps and balancers.
type batch struct {
	del, add map[string][]nftables.SetElement
	base     map[balancer]int // uses before, nil when the table is made anew
	delta    map[balancer]int
}

func newBatch(base map[balancer]int) *batch {
	return &batch{
		del: make(map[string][]nftables.SetElement), add: make(map[string][]nftables.SetElement),
		base: base, delta: make(map[balancer]int),
	}
}

// uses is the table's count of uses once the batch has been carried out.
func (b *batch) uses(present map[balancer]int) map[balancer]int {
	if b.base == nil {
		return b.delta
	}
	for l, n := range b.delta {
		if present[l] += n; present[l] == 0 {
			delete(present, l)
		}
	}
	return present
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
// what is not there.
func (t *table) send(b *batch) error {
	var errs []error
	for _, s := range t.sets[:t.portSets] {
		for part := range slices.Chunk(b.del[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetDeleteElements(s, part))
		}
	}
	for l, n := range b.delta {
		if b.base[l] == 0 && n > 0 {
			errs = append(errs, t.addChain(l.chain()))
		}
	}
	for _, s := range t.sets[:t.portSets] {
		for part := range slices.Chunk(b.add[s.Name], elementsMax) {
			errs = append(errs, t.conn.SetAddElements(s, part))
		}
	}
	for l, n := range b.delta {
		if b.base[l] > 0 && b.base[l]+n == 0 {
			t.conn.DelChain(&nftables.Chain{Table: t.kernel, Name: l.name()})
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.known = false
		t.close()
		return fmt.Errorf("cannot encode the changes of the nftables table %s: %w", t.config.Table, err)
	}
	return nil
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
