package control

import (
	"strings"

	"github.com/swarmd/swarmd/engine/state"
)

// References are resolved as Docker does: a full ID, else an exact name, else an
// unambiguous prefix of an ID.

// matchesMax is how many matches of an ambiguous reference are counted.
const matchesMax = 1000

func node(d *state.Draft, ref string) (*state.Node, *Failed) {
	if n := d.Node(state.NodeID(ref)); n != nil {
		return n, nil
	}
	n, failed := only("node", ref, d.NodesByHostname(ref))
	if n == nil && failed == nil && ref != "" {
		n, failed = only("node", ref, d.NodesByPrefix(ref, matchesMax))
	}
	return found("node", ref, n, failed)
}

func service(d *state.Draft, ref string) (*state.Service, *Failed) {
	if s := d.Service(state.ServiceID(ref)); s != nil {
		return s, nil
	}
	if s := d.ServiceByName(ref); s != nil {
		return s, nil
	}
	var s *state.Service
	var failed *Failed
	if ref != "" {
		s, failed = only("service", ref, d.ServicesByPrefix(ref, matchesMax))
	}
	return found("service", ref, s, failed)
}

// task knows a name by the ID that ends it, as in website.1.<ID>.
func task(d *state.Draft, ref string) (*state.Task, *Failed) {
	if t := d.Task(state.TaskID(ref)); t != nil {
		return t, nil
	}
	if t := d.Task(state.TaskID(ref[strings.LastIndexByte(ref, '.')+1:])); t != nil && taskName(d, t) == ref {
		return t, nil
	}
	var t *state.Task
	var failed *Failed
	if ref != "" {
		t, failed = only("task", ref, d.TasksByPrefix(ref, matchesMax))
	}
	return found("task", ref, t, failed)
}

func found[T any](kind, ref string, object *T, failed *Failed) (*T, *Failed) {
	if object == nil && failed == nil {
		failed = plain(NotFound, "%s %s not found", kind, ref)
	}
	return object, failed
}

// only returns the one object of a list, nil if it is empty.
func only[T any](kind, ref string, objects []*T) (*T, *Failed) {
	switch n := len(objects); n {
	case 0:
		return nil, nil
	case 1:
		return objects[0], nil
	default:
		return nil, plain(Invalid, "%s %s is ambiguous (%d matches found)", kind, ref, n)
	}
}
