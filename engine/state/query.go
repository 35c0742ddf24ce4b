package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Slot returns the tasks of one slot, the oldest first. The list must not be
// changed.
func (d *Draft) Slot(service ServiceID, k SlotKey) []*Task {
	if list, ok := d.slots[service][k]; ok {
		return list
	}
	return d.base.slots[service].get(k)
}

// Slots yields the slots of a service that have tasks, by number and node.
func (d *Draft) Slots(service ServiceID) iter.Seq2[SlotKey, []*Task] {
	return d.SlotsFrom(service, SlotKey{})
}

// SlotsFrom yields the slots that [Draft.Slots] does from one on. The slot just
// yielded may be written meanwhile.
func (d *Draft) SlotsFrom(service ServiceID, from SlotKey) iter.Seq2[SlotKey, []*Task] {
	over := d.slots[service]
	base := d.base.slots[service]
	if len(over) == 0 {
		return base.all(from)
	}
	return func(yield func(SlotKey, []*Task) bool) {
		keys := slices.SortedFunc(maps.Keys(over), compareSlot)
		keys = slices.DeleteFunc(keys, func(k SlotKey) bool { return compareSlot(k, from) < 0 })
		for k, list := range base.all(from) {
			for len(keys) > 0 && compareSlot(keys[0], k) < 0 {
				if l := over[keys[0]]; len(l) > 0 && !yield(keys[0], l) {
					return
				}
				keys = keys[1:]
			}
			if len(keys) > 0 && keys[0] == k {
				list, keys = over[k], keys[1:]
			}
			if len(list) > 0 && !yield(k, list) {
				return
			}
		}
		for _, k := range keys {
			if l := over[k]; len(l) > 0 && !yield(k, l) {
				return
			}
		}
	}
}

// TasksOf yields the tasks of a service, in the order of their slots.
func (d *Draft) TasksOf(service ServiceID) iter.Seq[*Task] {
	return func(yield func(*Task) bool) {
		for _, list := range d.Slots(service) {
			for _, t := range list {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// TaskCount returns how many tasks a service has, ended ones too.
func (d *Draft) TaskCount(service ServiceID) int {
	n := d.taskCount[service]
	if x := d.base.slots[service]; x != nil {
		n += x.tasks
	}
	return n
}

// TasksOn yields the tasks of a node, ended ones too, by ID.
func (d *Draft) TasksOn(node NodeID) iter.Seq[*Task] {
	return func(yield func(*Task) bool) {
		put := slices.Clone(d.onNode[node])
		slices.Sort(put)
		emit := func(id TaskID) bool {
			t := d.Task(id)
			return t == nil || yield(t)
		}
		for _, t := range d.base.onNode[node] {
			for len(put) > 0 && put[0] < t.ID {
				if !emit(put[0]) {
					return
				}
				put = put[1:]
			}
			if !emit(t.ID) {
				return
			}
		}
		for _, id := range put {
			if !emit(id) {
				return
			}
		}
	}
}

// Tasks yields every task, by service and slot.
func (d *Draft) Tasks() iter.Seq[*Task] {
	return func(yield func(*Task) bool) {
		for _, service := range d.ServicesWithTasks() {
			for t := range d.TasksOf(service) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// ServicesWithTasks returns the services that have tasks, those that have been
// removed too, by ID.
func (d *Draft) ServicesWithTasks() []ServiceID {
	all := slices.Clone(d.base.withTasks.ids)
	for _, id := range keysSorted(d.slots) {
		if _, ok := slices.BinarySearch(d.base.withTasks.ids, id); !ok {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(id ServiceID) bool { return d.TaskCount(id) == 0 })
}

// ServicesWithTemplates returns the services that have templates, those that have
// been removed too, by ID.
func (d *Draft) ServicesWithTemplates() []ServiceID {
	all := keysSorted(d.base.versions)
	for _, id := range keysSorted(d.versionsPut) {
		if _, ok := d.base.versions[id]; !ok {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(id ServiceID) bool { return len(d.Templates(id)) == 0 })
}

// TasksByPrefix returns tasks whose ID begins with prefix, at most limit. It
// looks at every task: it is for people who type.
func (d *Draft) TasksByPrefix(prefix string, limit int) []*Task {
	var found []*Task
	for t := range d.Tasks() {
		if len(t.ID) >= len(prefix) && string(t.ID[:len(prefix)]) == prefix {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *Task) int { return cmp.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))]
}

// Changes returns the drafted changes as bytes: one for each object touched, in
// the order of first touch. An object that was made and removed within the draft
// yields none.
func (d *Draft) Changes() []Change {
	changes := make([]Change, 0, len(d.touched))
	var arena []byte // what is encoded is copied when it is applied
	for i, k := range d.touched {
		if cap(arena)-len(arena) < 4096 {
			arena = make([]byte, 0, min(64<<10, 4096+256*(len(d.touched)-i)))
		}
		start := len(arena)
		var there, before bool
		arena, there, before = d.encode(arena, k)
		switch {
		case there:
			changes = append(changes, Change{k, arena[start:len(arena):len(arena)]})
		case before:
			changes = append(changes, Change{k, nil})
		}
	}
	return changes
}

// encode appends the object under k, and says whether there is one now and
// whether there was one before.
func (d *Draft) encode(b []byte, k Key) (_ []byte, there, before bool) {
	switch k.Kind {
	case KindCluster:
		return d.cluster.append(b), true, d.base.cluster != nil
	case KindNode:
		n := d.nodes[NodeID(k.ID)]
		if there = n != nil; there {
			b = n.append(b)
		}
		_, before = d.base.nodes[NodeID(k.ID)]
	case KindService:
		s := d.services[ServiceID(k.ID)]
		if there = s != nil; there {
			b = s.append(b)
		}
		_, before = d.base.services[ServiceID(k.ID)]
	case KindTemplate:
		t := d.templates[k.ID]
		if there = t != nil; there {
			b = t.append(b)
		}
		_, before = d.base.templates[k.ID]
	case KindTask:
		t := d.tasks[TaskID(k.ID)]
		if there = t != nil; there {
			b = t.append(b)
		}
		_, before = d.base.tasks[TaskID(k.ID)]
	case KindNetwork:
		n := d.networks[NetworkID(k.ID)]
		if there = n != nil; there {
			b = n.append(b)
		}
		_, before = d.base.networks[NetworkID(k.ID)]
	default:
	}
	return b, there, before
}

// overlay yields the objects of ids and of over, by ID.
func overlay[ID cmp.Ordered, T any](ids []ID, over map[ID]*T, get func(ID) *T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, id := range merged(ids, over) {
			if o := get(id); o != nil && !yield(o) {
				return
			}
		}
	}
}

// merged returns ids with the keys of over that are not among them, in order.
func merged[ID cmp.Ordered, T any](ids []ID, over map[ID]*T) []ID {
	if len(over) == 0 {
		return ids
	}
	all := slices.Clone(ids)
	for _, id := range keysSorted(over) {
		if _, ok := slices.BinarySearch(ids, id); !ok {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// lookup returns the objects whose ID begins with prefix, at most limit.
func lookup[ID ~string, T any](ids []ID, over map[ID]*T, prefix string, limit int, get func(ID) *T) []*T {
	var found []*T
	for _, id := range prefixed(merged(ids, over), prefix, limit+len(over)) {
		if o := get(id); o != nil && len(found) < limit {
			found = append(found, o)
		}
	}
	return found
}

func keysSorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// put sets a key of a map that is made when it is first needed: most drafts
// touch few kinds.
func put[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	if m == nil {
		m = make(map[K]V)
	}
	m[k] = v
	return m
}

func presence(there bool) int {
	if there {
		return 1
	}
	return 0
}
