package netplan

import (
	"slices"

	"github.com/swarmd/swarmd/engine/invariant"
)

// A set is a sorted list of what has been put in. What is put in twice must be taken
// out twice. The list is frozen: a change makes another.
type set[T comparable] struct {
	list    []T
	more    map[T]int // of what was put in more than once: how often beyond that
	pending []put[T]
}

// A put is one of so many times; of fewer than none, it is taken out.
type put[T any] struct {
	what  T
	times int
}

func (s *set[T]) put(what T, times int) { s.pending = append(s.pending, put[T]{what, times}) }

// settle brings the list up to date, and reports whether that makes it another.
// Things are the same if they compare as 0.
func (s *set[T]) settle(compare func(a, b T) int) bool {
	pending := s.pending
	s.pending = nil
	before := func(a, b put[T]) int { return compare(a.what, b.what) }
	if !slices.IsSortedFunc(pending, before) {
		slices.SortFunc(pending, before)
	}
	var edits []edit[T]
	for len(pending) > 0 {
		what, times := pending[0].what, 0
		for ; len(pending) > 0 && pending[0].what == what; pending = pending[1:] {
			times += pending[0].times
		}
		if times == 0 {
			continue
		}
		_, in := slices.BinarySearchFunc(s.list, what, compare)
		has := times
		if in {
			has += 1 + s.more[what]
		}
		if has < 0 {
			invariant.Violated("%v is taken out of a plan more often than it was put in", what)
		}
		s.repeat(what, has-1)
		if in != (has > 0) {
			if edits == nil {
				edits = make([]edit[T], 0, len(pending)+1)
			}
			edits = append(edits, edit[T]{what, has > 0})
		}
	}
	if len(edits) == 0 {
		return false
	}
	s.list = edited(s.list, edits, compare)
	return true
}

func (s *set[T]) repeat(what T, times int) {
	switch {
	case times <= 0:
		delete(s.more, what)
	case s.more == nil:
		s.more = map[T]int{what: times}
	default:
		s.more[what] = times
	}
}

// An edit has something in a sorted list, in the place of what is equal to it, or
// not.
type edit[T any] struct {
	what T
	in   bool
}

// edited is a copy of a sorted list with edits, which are in the same order.
func edited[T any](list []T, edits []edit[T], compare func(a, b T) int) []T {
	more := 0
	for _, e := range edits {
		if e.in {
			more++
		}
	}
	out := make([]T, 0, len(list)+more)
	for _, e := range edits {
		i, found := slices.BinarySearchFunc(list, e.what, compare)
		out = append(out, list[:i]...)
		if found {
			i++
		}
		list = list[i:]
		if e.in {
			out = append(out, e.what)
		}
	}
	out = append(out, list...)
	if len(out) == 0 {
		return nil // as of a plan that never had anything there
	}
	return out
}

// A part is one element of a plan's list that says where something leads.
type part[T comparable] struct {
	said    int // by how many it is called for
	to      set[T]
	touched bool // it may have to be made anew
	differs bool // it has to be
	listed  bool
}

// parts are a list of a plan whose elements, of type V, are made of parts each.
type parts[K, T comparable, V any] struct {
	all     map[K]*part[T]
	touched []K
	list    []V // frozen
}

// at is a part that is about to be changed.
func (p *parts[K, T, V]) at(key K) *part[T] {
	x := p.all[key]
	if x == nil {
		x = &part[T]{}
		if p.all == nil {
			p.all = map[K]*part[T]{}
		}
		p.all[key] = x
	}
	if !x.touched {
		x.touched = true
		p.touched = append(p.touched, key)
	}
	return x
}

// An order is how a list is sorted, and its parts are made.
type order[K, T, V any] struct {
	keys   func(a, b K) int
	places func(a, b T) int
	values func(a, b V) int // as the keys
	made   func(key K, to []T) V
}

// settle brings the list up to date: it is another, if anything in it is.
func (p *parts[K, T, V]) settle(o order[K, T, V]) {
	if len(p.touched) == 0 {
		return
	}
	touched := p.touched
	p.touched = nil
	slices.SortFunc(touched, o.keys)
	edits := make([]edit[V], 0, len(touched))
	for _, key := range touched {
		x := p.all[key]
		differs := x.to.settle(o.places) || x.differs
		is := x.said > 0
		if x.said < 0 || !is && len(x.to.list) > 0 {
			invariant.Violated("%v is called for by %d, and leads to %d", key, x.said, len(x.to.list))
		}
		if is != x.listed || is && differs {
			edits = append(edits, edit[V]{o.made(key, x.to.list), is})
		}
		x.touched, x.differs, x.listed = false, false, is
		if !is {
			delete(p.all, key)
		}
	}
	if len(edits) > 0 {
		p.list = edited(p.list, edits, o.values)
	}
}
