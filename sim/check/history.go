package check

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// porcupinePatience bounds the search for one object's order. It is real time: a
// search that is not over by then says nothing, and is counted as that.
const porcupinePatience = 10 * time.Second

// A History holds what clients did and heard against the log. It is two checks of
// the same sentence that share nothing but the history: by the log's order, which
// is quick and trusts the log, and by porcupine, which searches for an order that
// explains what clients saw and trusts nobody.
type History struct {
	Clients *sim.Clients

	commits []commit            // when each entry was first applied
	objects map[string][]moment // by service name, in log order
}

// A commit is the first time that an entry was applied anywhere.
type commit struct {
	at    time.Duration
	index uint64
}

// A moment is what a name stood for from an index on.
type moment struct {
	index   uint64
	present bool
	writer  uint64 // the operation that wrote it, 0 if none of the clients'
	version uint64
}

// Sentence implements [Oracle].
func (*History) Sentence() string { return "S13 the API is linearizable" }

// Committed notes what the entry made of each service.
func (h *History) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	h.commits = append(h.commits, commit{c.World.Now(), index})
	if h.objects == nil {
		h.objects = map[string][]moment{}
	}
	for _, d := range delta.Services {
		if d.After == nil {
			name := d.Before.Spec.Name
			h.objects[name] = append(h.objects[name], moment{index: index})
			continue
		}
		if d.Before != nil && d.Before.SpecVersion == d.After.SpecVersion {
			continue // the orchestrator's own writing
		}
		name := d.After.Spec.Name
		h.objects[name] = append(h.objects[name], moment{index, true, writerOf(d.After), d.After.SpecVersion})
	}
}

func writerOf(s *state.Service) uint64 {
	n, err := strconv.ParseUint(s.Spec.Labels[sim.OperationLabel], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// AtRest judges all that the clients did.
func (h *History) AtRest(c *Checker) {
	if h.Clients == nil {
		return
	}
	byLog := h.ByLog()
	if byLog != "" {
		c.Violate(h, "by the log's order: %s", byLog)
	}
	switch byPorcupine, name := h.ByPorcupine(); byPorcupine {
	case porcupine.Illegal:
		c.Violate(h, "porcupine finds no order of the operations on %s that explains what clients saw", name)
	case porcupine.Unknown:
		c.World.Probe("porcupine gave up")
	case porcupine.Ok:
		if byLog != "" {
			c.World.Probe("porcupine does not see what the log's order shows")
		}
	}
}

// An outcome is what a client heard, as far as it says something of one object.
type outcome int

// The outcomes of an operation.
const (
	unknown  outcome = iota // nothing was heard, or that nobody knows
	done                    // a write took effect
	exists                  // refused: there is one of that name
	absent                  // refused, or read: there is none
	sequence                // refused: the version presented is not the present one
	value                   // read
)

// outcomeOf says what an answer means.
func outcomeOf(op *sim.Operation) outcome {
	switch a := op.Answer.(type) {
	case control.Created, control.Done:
		return done
	case control.Services:
		return value
	case control.Failed:
		switch {
		case a.Kind == control.Conflict && op.Kind == sim.Create:
			return exists
		case a.Kind == control.NotFound:
			return absent
		case strings.Contains(a.Message, "update out of sequence"):
			return sequence
		}
	default:
	}
	return unknown
}

// A step is one operation as it concerns one object.
type step struct {
	op      *sim.Operation
	kind    sim.OperationKind // of [sim.List], what is read of one object is an Inspect
	out     outcome
	writer  uint64 // read
	version uint64
}

// steps are what the clients' operations say of each object.
func (h *History) steps() map[string][]step {
	all := map[string][]step{}
	names := map[string]bool{}
	for _, op := range h.Clients.Operations {
		if op.Name != "" {
			names[op.Name] = true
		}
	}
	for _, op := range h.Clients.Operations {
		out := outcomeOf(op)
		if op.Kind == sim.List {
			if out != value {
				continue
			}
			for name := range names {
				all[name] = append(all[name], read(op, name))
			}
			continue
		}
		switch {
		case op.Kind == sim.Inspect && out == unknown: // a read that nobody answered says nothing
		case out == value:
			all[op.Name] = append(all[op.Name], read(op, op.Name))
		default:
			all[op.Name] = append(all[op.Name], step{op: op, kind: op.Kind, out: out})
		}
	}
	return all
}

// read is what a listing, or an inspection, says of one object.
func read(op *sim.Operation, name string) step {
	for _, s := range op.Answer.(control.Services).Services {
		if s.Spec.Name == name {
			return step{op: op, kind: sim.Inspect, out: value, writer: writerOf(s), version: s.SpecVersion}
		}
	}
	return step{op: op, kind: sim.Inspect, out: absent}
}

// ByLog holds every outcome against the states that the object had between the
// call and the answer, in the order of the log. It returns what is wrong, "" if
// nothing is.
func (h *History) ByLog() string {
	written := map[uint64]uint64{} // by operation, the index at which it took effect
	for name, moments := range h.objects {
		before := moment{}
		for _, m := range moments {
			if m.present && m.writer != 0 && m.writer != before.writer {
				if at, twice := written[m.writer]; twice {
					return fmt.Sprintf("operation %d on %s took effect twice, at %d and at %d", m.writer, name, at, m.index)
				}
				written[m.writer] = m.index
			}
			before = m
		}
	}
	for name, steps := range h.steps() {
		for _, s := range steps {
			if wrong := h.explain(name, s, written); wrong != "" && !vanished(s, steps, written) {
				return fmt.Sprintf("operation %d of client %d, %s %s at %v, answered at %v: %s",
					s.op.Number, s.op.Client, s.op.Kind, name, s.op.Called, s.op.Returned, wrong)
			}
		}
	}
	return ""
}

// explain looks for a state that explains what a client heard.
func (h *History) explain(name string, s step, written map[uint64]uint64) string {
	from, to := h.indexAt(s.op.Called), h.indexAt(s.op.Returned)
	at, took := written[s.op.Number]
	switch {
	case s.kind != sim.Inspect && took && at <= from:
		return fmt.Sprintf("it took effect at index %d, before it was called", at)
	case s.out == unknown:
		return ""
	case s.out == done && (s.kind == sim.Create || s.kind == sim.Update || s.kind == sim.Scale):
		if !took || at > to {
			return "it was acknowledged, and is not in the log by then"
		}
		before := h.stateBeforeWriter(name, s.op.Number)
		if s.kind == sim.Create && before.present {
			return fmt.Sprintf("it was created at index %d, where there was one", at)
		}
		if s.kind != sim.Create && (!before.present || before.version != s.op.Version) {
			return fmt.Sprintf("it presented version %d at index %d, where the version was %d", s.op.Version, at, before.version)
		}
		return ""
	case took:
		return fmt.Sprintf("it was refused, and took effect at index %d", at)
	}
	for _, m := range h.statesWithin(name, from, to) {
		if s.out == done && !m.present && m.index > from || fits(s, m) { // a removal, or what a refusal or a read saw
			return ""
		}
	}
	return fmt.Sprintf("no state between index %d and %d explains the answer", from, to)
}

// vanished reports whether what a client heard may have left no trace: what is made,
// or changed, and removed within one entry of the log shows in none, and only what
// is decided in the same entry sees it. Of such a pair the two must have been under
// way at the same time.
func vanished(s step, steps []step, written map[uint64]uint64) bool {
	if s.out == absent || s.out == value || written[s.op.Number] != 0 {
		return false
	}
	for _, o := range steps {
		made := o.kind == sim.Create && written[o.op.Number] == 0
		pair := s.kind != sim.Remove && o.kind == sim.Remove || s.kind == sim.Remove && made
		if s.out != done { // refused, because of what was there for a moment
			pair = made
		}
		if pair && (o.out == done || o.out == unknown) && o.op.Called <= s.op.Returned && (o.out == unknown || s.op.Called <= o.op.Returned) {
			return true
		}
	}
	return false
}

// fits reports whether a refusal or a reading is true of a state.
func fits(s step, m moment) bool {
	switch s.out {
	case exists:
		return m.present
	case absent:
		return !m.present
	case sequence:
		return m.present && m.version != s.op.Version
	case value:
		return m.present && m.writer == s.writer && m.version == s.version
	default:
		return false
	}
}

// indexAt is the last entry that had been applied anywhere at a time.
func (h *History) indexAt(at time.Duration) uint64 {
	i := sort.Search(len(h.commits), func(i int) bool { return h.commits[i].at > at })
	if i == 0 {
		return 0
	}
	return h.commits[i-1].index
}

// stateBefore is what a name stood for just before an index.
func (h *History) stateBefore(name string, index uint64) moment {
	moments := h.objects[name]
	i := sort.Search(len(moments), func(i int) bool { return moments[i].index >= index })
	if i == 0 {
		return moment{}
	}
	return moments[i-1]
}

// stateBeforeWriter is what a name stood for just before an operation wrote it.
func (h *History) stateBeforeWriter(name string, writer uint64) moment {
	before := moment{}
	for _, m := range h.objects[name] {
		if m.present && m.writer == writer {
			return before
		}
		before = m
	}
	return moment{}
}

// statesWithin are what a name stood for at some time between two indexes.
func (h *History) statesWithin(name string, from, to uint64) []moment {
	moments := h.objects[name]
	i := sort.Search(len(moments), func(i int) bool { return moments[i].index > from })
	j := sort.Search(len(moments), func(j int) bool { return moments[j].index > to })
	return append([]moment{h.stateBefore(name, from+1)}, moments[i:j]...)
}

// ByPorcupine searches, object by object, for an order of the operations that
// explains what clients saw. It returns the first object without one.
func (h *History) ByPorcupine() (porcupine.CheckResult, string) {
	result := porcupine.Ok
	registers := registers()
	model := registers.ToModel()
	for name, steps := range h.steps() {
		var operations []porcupine.Operation
		for i, s := range steps {
			end := int64(s.op.Returned)
			if s.out == unknown {
				end = math.MaxInt64 // it may take effect at any time
			}
			// A client that was not answered goes on: its calls overlap, which no
			// client's may. So each is a client of its own.
			operations = append(operations, porcupine.Operation{ClientId: i, Input: s, Output: s.out, Call: int64(s.op.Called), Return: end})
		}
		switch porcupine.CheckOperationsTimeout(model, operations, porcupinePatience) {
		case porcupine.Illegal:
			return porcupine.Illegal, name
		case porcupine.Unknown:
			result = porcupine.Unknown
		case porcupine.Ok:
		}
	}
	return result, ""
}

// A register is what clients can know of one object. A version of 0 is one that
// nobody has read yet: it differs from every version that anybody could present.
type register struct {
	present bool
	writer  uint64
	version uint64
}

// registers is the sequential model of one object.
func registers() porcupine.NondeterministicModel {
	return porcupine.NondeterministicModel{
		Init: func() []any { return []any{register{}} },
		Step: func(from, input, _ any) []any {
			return next(from.(register), input.(step))
		},
	}
}

// next are the states that an object may be in after an operation that was
// answered so, none if it cannot have been.
func next(r register, s step) []any {
	if s.out != unknown && s.out != done {
		return refusedOrRead(r, s)
	}
	after := register{present: true, writer: s.op.Number}
	possible := false
	switch s.kind {
	case sim.Create:
		possible = !r.present
	case sim.Update, sim.Scale:
		possible = r.present && r.version == s.op.Version && r.version != 0
	case sim.Remove:
		possible, after = r.present, register{}
	case sim.Inspect, sim.List:
	}
	switch {
	case s.out == done && possible:
		return []any{after}
	case s.out == done:
		return nil
	case possible: // nobody knows
		return []any{r, after}
	default:
		return []any{r}
	}
}

// refusedOrRead is the state after an operation that changed nothing.
func refusedOrRead(r register, s step) []any {
	holds := false
	switch s.out {
	case exists:
		holds = r.present
	case absent:
		holds = !r.present
	case sequence:
		holds = r.present && r.version != s.op.Version
	case value:
		holds = r.present && r.writer == s.writer && (r.version == 0 || r.version == s.version)
		r.version = s.version
	case unknown, done:
	}
	if !holds {
		return nil
	}
	return []any{r}
}
