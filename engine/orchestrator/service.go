package orchestrator

import (
	"cmp"
	"slices"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// service looks at a service as a whole: how many slots it has and should have.
func (p *pass) service(id state.ServiceID) {
	if _, ok := p.deep[id]; ok && !p.everySlot(id) {
		return
	}
	s := p.d.Service(id)
	if s == nil {
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

// everySlot looks at every slot that has a task. When the draft is full it
// reports false, and the service is looked at again from there on.
func (p *pass) everySlot(id state.ServiceID) bool {
	for key := range p.d.SlotsFrom(id, p.deep[id]) {
		if p.d.Full() {
			p.deep[id] = key
			p.services.push(id)
			return false
		}
		p.slot(id, key)
	}
	delete(p.deep, id)
	return true
}

// A plan is how a replicated service comes to have as many slots as it should. It
// is carried out over as many drafts as it takes: nothing but a change of the
// service's spec, which makes a new one, changes how many slots it has.
type plan struct {
	version uint64          // of the spec
	leaving []state.SlotKey // slots to be removed, and those whose history is
	have    uint64
	next    uint64 // the first number that may be free
}

// replicated gives a service as many slots as it should have.
func (p *pass) replicated(s *state.Service) {
	want := uint64(1)
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		want = *r.Replicas
	}
	todo := p.plans[s.ID]
	if todo == nil || todo.version != s.SpecVersion {
		todo = p.plan(s, want)
		p.plans[s.ID] = todo
	}
	for len(todo.leaving) > 0 && !p.d.Full() {
		v := p.view(s, s.ID, todo.leaving[0])
		todo.leaving = todo.leaving[1:]
		if v.occupied() {
			v.remove()
		} else {
			v.dismiss()
			v.reap()
		}
	}
	for ; todo.have < want && !p.d.Full(); todo.next++ {
		v := p.view(s, s.ID, state.SlotKey{Number: todo.next})
		if !v.occupied() {
			v.succeed(successor{template: s.Template}, 0)
			todo.have++
		}
	}
	if len(todo.leaving) > 0 || todo.have < want {
		p.services.push(s.ID)
		return
	}
	delete(p.plans, s.ID)
}

// plan looks at all slots of a service: what it has, and what is to go.
func (p *pass) plan(s *state.Service, want uint64) *plan {
	todo := &plan{version: s.SpecVersion, next: 1}
	var candidates []candidate
	onNode := map[state.NodeID]int{}
	for key, tasks := range p.d.Slots(s.ID) {
		v := slot{pass: p, service: s, ref: slotRef{s.ID, key}, tasks: tasks} // only looks
		if v.occupied() {
			candidates = append(candidates, v.candidate(onNode))
		} else if p.swept[s.ID] {
			todo.leaving = append(todo.leaving, key)
		}
	}
	delete(p.swept, s.ID)
	todo.have = uint64(len(candidates))
	if todo.have > want {
		slices.SortStableFunc(candidates, compareCandidates)
		for _, c := range candidates[want:] {
			todo.leaving = append(todo.leaving, c.key)
		}
		todo.have = want
	}
	return todo
}

// A candidate is a slot that may be removed.
type candidate struct {
	key  state.SlotKey
	idle bool // it does not run
	rank int  // how many of the service's are before it on its node
}

func (v *slot) candidate(onNode map[state.NodeID]int) candidate {
	c := candidate{key: v.ref.key, idle: true}
	for _, t := range v.tasks {
		if alive(t) && t.Status.State == state.TaskRunning {
			c.idle, c.rank = false, onNode[t.Node]
			onNode[t.Node]++
			break
		}
	}
	return c
}

// compareCandidates puts last what is to be removed first: slots that do not
// run, then those on the nodes that have the most of them.
func compareCandidates(a, b candidate) int {
	if a.idle != b.idle {
		if b.idle {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.rank, b.rank)
}

// remove takes the slot away from its service. What has ended stays as history,
// except tasks that say that a slot stays empty.
func (v *slot) remove() {
	for i, t := range v.tasks {
		if alive(t) {
			v.tasks[i] = v.desire(t, state.TaskRemove)
		}
	}
	for v.occupied() {
		last := slices.Index(v.tasks, v.last())
		v.tasks[last] = v.desire(v.tasks[last], state.TaskRemove)
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
	for key := range p.d.Slots(s.ID) {
		p.slots.push(slotRef{s.ID, key})
	}
}

// fill gives a global service a task on the slot's node, if it is to have one.
func (v *slot) fill() {
	if !isGlobal(v.service) || !v.placeable() {
		return
	}
	if v.lively() && (len(v.tasks) > 1 || !mutant.On(mutant.GlobalTwice)) {
		v.refresh()
		return
	}
	if v.jobDone() { // by an earlier try, whose node was taken for lost meanwhile
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
