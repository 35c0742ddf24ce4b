package state

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
)

// sorted is a set of identifiers in order.
type sorted[ID cmp.Ordered] struct{ ids []ID }

func (s *sorted[ID]) add(id ID) {
	if n := len(s.ids); n == 0 || s.ids[n-1] < id { // restores come in order
		s.ids = append(s.ids, id)
		return
	}
	if i, ok := slices.BinarySearch(s.ids, id); !ok {
		s.ids = slices.Insert(s.ids, i, id)
	}
}

func (s *sorted[ID]) remove(id ID) {
	if i, ok := slices.BinarySearch(s.ids, id); ok {
		s.ids = slices.Delete(s.ids, i, i+1)
	}
}

// prefix returns the identifiers that begin with p, at most limit.
func prefixed[ID ~string](ids []ID, p string, limit int) []ID {
	i, _ := slices.BinarySearch(ids, ID(p))
	var found []ID
	for ; i < len(ids) && len(found) < limit && strings.HasPrefix(string(ids[i]), p); i++ {
		found = append(found, ids[i])
	}
	return found
}

func (s *Store) indexNode(d Diff[Node]) {
	if b := d.Before; b != nil {
		name := b.Description.Hostname
		ids := slices.DeleteFunc(slices.Clone(s.hostnames[name]), func(id NodeID) bool { return id == b.ID })
		if len(ids) == 0 {
			delete(s.hostnames, name)
		} else {
			s.hostnames[name] = ids
		}
		if d.After == nil {
			s.nodeIDs.remove(b.ID)
		}
	}
	if a := d.After; a != nil {
		s.nodeIDs.add(a.ID)
		ids := append(slices.Clone(s.hostnames[a.Description.Hostname]), a.ID)
		slices.Sort(ids)
		s.hostnames[a.Description.Hostname] = ids
	}
}

func (s *Store) indexService(d Diff[Service]) {
	if b := d.Before; b != nil {
		delete(s.names, b.Spec.Name)
		delete(s.folded, strings.ToLower(b.Spec.Name))
		s.ports.remove(b)
		if d.After == nil {
			s.serviceIDs.remove(b.ID)
		}
	}
	if a := d.After; a != nil {
		s.names[a.Spec.Name] = a.ID
		s.folded[strings.ToLower(a.Spec.Name)] = a.ID
		s.ports.add(a)
		s.serviceIDs.add(a.ID)
	}
}

func (s *Store) indexTemplate(d Diff[Template]) {
	t := cmp.Or(d.After, d.Before)
	if t == nil {
		return
	}
	list := slices.DeleteFunc(slices.Clone(s.versions[t.Service]), func(o *Template) bool { return o.Version == t.Version })
	if d.After != nil {
		list = append(list, d.After)
		slices.SortFunc(list, func(a, b *Template) int { return cmp.Compare(a.Version, b.Version) })
	}
	if len(list) == 0 {
		delete(s.versions, t.Service)
		return
	}
	s.versions[t.Service] = list
}

func (s *Store) indexTask(d Diff[Task]) {
	if b, a := d.Before, d.After; b != nil && a != nil && b.Service == a.Service && b.SlotKey() == a.SlotKey() &&
		b.Created == a.Created && b.Node == a.Node { // as nearly always
		s.slots[a.Service].swap(b, a)
		if a.Node != "" {
			s.onNode[a.Node] = insertTask(s.onNode[a.Node], a)
		}
		return
	}
	if b := d.Before; b != nil {
		x := s.slots[b.Service]
		x.remove(b)
		if x.tasks == 0 {
			delete(s.slots, b.Service)
			s.withTasks.remove(b.Service)
		}
		if b.Node != "" {
			if list := removeTask(s.onNode[b.Node], b.ID); len(list) > 0 {
				s.onNode[b.Node] = list
			} else {
				delete(s.onNode, b.Node)
			}
		}
	}
	if a := d.After; a != nil {
		x := s.slots[a.Service]
		if x == nil {
			x = &slotIndex{service: a.Service}
			s.slots[a.Service] = x
			s.withTasks.add(a.Service)
		}
		x.add(a)
		if a.Node != "" {
			s.onNode[a.Node] = insertTask(s.onNode[a.Node], a)
		}
	}
}

// indexRestored indexes all tasks of a store that has indexed none: each by
// itself would move, in a large service, half of the others.
func (s *Store) indexRestored(tasks []*Task) {
	slices.SortFunc(tasks, func(a, b *Task) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), compareSlot(a.SlotKey(), b.SlotKey()), compareAge(a, b))
	})
	for _, t := range tasks {
		x := s.slots[t.Service]
		if x == nil {
			x = &slotIndex{service: t.Service}
			s.slots[t.Service] = x
			s.withTasks.add(t.Service)
		}
		x.add(t)
		if t.Node != "" {
			s.onNode[t.Node] = append(s.onNode[t.Node], t)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.onNode)) {
		slices.SortFunc(s.onNode[id], func(a, b *Task) int { return cmp.Compare(a.ID, b.ID) })
	}
}

func byID(t *Task, id TaskID) int { return cmp.Compare(t.ID, id) }

func insertTask(list []*Task, t *Task) []*Task {
	i, ok := slices.BinarySearchFunc(list, t.ID, byID)
	if ok {
		list[i] = t
		return list
	}
	return slices.Insert(list, i, t)
}

func removeTask(list []*Task, id TaskID) []*Task {
	if i, ok := slices.BinarySearchFunc(list, id, byID); ok {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// compareAge orders the tasks of a slot, the oldest first.
func compareAge(a, b *Task) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
}

// compareSlot orders slots by number, then by node.
func compareSlot(a, b SlotKey) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Node, b.Node))
}

// A slotIndex has the tasks of one service by slot. An emptied slot keeps its
// place until half of the places are empty, so that taking away the slots of a
// large service one by one does not move all the others each time.
type slotIndex struct {
	service ServiceID
	slots   []slot
	empty   int
	tasks   int
}

type slot struct {
	key   SlotKey
	tasks []*Task // oldest first
}

func (x *slotIndex) find(k SlotKey) (int, bool) {
	if n := len(x.slots); n > 0 && compareSlot(x.slots[n-1].key, k) < 0 {
		return n, false
	}
	return slices.BinarySearchFunc(x.slots, k, func(s slot, k SlotKey) int { return compareSlot(s.key, k) })
}

func (x *slotIndex) add(t *Task) {
	x.tasks++
	i, ok := x.find(t.SlotKey())
	if !ok {
		x.slots = slices.Insert(x.slots, i, slot{key: t.SlotKey(), tasks: []*Task{t}})
		return
	}
	s := &x.slots[i]
	if len(s.tasks) == 0 {
		x.empty--
	}
	at, _ := slices.BinarySearchFunc(s.tasks, t, compareAge)
	// A copy: the list may be in the hands of a reader.
	s.tasks = slices.Insert(slices.Clip(s.tasks), at, t)
}

// swap puts a task into the place of what it was.
func (x *slotIndex) swap(before, after *Task) {
	i, _ := x.find(after.SlotKey())
	s := &x.slots[i]
	s.tasks = slices.Clone(s.tasks) // the list may be in the hands of a reader
	s.tasks[slices.IndexFunc(s.tasks, func(t *Task) bool { return t.ID == before.ID })] = after
}

func (x *slotIndex) remove(t *Task) {
	i, ok := x.find(t.SlotKey())
	if !ok {
		return
	}
	s := &x.slots[i]
	at := slices.IndexFunc(s.tasks, func(o *Task) bool { return o.ID == t.ID })
	if at < 0 {
		return
	}
	x.tasks--
	s.tasks = slices.Concat(s.tasks[:at], s.tasks[at+1:])
	if len(s.tasks) == 0 {
		x.empty++
		if x.empty > 16 && x.empty > len(x.slots)/2 {
			x.slots = slices.DeleteFunc(x.slots, func(s slot) bool { return len(s.tasks) == 0 })
			x.empty = 0
		}
	}
}

func (x *slotIndex) get(k SlotKey) []*Task {
	if x == nil {
		return nil
	}
	if i, ok := x.find(k); ok {
		return x.slots[i].tasks
	}
	return nil
}

// all yields the slots that have tasks from one on, in order.
func (x *slotIndex) all(from SlotKey) iter.Seq2[SlotKey, []*Task] {
	return func(yield func(SlotKey, []*Task) bool) {
		if x == nil {
			return
		}
		i, _ := x.find(from)
		for _, s := range x.slots[i:] {
			if len(s.tasks) > 0 && !yield(s.key, s.tasks) {
				return
			}
		}
	}
}
