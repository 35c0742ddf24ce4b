package orchestrator_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/orchestrator"
	"github.com/swarmd/swarmd/engine/state"
)

// A world is the smallest swarm that an orchestrator can be in: a store, a
// scheduler that spreads, and agents that do as they are told when they are let.
type world struct {
	store *state.Store
	o     *orchestrator.Orchestrator
	mint  *entropy.Source
	now   time.Time
	wall  state.Wall
	fail  func(format string, args ...any)

	names map[state.TaskID]string
	log   []string // what the orchestrator did since it was last read
}

func newWorld(fail func(string, ...any)) *world {
	w := &world{
		store: state.NewStore(),
		mint:  entropy.New(entropy.Seed{3}),
		now:   time.Unix(0, 0).Add(time.Hour),
		wall:  1_800_000_000_000_000_000,
		fail:  fail,
		names: map[state.TaskID]string{},
	}
	w.elect()
	return w
}

// elect forgets all that a leader remembers.
func (w *world) elect() { w.o = orchestrator.New(w.store.Draft(), w.now, w.wall) }

// change commits what somebody else does.
func (w *world) change(do func(d *state.Draft)) {
	d := w.store.Draft()
	do(d)
	delta := w.store.Apply(w.store.Index()+1, d.Changes())
	w.o.Observe(&delta)
}

// pass has the orchestrator decide until nothing is left to decide, and everything
// that can be placed placed. What it finds nothing to do in, it must not write to.
func (w *world) pass() {
	for range 10_000 {
		d := w.store.Draft()
		w.o.Reconcile(d, w.mint, w.now, w.wall)
		delta := d.Take()
		w.owned(&delta)
		w.o.Observe(&delta)
		w.place(d)
		placed := d.Take()
		w.o.Observe(&placed)
		if !d.Dirty() {
			if !w.o.Pending() {
				return
			}
			continue
		}
		committed := w.store.Apply(w.store.Index()+1, d.Changes())
		w.tell(&committed)
	}
	w.fail("the orchestrator does not come to rest")
}

// owned checks that what was written was the orchestrator's to write.
func (w *world) owned(delta *state.Delta) {
	for _, t := range delta.Tasks {
		b, a := t.Before, t.After
		switch {
		case a == nil:
			if b.Status.State >= state.TaskAssigned && !b.Status.State.Terminal() {
				w.fail("%s is deleted in state %s: its container may live", b.ID, b.Status.State)
			}
		case b == nil:
			if a.Status.State != state.TaskNew {
				w.fail("%s is made in state %s", a.ID, a.Status.State)
			}
		case a.Desired < b.Desired:
			w.fail("%s: desired goes back from %s to %s", a.ID, b.Desired, a.Desired)
		case a.Status.State != b.Status.State:
			if owner, _ := state.Transition(b.Status.State, a.Status.State); owner != state.OwnerOrchestrator {
				w.fail("%s: %s → %s is for the %s", a.ID, b.Status.State, a.Status.State, owner)
			}
		case cmp.Equal(a, b, cmpopts.EquateComparable(netip.Addr{})):
			w.fail("%s is written and has not changed", a.ID)
		}
	}
	for _, s := range delta.Services {
		if s.After == nil || s.Before == nil {
			w.fail("the orchestrator makes or removes a service")
		}
	}
}

// place is the scheduler: the eligible node with the fewest tasks of all.
func (w *world) place(d *state.Draft) {
	var unplaced []*state.Task
	load := map[state.NodeID]int{}
	for t := range d.Tasks() {
		if t.Status.State < state.TaskAssigned && t.Desired < state.TaskShutdown {
			unplaced = append(unplaced, t)
		} else if !t.Status.State.Terminal() && t.Desired < state.TaskShutdown {
			load[t.Node]++
		}
	}
	for _, t := range unplaced {
		var best *state.Node
		for n := range d.Nodes() {
			template := d.Template(t.Service, t.Template)
			constraints := []state.Constraint(nil)
			if template.Spec.Placement != nil {
				constraints, _ = state.ParseConstraints(template.Spec.Placement.Constraints)
			}
			if t.Node != "" && t.Node != n.ID || n.State != state.NodeReady || !state.Eligible(n, constraints) ||
				n.Spec.Availability != swarm.NodeAvailabilityActive {
				continue
			}
			if best == nil || load[n.ID] < load[best.ID] {
				best = n
			}
		}
		if best == nil {
			continue
		}
		c := *t
		c.Node, c.Status.State = best.ID, state.TaskAssigned
		d.PutTask(&c)
		load[best.ID]++
	}
}

// act lets the agents of nodes that are up do what is wanted of some tasks, and
// reports whether there was anything to do.
func (w *world) act(some func(t *state.Task) bool) bool {
	acted := false
	w.change(func(d *state.Draft) {
		for t := range d.Tasks() {
			n := d.Node(t.Node)
			if n == nil || n.State != state.NodeReady || t.Status.State < state.TaskAssigned || t.Status.State.Terminal() {
				continue
			}
			next := t.Status.State
			switch {
			case t.Desired >= state.TaskShutdown:
				next = state.TaskShutdown
			case t.Desired == state.TaskReady:
				next = max(next, state.TaskReady)
			case t.Job && t.Status.State == state.TaskRunning:
				next = state.TaskComplete
			default:
				next = state.TaskRunning
			}
			if next != t.Status.State && some(t) {
				w.report(d, t, next)
				acted = true
			}
		}
	})
	return acted
}

// report moves a task on as its agent says.
func (w *world) report(d *state.Draft, t *state.Task, to state.TaskState) {
	c := *t
	c.Status.State, c.Status.At = to, w.wall
	if to == state.TaskRunning {
		c.Ran = w.wall
	}
	d.PutTask(&c)
}

// settle lets everybody act until nobody has anything to do at this time.
func (w *world) settle() {
	w.pass()
	for range 10_000 {
		if !w.act(func(*state.Task) bool { return true }) {
			return
		}
		w.pass()
	}
	w.fail("the world does not come to rest")
}

// rest settles, and waits for whatever the orchestrator is waiting for.
func (w *world) rest() {
	w.settle()
	for range 10_000 {
		at := w.o.Wake()
		if at.IsZero() {
			return
		}
		w.advance(max(0, at.Sub(w.now)))
		w.settle()
	}
	w.fail("the orchestrator is never content")
}

func (w *world) advance(by time.Duration) {
	w.now = w.now.Add(by)
	w.wall = w.wall.Add(by)
}

// name is what scripts call a task.
func (w *world) name(t *state.Task) string {
	if _, ok := w.names[t.ID]; !ok {
		w.names[t.ID] = fmt.Sprintf("t%d", len(w.names)+1)
	}
	slot := fmt.Sprint(t.Slot)
	if t.Global {
		slot = string(t.Node)
	}
	return fmt.Sprintf("%s %s.%s", w.names[t.ID], t.Service, slot)
}

// tell writes down what a commit did.
func (w *world) tell(delta *state.Delta) {
	say := func(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }
	for _, t := range delta.Tasks {
		switch b, a := t.Before, t.After; {
		case a == nil:
			say("- %s", w.name(b))
		case b == nil:
			say("+ %s v%d %s%s", w.name(a), a.Template, a.Desired, w.details(a))
		case a.Status.State == state.TaskOrphaned && b.Status.State != a.Status.State:
			say("  %s orphaned, desired %s", w.name(a), a.Desired)
		case a.Desired != b.Desired:
			say("  %s %s → %s", w.name(a), b.Desired, a.Desired)
		}
	}
	for _, s := range delta.Services {
		a, b := s.After, s.Before
		if a.Template != b.Template {
			say("  %s runs v%d", a.ID, a.Template)
		}
		if u := a.Update; !cmp.Equal(u, b.Update) {
			say("  %s %s: %s, %d of %d failed", a.ID, u.State, w.words(u.Message), u.Failed, u.Dirty)
		}
	}
	for _, t := range delta.Templates {
		if t.After == nil {
			say("- %s v%d", t.Before.Service, t.Before.Version)
		}
	}
}

func (w *world) details(t *state.Task) string {
	var out strings.Builder
	if t.Node != "" {
		fmt.Fprintf(&out, " on %s", t.Node)
	}
	if t.Start != 0 {
		fmt.Fprintf(&out, " in %s", t.Start.Sub(w.wall))
	}
	if t.After != "" {
		fmt.Fprintf(&out, " after %s", w.names[t.After])
	}
	if t.Failures > 0 {
		fmt.Fprintf(&out, " failures %d", t.Failures)
	}
	if t.Rollout {
		out.WriteString(" rollout")
	}
	return out.String()
}

// words replaces identifiers by names.
func (w *world) words(text string) string {
	for id, name := range w.names {
		text = strings.ReplaceAll(text, string(id), name)
	}
	return text
}

// told returns what happened since it was last asked, one line each.
func (w *world) told() string {
	out := ""
	for _, l := range w.log {
		out += l + "\n"
	}
	w.log = nil
	return out
}

// task finds a task by its name, or the one of a slot that is wanted, else the
// newest, by the slot's, such as web.1.
func (w *world) task(name string) *state.Task {
	var found *state.Task
	for t := range w.store.Draft().Tasks() {
		short, slot, _ := strings.Cut(w.name(t), " ")
		if short == name || slot == name && (found == nil || wanted(t) || !wanted(found)) {
			found = t
		}
	}
	return found
}

// tasks lists what there is.
func (w *world) tasks() string {
	var out strings.Builder
	for t := range w.store.Draft().Tasks() {
		fmt.Fprintf(&out, "%s v%d %s, desired %s", w.name(t), t.Template, t.Status.State, t.Desired)
		if t.Node != "" && !t.Global {
			fmt.Fprintf(&out, " on %s", t.Node)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// revise stores a service as control does: with a new template only where tasks
// are to be made of something else.
func (w *world) revise(id state.ServiceID, spec swarm.ServiceSpec, back bool) {
	w.change(func(d *state.Draft) {
		old := d.Service(id)
		next := &state.Service{ID: id, Spec: spec, SpecVersion: d.Version(), Template: d.Version()}
		job := spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil
		if old != nil {
			previous := old.Spec
			next.Previous, next.PreviousTemplate, next.JobIteration = &previous, old.Template, old.JobIteration
			if job {
				next.JobIteration++
			}
			for _, v := range []uint64{old.Template, old.PreviousTemplate} {
				if t := d.Template(id, v); t != nil && cmp.Equal(t.Spec, spec.TaskTemplate) {
					next.Template = v
					break
				}
			}
			begin := func(s swarm.UpdateState, message string) {
				next.Update = &state.Update{State: s, Started: w.wall, Message: message}
			}
			unfinished := old.Update != nil && !slices.Contains(
				[]swarm.UpdateState{swarm.UpdateStateCompleted, swarm.UpdateStateRollbackCompleted}, old.Update.State)
			switch {
			case job:
			case back:
				begin(swarm.UpdateStateRollbackStarted, "manually requested rollback")
			case next.Template != old.Template && d.TaskCount(id) > 0, unfinished:
				begin(swarm.UpdateStateUpdating, "update in progress")
			}
		}
		if d.Template(id, next.Template) == nil {
			d.PutTemplate(&state.Template{Service: id, Version: next.Template, Spec: spec.TaskTemplate})
		}
		d.PutService(next)
	})
}
