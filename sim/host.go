package sim

import (
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// forwardPatience is how long a manager waits for what the leader says to a call
// that it passed on.
const forwardPatience = 10 * time.Second

// A Host is one machine of the swarm.
type Host struct {
	Number  int
	Name    string
	ID      state.NodeID
	Manager bool

	w        *World
	config   HostConfig
	identity engine.Identity // on its disk
	sealed   engine.Lock     // what the rest of its disk is encrypted with
	locked   bool            // and that is not known
	cert     certificate     // on its disk
	roster   membership.Roster
	managers []wire.Manager // on its disk
	joins    int
	clock    clock
	draws    *Stream

	engine   *engine.Node // nil: the daemon does not run, or runs in a sandbox
	life     uint64       // how often it was started
	upSince  int64
	paused   bool // stopped by a signal, or suspended
	parked   []engine.Event
	due      int64 // when the engine wants to be woken, 0 for never
	requests map[engine.RequestID]func(control.Answer)
	replica  *replica // nil on workers, and where managers run in sandboxes
	box      *box     // nil unless the daemon runs in a sandbox
	disk     *disk    // nil unless managers run in sandboxes
	shadow   *shadow  // as disk
	machine  *machine
	kernel   kernel
	woken    func()
}

func newHost(w *World, number int, c HostConfig, id state.NodeID) *Host {
	h := &Host{
		Number: number, Name: c.Name, ID: id, Manager: c.Manager, w: w, config: c,
		clock: clock{rate: 1}, draws: newStream(w.seed, "host/"+c.Name),
		requests: map[engine.RequestID]func(control.Answer){},
	}
	h.machine = newMachine(h)
	h.woken = h.wake
	return h
}

// ip is the host's address in the simulated network.
func (h *Host) ip() string { return fmt.Sprintf("10.77.%d.%d", h.Number/250, h.Number%250+1) }

func (h *Host) addr() string { return h.ip() + ":2377" }

func (h *Host) description() swarm.NodeDescription {
	c := h.config
	platform := c.Platform
	if platform == (swarm.Platform{}) {
		platform = swarm.Platform{Architecture: "x86_64", OS: "linux"}
	}
	cpus, memory := int64(c.CPUs), c.MemoryBytes
	if cpus == 0 {
		cpus = 4
	}
	if memory == 0 {
		memory = 8 << 30
	}
	return swarm.NodeDescription{
		Hostname: h.Name, Platform: platform,
		Resources: swarm.Resources{NanoCPUs: cpus * 1e9, MemoryBytes: memory, GenericResources: c.Generic},
		Engine:    swarm.EngineDescription{EngineVersion: "sim", Labels: c.EngineLabels},
	}
}

// Up reports whether the host's daemon runs and is not paused.
func (h *Host) Up() bool { return h.Running() && !h.paused }

// Running reports whether the host's daemon runs, paused or not.
func (h *Host) Running() bool { return h.engine != nil || h.box != nil }

// Store is the replicated state as this manager has it; nil if its daemon does
// not run. It must not be changed.
func (h *Host) Store() *state.Store {
	switch {
	case h.box != nil:
		return h.box.store
	case h.engine != nil:
		return h.engine.Store()
	default:
		return nil
	}
}

// AddressesDiffer is [engine.Node.AddressesDiffer], where the daemon runs in this
// process.
func (h *Host) AddressesDiffer() string {
	if h.engine == nil {
		return ""
	}
	return h.engine.AddressesDiffer()
}

// Start starts the host's daemon, if it does not run.
func (h *Host) Start() {
	if h.Running() {
		return
	}
	h.life++
	h.clock.thaw(h.w.now) // a machine that slept was switched off and on
	h.roster = membership.Roster{}
	h.due, h.upSince = 0, h.w.now
	h.kernel.applying, h.kernel.planned = nil, h.kernel.written
	h.locked = h.identity.Manager && h.sealed.Key != nil
	if h.boxed() {
		h.startBox()
	} else {
		h.startEngine()
	}
	h.showCertificate()
	h.machine.survey(h.draws.Between(time.Millisecond, 50*time.Millisecond))
	h.w.log.reconsider()
}

// startEngine begins a life of the daemon in this process.
func (h *Host) startEngine() {
	h.engine = &engine.Node{}
	h.step(engine.Started{
		Identity:    h.identity,
		Locked:      h.locked,
		Managers:    h.managers,
		Seed:        seedOf(newStream(h.w.seed, fmt.Sprintf("engine/%s/%d", h.Name, h.life))),
		Description: h.description(),
		Offset:      h.clock.offset,
		Mesh:        true,
	})
	if h.replica != nil && !h.locked {
		h.replica.restart()
	}
}

// Kill ends the daemon at once, as kill -9 does. Containers live on.
func (h *Host) Kill() {
	if !h.Running() {
		return
	}
	h.note("killed")
	if h.box != nil {
		h.box.end()
	}
	h.engine, h.box = nil, nil
	h.life++ // what was on its way to the daemon finds nobody
	h.paused, h.parked = false, nil
	h.requests = map[engine.RequestID]func(control.Answer){}
	if h.replica != nil {
		h.replica.crash()
	}
	h.w.log.reconsider()
}

// PowerOff is a power cut: the daemon ends, and so do its containers.
func (h *Host) PowerOff() {
	h.note("powered-off")
	h.Kill()
	if h.disk != nil {
		h.disk.cut()
		h.life++ // nobody starts the daemon again
	}
	h.machine.powerOff()
	h.kernel = kernel{}
}

// Pause stops the daemon as SIGSTOP does: it takes nothing in until it goes on.
func (h *Host) Pause() {
	if h.Running() && !h.paused {
		h.note("paused")
		h.paused = true
		h.w.log.reconsider()
	}
}

// Resume lets a paused daemon go on, with all that has come meanwhile; not one
// whose machine is suspended.
func (h *Host) Resume() {
	if !h.paused || h.clock.frozen {
		return
	}
	h.note("resumed")
	h.paused, h.upSince = false, h.w.now
	parked := h.parked
	h.parked = nil
	for _, e := range parked {
		h.step(e)
	}
	h.wake()
	if h.box != nil {
		h.box.run()
	}
	h.w.log.reconsider()
}

// note writes into the trace what really happens to the host.
func (h *Host) note(words ...string) { h.w.trace.say(h.w.now, h.Name, "#", words...) }

// SetWall moves the wall clock by so much, forward or backward.
func (h *Host) SetWall(by time.Duration) {
	h.clock.offset += by
	h.adjusted()
}

// SetDrift makes the host's clocks run faster (or slower) by so many parts in a
// million.
func (h *Host) SetDrift(ppm int) {
	h.clock.setRate(h.w.now, 1+float64(ppm)/1e6)
	h.rearm()
}

// Suspend stops the machine as a hypervisor does: nothing runs, the monotonic
// clock stands still, the wall clock goes on.
func (h *Host) Suspend() {
	h.clock.freeze(h.w.now)
	h.Pause()
}

// Wakeup ends a suspension.
func (h *Host) Wakeup() {
	slept := h.clock.frozen
	h.clock.thaw(h.w.now)
	h.Resume()
	if slept {
		h.adjusted()
	}
}

// adjusted tells the engine that the wall clock was set. A driver sees that itself.
func (h *Host) adjusted() {
	if h.box == nil {
		h.take(engine.ClockAdjusted{Offset: h.clock.offset})
	}
}

// take hands an event to the daemon, if it runs.
func (h *Host) take(e engine.Event) {
	switch {
	case h.box != nil:
		h.box.take(e)
	case h.engine == nil:
	case h.paused:
		h.parked = append(h.parked, e)
	default:
		h.step(e)
	}
}

// later hands an event to this run of the daemon when so much time has passed.
func (h *Host) later(d time.Duration, e engine.Event) {
	life := h.life
	h.w.after(d, func() {
		if h.life == life {
			h.take(e)
		}
	})
}

func (h *Host) step(e engine.Event) {
	w := h.w
	s := h.engine.Step(h.clock.now(w.now), e)
	h.stepped(e, s)
	h.due = 0
	if !s.Wake.IsZero() {
		h.due = max(1, h.clock.when(s.Wake, w.now))
		w.timeline.add(h.due, h.woken)
	}
	life := h.life
	for _, f := range s.Effects {
		if h.life != life { // an effect has ended the daemon
			return
		}
		h.perform(f)
	}
}

// stepped tells everybody of a step.
func (h *Host) stepped(e engine.Event, s engine.Step) {
	w := h.w
	w.steps++
	w.trace.event(w.now, h.Name, e)
	for _, f := range s.Effects {
		w.trace.effect(w.now, h.Name, f)
	}
	for _, o := range w.observers {
		o.Stepped(h, e, s)
	}
}

// rearm plans the engine's next waking anew after its clock was changed.
func (h *Host) rearm() {
	switch {
	case h.box != nil:
		h.box.plan()
	case h.engine != nil:
		h.take(engine.Woken{})
	}
}

func (h *Host) wake() {
	if h.due != 0 && h.w.now >= h.due && h.engine != nil && !h.paused {
		h.due = 0
		h.step(engine.Woken{})
	}
}

// busy reports whether something is under way on the host.
func (h *Host) busy() bool { return h.Running() && (h.machine.orders > 0 || len(h.requests) > 0) }

// perform carries out what the engine wants.
func (h *Host) perform(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.Reply:
		if done := h.requests[f.Request]; done != nil {
			delete(h.requests, f.Request)
			done(f.Answer)
		}
	case engine.Forward:
		h.forward(f)
	case engine.Publish: // observers have seen it
	case engine.Propose:
		h.replica.propose(f.Entry)
	case engine.Verify:
		h.replica.verify(f.ID)
	case engine.Send:
		h.send(f)
	case engine.ApplyNetwork:
		h.applyNetwork(f.Plan)
	case engine.Leave:
		h.leave()
	case engine.Join:
		h.join(f)
	case engine.ChangeRole:
		h.changeRole(f)
	case engine.ChangeVoter:
		h.replica.configure(f.Change)
	case engine.Reach:
		h.managers = f.Managers
	case engine.Lock:
		if f.Version > h.sealed.Version {
			h.sealed = f
		}
	case engine.Unlock:
		h.unlock(f)
	case engine.Trust:
		h.roster.Apply(f.Change)
	case engine.Renew:
		h.renew()
	case engine.MakeRoot:
		h.makeRoot(f)
	case engine.Refound:
		h.refound(f)
	case engine.CreateAuthority, engine.Bootstrap:
		h.w.Violate("the swarm is founded once", "%s wants %T", h.Name, effect)
	default:
		h.machine.perform(effect)
	}
}

func (h *Host) send(f engine.Send) {
	to := h.w.Host(string(f.To))
	if to == nil {
		return
	}
	data := wire.Append(nil, f.Message)
	h.w.carry(h, to, func() {
		if !to.Running() {
			return
		}
		message, err := wire.Decode(data)
		if err != nil {
			h.w.Violate("every message can be read", "from %s to %s: %v", h.Name, to.Name, err)
			return
		}
		if !to.hears(h, message) {
			return
		}
		to.take(engine.Received{From: h.ID, Message: message})
	})
}

// forward passes a call on to another host, and its answer back. Either may be
// lost; then the caller hears, when the patience is over, that nobody knows.
func (h *Host) forward(f engine.Forward) {
	life, answered := h.life, false
	answer := func(a control.Answer) {
		if !answered && h.life == life {
			answered = true
			h.take(engine.ForwardReturned{Request: f.Request, Answer: a})
		}
	}
	h.w.after(forwardPatience, func() { answer(control.Failed{Kind: control.Internal, Message: textLost}) })
	to := h.w.Host(string(f.To))
	sent := true // a request goes over a connection: it may be lost or late, but comes once
	h.w.carry(h, to, func() {
		if !to.Running() || !sent {
			return
		}
		sent = false
		if !to.roster.Judge(h.bearer()).Manager {
			answer(control.Failed{Kind: control.Internal, Message: textLost})
			return
		}
		h.w.requests++
		id := engine.RequestID(h.w.requests)
		h.w.origins[id] = h.w.Origin(f.Request)
		to.requests[id] = func(a control.Answer) {
			h.w.carry(to, h, func() { answer(a) })
		}
		to.take(engine.Called{Request: id, Call: f.Call, Forwarded: true})
	})
}

// textLost is what the caller is told of a call whose answer was lost.
const textLost = "rpc error: code = Unknown desc = the leader did not answer; the change may or may not take effect: look before you repeat it"
