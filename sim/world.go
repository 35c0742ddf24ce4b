package sim

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Limits of a world.
const (
	HostsMax      = 1024
	ViolationsMax = 32 // more than that of one run tell nothing new
)

// Config is the shape of a swarm, and what its run is drawn from.
type Config struct {
	Seed  uint64
	Hosts []HostConfig // managers and workers; the first must be a manager
	// Images says how containers of an image behave; one that is not named runs
	// until it is stopped.
	Images map[string]Image
	// Trace, if set, gets the lines of the trace.
	Trace io.Writer
	// Heartbeat is the swarm's heartbeat period; 0 is Docker's.
	Heartbeat time.Duration
	// SnapshotEntries is after how many entries a manager takes a snapshot; 0
	// draws it for the run, and may draw as few as 4.
	SnapshotEntries int
	// TrailingEntries is how many entries before a snapshot are kept, and
	// SnapshotInterval how often, up to twice as long, a manager looks whether one is
	// due, where the log is real; 0 draws it.
	TrailingEntries  int
	SnapshotInterval time.Duration

	// Program, if set, is what managers run, each in a sandbox: the log is then real,
	// and not modelled.
	Program Program
	// Other, if set, is another program that managers may be made to run: see
	// [Host.Install].
	Other Program
	// Unguarded names guards of the log that are off, in a program that can do without.
	Unguarded []string
	// Verbose has what daemons in sandboxes log be a part of the trace.
	Verbose bool
}

// A HostConfig is one host of a swarm.
type HostConfig struct {
	Name         string
	Manager      bool
	Platform     swarm.Platform // the zero value is linux on x86_64
	CPUs         int            // 0 is 4
	MemoryBytes  int64          // 0 is 8 GiB
	NodeLabels   map[string]string
	EngineLabels map[string]string
	Generic      []swarm.GenericResource
	Availability swarm.NodeAvailability
	// Outside says that the host is no member when the run begins: it may join.
	Outside bool
	// Program, if set, is what this host runs, if it is or may be a manager.
	Program Program
}

// A World is a swarm in one thread: the engines of its hosts under simulated
// clocks, network, disks and container runtimes. It does nothing by itself:
// [World.Run] lets virtual time pass.
type World struct {
	Hosts []*Host

	seed               uint64
	now                int64
	timeline           timeline
	links              []link
	log                *raftModel // nil where managers run in sandboxes
	raft               *boxes     // nil where the log is modelled
	program, other     Program
	trace              *Trace
	images             map[string]Image
	cluster            state.ClusterID
	observers          []Observer
	containerObservers []ContainerObserver
	daemonObservers    []DaemonObserver
	logObservers       []LogObserver

	steps      uint64
	requests   uint64
	origins    map[engine.RequestID]engine.RequestID // of calls that were passed on
	violations []Violation
	probes     map[string]uint64
	stopped    bool
}

// An Observer watches a world. It must not change it.
type Observer interface {
	// Stepped comes after every step of every engine, before its effects are
	// carried out.
	Stepped(h *Host, event engine.Event, step engine.Step)
}

// A Violation is a sentence that was broken.
type Violation struct {
	At       time.Duration
	Sentence string // the number and name of the sentence, such as "S22 one live task per slot"
	Text     string
}

// New makes a swarm whose hosts are all members, and have just started.
func New(c Config) (*World, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	w := &World{
		seed: c.Seed, trace: newTrace(c.Trace), images: c.Images, probes: map[string]uint64{},
		origins: map[engine.RequestID]engine.RequestID{},
		links:   make([]link, len(c.Hosts)*len(c.Hosts)),
	}
	for i := range w.links {
		w.links[i].path = defaultPath()
	}
	mint := entropy.New(seedOf(newStream(c.Seed, "identities")))
	w.cluster = state.ClusterID(mint.ID())
	for i, hc := range c.Hosts {
		w.Hosts = append(w.Hosts, newHost(w, i, hc, state.NodeID(mint.ID())))
	}
	w.admitAll()
	if c.Program == nil {
		w.log = newRaftModel(w, c.SnapshotEntries)
	} else {
		w.program, w.other, w.raft = c.Program, c.Other, newBoxes(w, c)
	}
	w.found(c, mint)
	for _, h := range w.Hosts {
		h.Start()
	}
	return w, nil
}

func (c Config) check() error {
	if len(c.Hosts) == 0 || !c.Hosts[0].Manager || c.Hosts[0].Outside {
		return fmt.Errorf("a swarm needs a manager, and it comes first")
	}
	if len(c.Hosts) > HostsMax {
		return fmt.Errorf("a swarm of %d hosts is more than the %d that are simulated", len(c.Hosts), HostsMax)
	}
	names := map[string]bool{}
	for _, h := range c.Hosts {
		if h.Name == "" || names[h.Name] {
			return fmt.Errorf("every host needs a name of its own; %q is not", h.Name)
		}
		names[h.Name] = true
	}
	return nil
}

// admitAll makes the hosts members that are to be from the beginning.
func (w *World) admitAll() {
	var managers []wire.Manager
	for _, h := range w.Hosts {
		if h.config.Outside {
			h.Manager = false
			continue
		}
		h.identity = engine.Identity{Node: h.ID, Cluster: w.cluster, Addr: h.addr(), Manager: h.Manager}
		if h.Manager {
			managers = append(managers, wire.Manager{ID: h.ID, Addr: h.addr()})
		}
	}
	for _, h := range w.Hosts {
		if h.Member() {
			h.managers = managers
		}
	}
}

// found writes the swarm's first entry: itself, and its nodes.
func (w *World) found(c Config, mint *entropy.Source) {
	store := state.NewStore()
	d := store.Draft()
	founder := w.Hosts[0]
	spec := swarm.Spec{}
	spec.Dispatcher.HeartbeatPeriod = c.Heartbeat
	wall := state.Wall(epoch().UnixNano())
	control.Found(d, mint, wall, control.SwarmInit{AdvertiseAddr: founder.addr(), Spec: spec, Availability: founder.config.Availability}, control.Founder{
		Node: founder.ID, Cluster: w.cluster, Description: founder.description(),
		RootCert: []byte("simulated"), RootKey: []byte("simulated"), RootDigest: strings.Repeat("0", 50),
		NodeKey: founder.key(),
	})
	for _, h := range w.Hosts {
		if !h.Member() {
			continue
		}
		role := swarm.NodeRoleWorker
		if h.Manager {
			role = swarm.NodeRoleManager
		}
		availability := h.config.Availability
		if availability == "" {
			availability = swarm.NodeAvailabilityActive
		}
		node := &state.Node{
			ID: h.ID, Meta: state.Meta{Version: d.Version(), Created: wall, Updated: wall}, SpecVersion: d.Version(),
			Spec:        swarm.NodeSpec{Annotations: swarm.Annotations{Labels: h.config.NodeLabels}, Role: role, Availability: availability},
			Description: h.description(), Addr: h.ip(), State: state.NodeReady, Manager: h.Manager,
			Key: h.key(), Certificate: 1,
		}
		h.cert = certificate{membership.Certificate{Version: 1, From: wall, Until: wall.Add(certLifetime)}, h.Manager, w.now}
		if node.Spec.Labels == nil {
			node.Spec.Labels = map[string]string{}
		}
		if h.Manager {
			node.ManagerAddr = h.addr()
		}
		d.PutNode(node)
	}
	first := state.Entry{Base: 0, Changes: d.Changes()}
	if w.raft != nil {
		w.raft.first = [][]byte{first.Append(nil)}
		return
	}
	w.log.begin(first)
}

// Observe adds an observer. It may be a [ContainerObserver], a [DaemonObserver] and a
// [LogObserver] too.
func (w *World) Observe(o Observer) {
	w.observers = append(w.observers, o)
	if x, ok := o.(ContainerObserver); ok {
		w.containerObservers = append(w.containerObservers, x)
	}
	if x, ok := o.(DaemonObserver); ok {
		w.daemonObservers = append(w.daemonObservers, x)
	}
	if x, ok := o.(LogObserver); ok {
		w.logObservers = append(w.logObservers, x)
	}
}

// Now is the virtual time since the start.
func (w *World) Now() time.Duration { return time.Duration(w.now) }

// Steps is how many events engines have taken so far.
func (w *World) Steps() uint64 { return w.steps }

// Seed is what the run is drawn from.
func (w *World) Seed() uint64 { return w.seed }

// Stream returns the stream of draws of a name.
func (w *World) Stream(name string) *Stream { return newStream(w.seed, name) }

// Trace is what has happened so far.
func (w *World) Trace() *Trace { return w.trace }

// Host returns the host of a name, or of a node's ID; nil if there is none.
func (w *World) Host(name string) *Host {
	for _, h := range w.Hosts {
		if h.Name == name || string(h.ID) == name {
			return h
		}
	}
	return nil
}

// Leader returns the host that leads and can commit, nil if there is none.
func (w *World) Leader() *Host {
	if w.raft != nil {
		return w.raft.leading()
	}
	return w.log.leading()
}

// Close ends what still runs. The world must not be used after it.
func (w *World) Close() {
	for _, h := range w.Hosts {
		if h.box != nil {
			h.box.end()
			h.box = nil
		}
	}
}

// At has something done at a virtual time, which is not in the past.
func (w *World) At(at time.Duration, do func()) { w.timeline.add(max(int64(at), w.now), do) }

// after has something done when so much time has passed.
func (w *World) after(d time.Duration, do func()) { w.timeline.add(w.now+int64(d), do) }

// Run lets virtual time pass up to a moment. It ends early when a sentence was
// broken, and reports whether none was.
func (w *World) Run(until time.Duration) bool {
	defer w.caught()
	for len(w.timeline.heap) > 0 && !w.stopped {
		if w.timeline.heap[0].at > int64(until) {
			break
		}
		m := w.timeline.next()
		w.now = m.at
		m.do()
	}
	if !w.stopped {
		w.now = max(w.now, int64(until))
	}
	return !w.stopped
}

// Until lets time pass until something holds, and reports whether it came to
// hold before the patience was over. It looks after every moment.
func (w *World) Until(patience time.Duration, holds func() bool) bool {
	defer w.caught()
	until := w.now + int64(patience)
	for !w.stopped {
		if holds() {
			return true
		}
		if len(w.timeline.heap) == 0 || w.timeline.heap[0].at > until {
			w.now = max(w.now, until)
			return false
		}
		m := w.timeline.next()
		w.now = m.at
		m.do()
	}
	return false
}

// caught turns a panic of an engine, which is a broken invariant, into a
// violation.
func (w *World) caught() {
	if reason := recover(); reason != nil {
		w.Violate("S16 nothing panics", "%v\n%s", reason, debug.Stack())
	}
}

// Violate notes that a sentence was broken, and stops the run.
func (w *World) Violate(sentence, format string, args ...any) {
	w.stopped = true
	if len(w.violations) >= ViolationsMax {
		return
	}
	text := fmt.Sprintf(format, args...)
	first, _, _ := strings.Cut(text, "\n")
	w.trace.say(w.now, "-", "#", "violated:", sentence+":", first)
	w.violations = append(w.violations, Violation{time.Duration(w.now), sentence, text})
}

// Violations are the sentences that were broken.
func (w *World) Violations() []Violation { return w.violations }

// Probe notes that something rare has happened, so that a report can tell what
// never does.
func (w *World) Probe(name string) { w.probes[name]++ }

// Probes are the rare things that happened, with how often.
func (w *World) Probes() map[string]uint64 { return w.probes }

// Note writes a line into the trace: a command or a fault.
func (w *World) Note(words ...string) { w.trace.say(w.now, "-", "!", words...) }

// Call makes an API call on a host. done comes with the answer, at most once:
// never, if the host or its answer is lost. It returns the request's number.
func (w *World) Call(h *Host, call control.Call, done func(control.Answer)) engine.RequestID {
	w.requests++
	id := engine.RequestID(w.requests)
	if !h.Running() {
		return id
	}
	h.requests[id] = done
	h.take(engine.Called{Request: id, Call: call})
	return id
}

// Origin returns the number that a call had where it was made, if it has another
// since it was passed on to the leader.
func (w *World) Origin(id engine.RequestID) engine.RequestID {
	if first, ok := w.origins[id]; ok {
		return first
	}
	return id
}

// Quiet reports whether nothing is under way but what comes at its time: no
// proposal, no order to a container runtime, no call.
func (w *World) Quiet() bool {
	if w.raft != nil && !w.raft.quiet() || w.log != nil && !w.log.quiet() {
		return false
	}
	return !slices.ContainsFunc(w.Hosts, func(h *Host) bool { return h.busy() })
}

func seedOf(s *Stream) entropy.Seed {
	var seed entropy.Seed
	for i := range seed {
		seed[i] = byte(s.Uint64())
	}
	return seed
}

func callName(c control.Call) string { return strings.TrimPrefix(fmt.Sprintf("%T", c), "control.") }
func answerName(a control.Answer) string {
	if f, ok := a.(control.Failed); ok {
		return "failed: " + f.Message
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", a), "control.")
}
