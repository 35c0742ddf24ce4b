package script

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
)

// restLeast is for how long nothing may change before a swarm counts as at rest.
const restLeast = 30 * time.Second

// A Model is the stage of the simulated world in one thread, watched by every
// oracle.
type Model struct {
	World   *sim.World
	Checker *check.Checker

	history   *check.History
	view      *View
	viewed    uint64       // Changes when it was made
	drafted   *state.Draft // of which it was made
	changes   uint64
	committed uint64 // the last entry that any host applied
	writes    uint64
	elections uint64
	starts    map[state.ServiceID]uint64
	looks     []func()
	pending   bool // a look is planned
}

var _ Stage = (*Model)(nil)

// NewModel makes a world of that shape.
func NewModel(c sim.Config) (*Model, error) {
	w, err := sim.New(c)
	if err != nil {
		return nil, err
	}
	m := &Model{World: w, history: &check.History{}, starts: map[state.ServiceID]uint64{}}
	m.Checker = check.Watch(w, append(check.All(), m.history)...)
	w.Observe((*modelObserver)(m))
	for _, h := range w.Hosts {
		role := "worker"
		if h.Manager {
			role = "manager"
		}
		w.Note("host", h.Name, role, string(h.ID))
	}
	return m, nil
}

// Now implements [Stage]; so do the others.
func (m *Model) Now() time.Duration { return m.World.Now() }

// Run lets time pass.
func (m *Model) Run(until time.Duration) bool { return m.World.Run(until) }

// Until lets time pass until something holds.
func (m *Model) Until(patience time.Duration, holds func() bool) bool {
	return m.World.Until(patience, holds)
}

// At has something done at a time.
func (m *Model) At(at time.Duration, do func()) { m.World.At(at, do) }

// Stream returns the stream of draws of a name.
func (m *Model) Stream(name string) *sim.Stream { return m.World.Stream(name) }

// SpanMost says that time costs nothing.
func (m *Model) SpanMost() time.Duration { return 0 }

// Hosts are all hosts.
func (m *Model) Hosts() []Host {
	hosts := make([]Host, 0, len(m.World.Hosts))
	for _, h := range m.World.Hosts {
		hosts = append(hosts, Host{Name: h.Name, Manager: h.Manager, Running: h.Running(), Paused: h.Running() && !h.Up()})
	}
	return hosts
}

// Leader is the host that leads.
func (m *Model) Leader() string {
	if h := m.World.Leader(); h != nil {
		return h.Name
	}
	return ""
}

// Quiet reports whether nothing is under way.
func (m *Model) Quiet() bool { return m.World.Quiet() }

// Changes counts what may have changed the view.
func (m *Model) Changes() uint64 { return m.changes }

// OnChange has a function called after each change.
func (m *Model) OnChange(look func()) { m.looks = append(m.looks, look) }

// View is the replicated state after the last entry that any host applied, and
// the containers that run.
func (m *Model) View() *View {
	if m.view != nil && m.viewed == m.changes {
		return m.view
	}
	v := &View{Writes: m.writes, Elections: m.elections, Starts: m.starts}
	last := m.view
	if last == nil {
		last = v
	}
	if d := m.Checker.View(); d == m.drafted {
		v.Services, v.Nodes, v.Tasks, v.Networks = last.Services, last.Nodes, last.Tasks, last.Networks
	} else {
		m.drafted = d
		v.look(d, last)
	}
	v.Containers = make([]Container, 0, len(last.Containers)+1)
	for _, h := range m.World.Hosts {
		for c := range h.Live() {
			v.Containers = append(v.Containers, Container{Task: c.Task, Service: c.Service, Host: h.Name, Image: c.Image})
		}
	}
	m.view, m.viewed = v, m.changes
	return v
}

// changed notes that the view may have changed, and plans the looks.
func (m *Model) changed() {
	m.changes++
	if m.pending || len(m.looks) == 0 {
		return
	}
	m.pending = true
	m.World.At(m.World.Now(), func() {
		m.pending = false
		for _, look := range m.looks {
			look()
		}
	})
}

// Call makes an API call on a host.
func (m *Model) Call(host string, call control.Call, done func(control.Answer)) {
	m.World.Call(m.World.Host(host), call, done)
}

// StartClients lets clients loose, once in a run.
func (m *Model) StartClients(c sim.ClientsConfig) error {
	if m.history.Clients != nil {
		return errors.New("there are clients already: one history is kept of a run; ask for more of them in one line")
	}
	m.history.Clients = m.World.StartClients(c)
	return nil
}

// Linearizable judges what the clients did and heard.
func (m *Model) Linearizable() error {
	if m.history.Clients == nil {
		return errors.New("there were no clients; add a line such as: clients 3 for 30s")
	}
	m.World.Until(2*time.Minute, func() bool { return m.history.Clients.Waiting() == 0 })
	m.history.AtRest(m.Checker) // which says itself what is wrong
	return nil
}

// core is all hosts but those that are broken, or nil if none is.
func (m *Model) core(broken func(*sim.Host) bool) []*sim.Host {
	var core []*sim.Host
	for _, h := range m.World.Hosts {
		if !broken(h) {
			core = append(core, h)
		}
	}
	if len(core) == len(m.World.Hosts) {
		return nil
	}
	return core
}

// Rest waits until nothing has changed for a while and looks. Hosts that do not
// run, or do not hear the leader, count as broken.
func (m *Model) Rest(patience time.Duration, broken []string) error {
	w := m.World
	since, seen := w.Now(), m.changes
	still := func() bool {
		if m.changes != seen || w.Leader() == nil || m.updating() {
			since, seen = w.Now(), m.changes
		}
		return w.Now()-since >= restLeast && w.Quiet()
	}
	if !w.Until(patience, still) && w.Now()-since < restLeast && len(w.Violations()) == 0 {
		return fmt.Errorf("after %v the swarm is not at rest", patience)
	}
	if len(w.Violations()) > 0 {
		return nil
	}
	leader := w.Leader()
	gone := named(m.Hosts(), func(h Host) bool {
		host := w.Host(h.Name)
		_, there := w.Sound(leader, host)
		_, back := w.Sound(host, leader)
		return !h.Running || h.Paused || !there || !back
	})
	m.Checker.Core = m.core(isOneOf(append(gone, broken...)))
	m.Checker.AtRest()
	m.Checker.Core = nil
	return nil
}

// updating reports whether an update of some service is under way.
func (m *Model) updating() bool {
	return slices.ContainsFunc(m.View().Services, func(s Service) bool {
		return s.Update == swarm.UpdateStateUpdating || s.Update == swarm.UpdateStateRollbackStarted
	})
}

func isOneOf(names []string) func(*sim.Host) bool {
	return func(h *sim.Host) bool { return slices.Contains(names, h.Name) }
}

// Settle heals a core, and has every oracle look at it.
func (m *Model) Settle(patience time.Duration, broken []string) error {
	check.Settle(m.Checker, m.core(isOneOf(broken)), patience)
	m.changed()
	return nil
}

// Note writes a line into the trace.
func (m *Model) Note(words ...string) { m.World.Note(words...) }

// Violate says that a sentence was broken.
func (m *Model) Violate(sentence, format string, args ...any) {
	m.World.Violate(sentence, format, args...)
}

// Violations are the sentences that were broken.
func (m *Model) Violations() []sim.Violation { return m.World.Violations() }

// Probes are the rare things that happened.
func (m *Model) Probes() map[string]uint64 { return m.World.Probes() }

// Probe notes that a rare thing happened.
func (m *Model) Probe(name string) { m.World.Probe(name) }

// A modelObserver counts what may change the view.
type modelObserver Model

// Stepped implements [sim.Observer].
func (o *modelObserver) Stepped(_ *sim.Host, event engine.Event, _ engine.Step) {
	m := (*Model)(o)
	switch e := event.(type) {
	case engine.Committed:
		if e.Index <= m.committed { // another host applied it before
			return
		}
		m.committed = e.Index
		if len(e.Entry.Changes) > 0 {
			m.writes++
		}
		m.changed()
	case engine.Restored, engine.Started, engine.Elected, engine.Deposed, engine.LeaderChanged:
		m.changed()
	default:
	}
}

// Died implements [sim.DaemonObserver].
func (o *modelObserver) Died(*sim.Host) { (*Model)(o).changed() }

// Ran implements [sim.ContainerObserver].
func (o *modelObserver) Ran(c *sim.Container) {
	o.starts[c.Service]++
	(*Model)(o).changed()
}

// Ended implements [sim.ContainerObserver].
func (o *modelObserver) Ended(*sim.Container) { (*Model)(o).changed() }

// Voted implements [sim.LogObserver].
func (o *modelObserver) Voted(sim.Vote) {}

// Won implements [sim.LogObserver].
func (o *modelObserver) Won(sim.Election) {
	o.elections++
	(*Model)(o).changed()
}
