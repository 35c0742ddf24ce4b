package dispatcher_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/dispatcher"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestLoss lets a link lose, repeat and reorder what it carries, and the leader
// change, while tasks come, change and go. Once the link is whole again, a node
// knows within a few heartbeats exactly what the store has for it.
func TestLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLink()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			l.act(t)
		}
		l.toNode, l.toLeader = nil, nil
		for range 8 { // two heartbeats show a loss, a third hears of it
			l.now = l.now.Add(time.Second)
			l.worker.speak(l)
			l.settle()
		}
		want := map[state.TaskID]string{}
		for task := range l.store.Draft().TasksOn("n2") {
			want[task.ID] = word(task)
		}
		if diff := cmp.Diff(want, l.worker.tasks); diff != "" {
			t.Fatalf("the node knows other things than the store (-store +node):\n%s", diff)
		}
	})
}

func word(task *state.Task) string {
	if task.Status.State.Terminal() {
		return "keep"
	}
	return task.Desired.String()
}

// A link joins a leader and a worker that keeps to the protocol.
type link struct {
	store      *state.Store
	now        time.Time
	dispatcher *dispatcher.Dispatcher
	worker     toy
	toNode     []wire.Message
	toLeader   []wire.Message
	made       int
}

func newLink() *link {
	l := &link{store: state.NewStore(), now: time.Unix(1000, 0)}
	d := l.store.Draft()
	d.PutNode(&state.Node{ID: "n1", State: state.NodeReady})
	d.PutNode(&state.Node{ID: "n2", State: state.NodeReady})
	d.PutTemplate(&state.Template{Service: "s", Version: 1})
	l.store.Apply(1, d.Changes())
	l.dispatcher = dispatcher.New(l.store.Draft(), l.now, "n1")
	l.worker.hello(l)
	return l
}

// act does one thing that may happen.
func (l *link) act(t *rapid.T) {
	d := l.store.Draft()
	switch rapid.SampledFrom([]string{"create", "change", "delete", "beat", "carry", "carry", "lose", "repeat", "swap", "lead"}).Draw(t, "act") {
	case "create":
		l.made++
		d.PutTask(&state.Task{
			ID: state.TaskID(fmt.Sprintf("t%02d", l.made)), Service: "s", Slot: uint64(l.made), Template: 1, Node: "n2",
			Desired: state.TaskRunning, Status: state.TaskStatus{State: state.TaskAssigned},
		})
	case "change":
		if task := l.pick(t); task != nil && !task.Status.State.Terminal() {
			put := *task
			if put.Desired == state.TaskShutdown {
				put.Status.State = state.TaskShutdown
			}
			put.Desired = state.TaskShutdown
			d.PutTask(&put)
		}
	case "delete":
		if task := l.pick(t); task != nil {
			d.DeleteTask(task.ID)
		}
	case "beat":
		l.now = l.now.Add(time.Second)
		l.worker.speak(l)
	case "carry":
		l.carry()
	case "lose":
		l.toNode, l.toLeader = l.toNode[min(1, len(l.toNode)):], l.toLeader[min(1, len(l.toLeader)):]
	case "repeat":
		l.toNode = append(l.toNode, l.toNode[:min(1, len(l.toNode))]...)
	case "swap":
		if n := len(l.toNode); n > 1 {
			l.toNode[0], l.toNode[n-1] = l.toNode[n-1], l.toNode[0]
		}
	case "lead":
		l.dispatcher = dispatcher.New(l.store.Draft(), l.now, "n1")
	}
	l.commit(d)
}

func (l *link) pick(t *rapid.T) *state.Task {
	var all []*state.Task
	for task := range l.store.Draft().TasksOn("n2") {
		all = append(all, task)
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "task")
}

// commit makes the draft so, lets the dispatcher decide, and collects what it sends.
func (l *link) commit(d *state.Draft) {
	l.dispatcher.Apply(d, l.now, state.Wall(l.now.UnixNano()))
	delta := d.Take()
	l.dispatcher.Observe(&delta)
	if d.Dirty() {
		l.store.Apply(l.store.Index()+1, d.Changes())
	}
	for _, m := range append(l.dispatcher.Apart(l.now), l.dispatcher.Flush(l.store.Draft())...) {
		l.toNode = append(l.toNode, m.Message)
	}
}

// carry delivers one message each way.
func (l *link) carry() {
	if len(l.toLeader) > 0 {
		l.dispatcher.Receive("n2", l.toLeader[0], l.now)
		l.toLeader = l.toLeader[1:]
	}
	if len(l.toNode) > 0 {
		m := l.toNode[0]
		l.toNode = l.toNode[1:]
		l.worker.take(l, m)
	}
}

func (l *link) settle() {
	for len(l.toNode)+len(l.toLeader) > 0 {
		l.carry()
		l.commit(l.store.Draft())
	}
}

// A toy is a worker that keeps to the protocol and remembers what it was told.
type toy struct {
	session, sequence uint64
	tasks             map[state.TaskID]string
}

func (w *toy) hello(l *link) {
	w.session++
	w.sequence = 0
	l.toLeader = append(l.toLeader, wire.Hello{Session: w.session})
}

func (w *toy) speak(l *link) {
	if w.sequence == 0 {
		w.hello(l)
		return
	}
	l.toLeader = append(l.toLeader, wire.Heartbeat{Session: w.session, Sequence: w.sequence})
}

func (w *toy) take(l *link, m wire.Message) {
	switch m := m.(type) {
	case wire.Bye:
		if m.Session == w.session && w.sequence > 0 {
			w.hello(l)
		}
	case wire.Assign:
		switch {
		case m.Session != w.session, m.Sequence <= w.sequence:
			return
		case !m.Full && m.Sequence > w.sequence+1:
			w.hello(l)
			return
		}
		w.sequence = m.Sequence
		w.told(m)
	case wire.Hello, wire.Heartbeat, wire.Report:
	default:
	}
}

func (w *toy) told(m wire.Assign) {
	before := w.tasks
	if w.tasks = map[state.TaskID]string{}; !m.Full {
		w.tasks = maps.Clone(before)
	}
	for _, a := range m.Tasks {
		w.tasks[a.Task.ID] = word(a.Task)
	}
	for _, id := range m.Keep {
		w.tasks[id] = "keep"
	}
	for _, id := range m.Gone {
		delete(w.tasks, id)
	}
}
