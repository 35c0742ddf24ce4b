package netplan

import "slices"

// A Change is what leads from one plan to another. Its lists are in the order of
// the plans'.
type Change struct {
	// Lost and Gained are endpoints. One that has moved to another address is
	// lost with the old and gained with the new.
	Lost, Gained []Endpoint
	// Closed are ports that are published no more.
	Closed []Published
	// Opened are ports that are newly published, or lead elsewhere now; each has
	// all its backends.
	Opened []Published
}

// Empty reports whether nothing is to be done.
func (c Change) Empty() bool {
	return len(c.Lost)+len(c.Gained)+len(c.Closed)+len(c.Opened) == 0
}

// Diff returns what must be done to a network that is as planned in from, for it
// to be as planned in to. Both must be plans that [Make] returned, or zero, with
// the same gateway.
func Diff(from, to Plan) Change {
	var c Change
	merge(from.Endpoints, to.Endpoints, compareEndpoints,
		func(e Endpoint) { c.Lost = append(c.Lost, e) },
		func(e Endpoint) { c.Gained = append(c.Gained, e) },
		func(a, b Endpoint) {
			if !a.equal(b) {
				c.Lost, c.Gained = append(c.Lost, a), append(c.Gained, b)
			}
		})
	merge(from.Published, to.Published, comparePublished,
		func(p Published) { c.Closed = append(c.Closed, p) },
		func(p Published) { c.Opened = append(c.Opened, p) },
		func(a, b Published) {
			if !slices.Equal(a.Backends, b.Backends) {
				c.Opened = append(c.Opened, b)
			}
		})
	return c
}

// merge walks two sorted lists and tells what is only in the first, only in the
// second, and in both.
func merge[T any](a, b []T, compare func(T, T) int, first, second func(T), both func(T, T)) {
	for len(a) > 0 && len(b) > 0 {
		switch order := compare(a[0], b[0]); {
		case order < 0:
			first(a[0])
			a = a[1:]
		case order > 0:
			second(b[0])
			b = b[1:]
		default:
			both(a[0], b[0])
			a, b = a[1:], b[1:]
		}
	}
	for _, t := range a {
		first(t)
	}
	for _, t := range b {
		second(t)
	}
}

// equal reports whether two endpoints are the same place.
func (e Endpoint) equal(f Endpoint) bool {
	return e.Task == f.Task && e.Address == f.Address && e.Mesh == f.Mesh &&
		slices.EqualFunc(e.Attachments, f.Attachments, func(a, b Attachment) bool {
			return a.Network == b.Network && slices.Equal(a.Addresses, b.Addresses)
		}) && slices.Equal(e.Resolver.Upstream, f.Resolver.Upstream)
}
