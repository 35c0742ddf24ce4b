package orchestrator

import (
	"cmp"
	"slices"

	"github.com/swarmd/swarmd/engine/state"
)

// service looks at a service as a whole: how many slots it has and should have.
func (p *pass) service(id state.ServiceID) {
	s := p.d.Service(id)
	if s == nil || p.deep[id] {
		if !p.everySlot(id) {
			return
		}
		delete(p.deep, id)
	}
	if s = p.d.Service(id); s == nil {
		return
	}
	mode := s.Spec.Mode
	switch {
	case mode.ReplicatedJob != nil:
		p.replicatedJob(s)
	case mode.Global != nil, mode.GlobalJob != nil:
		p.global(s)
	default:
		p.replicated(s)
	}
}

// everySlot looks at every slot that has a task. It reports false, and has the
// service looked at again, when the draft is full.
func (p *pass) everySlot(id state.ServiceID) bool {
	for _, key := range p.keysOf(id) {
		if p.d.Full() {
			p.services.push(id)
			return false
		}
		p.slot(id, key)
	}
	return true
}

// keysOf returns the slots of a service that have a task, in order.
func (p *pass) keysOf(id state.ServiceID) []state.SlotKey {
	var keys []state.SlotKey
	for key := range p.d.Slots(id) {
		keys = append(keys, key)
	}
	return keys
}

// replicated gives a service as many slots as it should have.
func (p *pass) replicated(s *state.Service) {
	want := uint64(1)
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		want = *r.Replicas
	}
	occupied := map[uint64]bool{}
	var slots []*slot
	for _, key := range p.keysOf(s.ID) {
		v := p.view(s, s.ID, key)
		if v.occupied() {
			occupied[key.Number] = true
			slots = append(slots, v)
		} else if p.swept[s.ID] {
			v.dismiss()
			v.reap()
		}
	}
	delete(p.swept, s.ID)
	have := uint64(len(slots))
	if have > want {
		p.shrink(slots, int(want))
	}
	for number := uint64(1); have < want; number++ {
		if occupied[number] {
			continue
		}
		if p.d.Full() {
			p.services.push(s.ID)
			return
		}
		v := p.view(s, s.ID, state.SlotKey{Number: number})
		v.succeed(successor{template: s.Template}, 0)
		have++
	}
}

// shrink removes all slots but so many: those that do not run go first, then
// those on the nodes that have the most of them.
func (p *pass) shrink(slots []*slot, keep int) {
	type candidate struct {
		*slot
		running bool
		rank    int // how many of the service's are before it on its node
	}
	candidates := make([]candidate, len(slots))
	onNode := map[state.NodeID]int{}
	for i, v := range slots {
		candidates[i].slot = v
		for _, t := range v.tasks {
			if alive(t) && t.Status.State == state.TaskRunning {
				candidates[i].running = true
				candidates[i].rank = onNode[t.Node]
				onNode[t.Node]++
				break
			}
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		if a.running != b.running {
			if a.running {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.rank, b.rank)
	})
	for _, c := range candidates[keep:] {
		if p.d.Full() {
			p.services.push(c.service.ID)
			return
		}
		c.remove()
	}
}

// remove takes the slot away from its service. What has ended stays as history,
// except the task that says that the slot stays empty.
func (v *slot) remove() {
	last := v.last()
	held := !v.lively()
	for i, t := range v.tasks {
		if alive(t) || held && t == last {
			v.tasks[i] = v.desire(t, state.TaskRemove)
		}
	}
	v.reap()
	if r := v.rollouts[v.ref.service]; r != nil {
		r.look(v)
	}
}

// global looks at every node, and at every slot that is left of nodes gone.
func (p *pass) global(s *state.Service) {
	delete(p.swept, s.ID)
	for n := range p.d.Nodes() {
		p.slots.push(slotRef{s.ID, state.SlotKey{Node: n.ID}})
	}
	for _, key := range p.keysOf(s.ID) {
		p.slots.push(slotRef{s.ID, key})
	}
}

// fill gives a global service a task on the slot's node, if it is to have one.
func (v *slot) fill() {
	if !isGlobal(v.service) || !v.placeable() {
		return
	}
	if v.lively() {
		v.refresh()
		return
	}
	last := v.last()
	if last != nil && last.Template == v.service.Template && selfEnded(last) {
		template := v.d.Template(last.Service, last.Template)
		if !policyOf(v.service, template).allows(last, v.tasks) {
			return
		}
	}
	v.succeed(successor{template: v.service.Template}, 0)
}

// refresh replaces a task that an update could not reach while its node took no
// new tasks, now that the update is over.
func (v *slot) refresh() {
	u := v.service.Update
	if u == nil || u.Template != v.service.Template || !isOver(u.State) || isJob(v.service) {
		return
	}
	for i, t := range v.tasks {
		if alive(t) && t.Template == v.service.Template || t.Template == v.service.Template && i == len(v.tasks)-1 {
			return
		}
	}
	for i, t := range v.tasks {
		if alive(t) {
			v.tasks[i] = v.desire(t, state.TaskShutdown)
		}
	}
	v.succeed(successor{template: v.service.Template}, 0)
}
