package network

import (
	"maps"
	"testing"
)

// Balancers that no port uses any more stay for the next one that does, until they
// are too many, or no port uses any.
func TestIdleBalancers(t *testing.T) {
	many := map[balancer]int{{backends: 1}: 1}
	for n := range idleMax {
		many[balancer{backends: 2 + n}] = 0
	}
	ten, nine := balancer{backends: 10}, balancer{backends: 9}
	for _, c := range []struct {
		what        string
		base, delta map[balancer]int
		after       map[balancer]int
		gone        int
	}{
		{"a table made anew", nil, map[balancer]int{ten: 3}, map[balancer]int{ten: 3}, 0},
		{"the only port has fewer backends", map[balancer]int{ten: 1}, map[balancer]int{ten: -1, nine: 1}, map[balancer]int{ten: 0, nine: 1}, 0},
		{"and as many again", map[balancer]int{ten: 0, nine: 1}, map[balancer]int{ten: 1, nine: -1}, map[balancer]int{ten: 1, nine: 0}, 0},
		{"two ports, one more and one fewer", map[balancer]int{ten: 2}, map[balancer]int{ten: -1, nine: 0}, map[balancer]int{ten: 1}, 0},
		{"the last port goes", map[balancer]int{ten: 1, nine: 0}, map[balancer]int{ten: -1}, nil, 2},
		{"as many are idle as may be", many, nil, many, 0},
		{"one more is", many, map[balancer]int{{backends: 1}: -1, {backends: 1000}: 1}, map[balancer]int{{backends: 1000}: 1}, idleMax + 1},
	} {
		before := maps.Clone(c.base)
		b := &batch{base: c.base, delta: c.delta}
		after, gone := b.uses()
		if !maps.Equal(after, c.after) || len(gone) != c.gone {
			t.Errorf("%s: %v, and %v gone; should be %v and %d", c.what, after, gone, c.after, c.gone)
		}
		if !maps.Equal(c.base, before) {
			t.Errorf("%s: what was known has changed: %v, before %v", c.what, c.base, before)
		}
	}
}
