package dispatcher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/dispatcher"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestScripts runs the stories in testdata. The leader is n1, which speaks every
// second as a live leader's own worker does.
//
//	swarm period=5s                           the swarm, with its heartbeat period
//	node n2 [state=ready] / forget n2         a node in the store, or out of it
//	task t1 on=n2 [state=…] [desired=…]       a task in the store, as others write it
//	delete t1
//	hello n2 session=7 [addr=…] [host=…]
//	beat n2 session=7 seq=1
//	report n2 session=7                       one "task state [message]" a line
//	tick 3s [n2=7]                            time passes; nodes named speak in the session given
//	sleep 9s                                  time passes, and the leader sees nothing of it
//	lead                                      another leader
//	log slow / log done                       a proposal is in flight, or has committed
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.command(t, d)
			w.step()
			out := w.out.String()
			w.out.Reset()
			return out
		})
	})
}

type world struct {
	store      *state.Store
	now        time.Time
	dispatcher *dispatcher.Dispatcher
	sequence   map[state.NodeID]uint64 // last sent to each node
	slow       bool                    // a proposal is in flight
	out        strings.Builder
}

func newWorld() *world {
	w := &world{store: state.NewStore(), now: time.Unix(1000, 0), sequence: map[state.NodeID]uint64{}}
	w.lead()
	return w
}

func (w *world) lead() { w.dispatcher = dispatcher.New(w.store.Draft(), w.now, "n1") }

// step does as the engine's root does after every event.
func (w *world) step() {
	if w.slow {
		w.send(w.dispatcher.Apart(w.now))
		return
	}
	w.flush() // what has committed is told before more is decided
	due := w.dispatcher.Wake()
	if w.dispatcher.Pending() || !due.IsZero() && !w.now.Before(due) {
		d := w.store.Draft()
		w.dispatcher.Apply(d, w.now, state.Wall(w.now.UnixNano()))
		w.commit(d, true)
	}
	w.flush()
}

func (w *world) flush() {
	w.send(w.dispatcher.Apart(w.now))
	w.send(w.dispatcher.Flush(w.store.Draft()))
}

func (w *world) send(messages []dispatcher.Outgoing) {
	for _, m := range messages {
		if a, ok := m.Message.(wire.Assign); ok {
			w.sequence[m.To] = a.Sequence
		}
		fmt.Fprintf(&w.out, "%s to %s: %s\n", w.clock(), m.To, message(m.Message))
	}
}

func (w *world) clock() string { return w.now.Sub(time.Unix(1000, 0)).String() }

// commit makes what was drafted so; what the dispatcher itself wrote is shown.
func (w *world) commit(d *state.Draft, show bool) {
	delta := d.Take()
	w.dispatcher.Observe(&delta)
	if !d.Dirty() {
		return
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
	if !show {
		return
	}
	for _, n := range delta.Nodes {
		fmt.Fprintf(&w.out, "%s node %s is %s addr=%q host=%q %s\n", w.clock(), n.After.ID, stateName(n.After.State), n.After.Addr,
			n.After.Description.Hostname, n.After.Message)
	}
	for _, t := range delta.Tasks {
		fmt.Fprintf(&w.out, "%s task %s is %s %s ran=%v\n", w.clock(), t.After.ID, t.After.Status.State, t.After.Status.Message, t.After.Ran != 0)
	}
}

func stateName(s state.NodeState) string {
	return [...]string{"unknown", "down", "ready", "disconnected"}[s]
}

func message(m wire.Message) string {
	switch m := m.(type) {
	case wire.Bye:
		if m.Session == 0 {
			return "call"
		}
		return fmt.Sprintf("bye to session %d", m.Session)
	case wire.Assign:
		var b strings.Builder
		fmt.Fprintf(&b, "assign %d in session %d every %s", m.Sequence, m.Session, time.Duration(m.Period))
		if m.Full {
			b.WriteString(" full")
		}
		for _, a := range m.Tasks {
			fmt.Fprintf(&b, " %s=%s", a.Task.ID, a.Task.Desired)
			if a.Template == nil {
				b.WriteString("(no template)")
			}
		}
		fmt.Fprintf(&b, " keep %v gone %v", m.Keep, m.Gone)
		return b.String()
	default:
		return fmt.Sprintf("%T", m)
	}
}

func (w *world) command(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	first := ""
	if len(d.CmdArgs) > 0 {
		first = d.CmdArgs[0].Key
	}
	id := state.NodeID(first)
	var session uint64
	d.MaybeScanArgs(t, "session", &session)
	draft := w.store.Draft()
	switch d.Cmd {
	case "swarm":
		c := &state.Cluster{ID: "c"}
		c.Spec.Dispatcher.HeartbeatPeriod = duration(t, d, "period")
		draft.PutCluster(c)
	case "node":
		draft.PutNode(&state.Node{ID: id, State: map[string]state.NodeState{"": state.NodeReady, "down": state.NodeDown, "unknown": state.NodeUnknown}[text(t, d, "state")]})
	case "forget":
		draft.DeleteNode(id)
	case "template":
		draft.PutTemplate(&state.Template{Service: "s", Version: 1, RegistryAuth: text(t, d, "auth")})
	case "task":
		w.putTask(t, d, draft, state.TaskID(first))
	case "delete":
		draft.DeleteTask(state.TaskID(first))
	case "hello":
		w.dispatcher.Receive(id, wire.Hello{
			Session: session, Addr: text(t, d, "addr"),
			Description: swarm.NodeDescription{Hostname: text(t, d, "host")},
		}, w.now)
	case "beat":
		var seq, reports uint64
		d.ScanArgs(t, "seq", &seq)
		d.MaybeScanArgs(t, "reports", &reports)
		w.dispatcher.Receive(id, wire.Heartbeat{Session: session, Sequence: seq, Reports: reports}, w.now)
	case "report":
		w.dispatcher.Receive(id, report(t, d, session), w.now)
	case "tick":
		w.tick(t, d)
	case "sleep":
		pause, err := time.ParseDuration(first)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		w.now = w.now.Add(pause)
	case "log":
		w.slow = first == "slow"
	case "lead":
		w.lead()
	default:
		t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	}
	w.commit(draft, false)
}

// tick lets time pass in steps of at most a second. Whoever is named speaks in
// each, acknowledging all that it was sent.
func (w *world) tick(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	pause, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	for end := w.now.Add(pause); w.now.Before(end); {
		next := w.now.Add(min(time.Second, end.Sub(w.now)))
		if due := w.dispatcher.Wake(); !w.slow && !due.IsZero() && due.Before(next) {
			w.now = due
			w.step()
			continue
		}
		w.now = next
		w.dispatcher.Receive("n1", wire.Heartbeat{Session: 1, Sequence: w.sequence["n1"]}, w.now)
		for _, arg := range d.CmdArgs[1:] {
			var session uint64
			arg.Scan(t, 0, &session)
			id := state.NodeID(arg.Key)
			w.dispatcher.Receive(id, wire.Heartbeat{Session: session, Sequence: w.sequence[id]}, w.now)
		}
		w.step()
	}
}

func (w *world) putTask(t *testing.T, d *datadriven.TestData, draft *state.Draft, id state.TaskID) {
	t.Helper()
	task := state.Task{ID: id, Service: "s", Slot: 1, Template: 1, Desired: state.TaskRunning, Status: state.TaskStatus{State: state.TaskAssigned}}
	if old := draft.Task(id); old != nil {
		task = *old
	}
	if on := text(t, d, "on"); on != "" {
		task.Node = state.NodeID(on)
	}
	if s := text(t, d, "state"); s != "" {
		task.Status.State = stateOf(t, s)
	}
	if s := text(t, d, "desired"); s != "" {
		task.Desired = stateOf(t, s)
	}
	draft.PutTask(&task)
}

func report(t *testing.T, d *datadriven.TestData, session uint64) wire.Report {
	t.Helper()
	m := wire.Report{Session: session}
	d.MaybeScanArgs(t, "number", &m.Number)
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		s := wire.Status{Task: state.TaskID(words[0])}
		s.Status.State = stateOf(t, words[1])
		s.Status.Message = strings.Join(words[2:], " ")
		s.Status.At = 77
		m.Statuses = append(m.Statuses, s)
	}
	return m
}

func stateOf(t *testing.T, name string) state.TaskState {
	t.Helper()
	for s := state.TaskNew; s <= state.TaskOrphaned; s++ {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("no task state is called %q", name)
	return 0
}

func text(t *testing.T, d *datadriven.TestData, key string) string {
	t.Helper()
	var s string
	d.MaybeScanArgs(t, key, &s)
	return s
}

func duration(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	t.Helper()
	p, err := time.ParseDuration(text(t, d, key))
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	return p
}
