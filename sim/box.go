package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/gate"
)

// monotonicOrigin is what a monotonic clock shows at the start of a run: never 0.
const monotonicOrigin = int64(time.Second)

// A box is a daemon that runs in a sandbox: the driver of production, with the log
// of production, on the host's disk. It is one life of the daemon.
//
// The process is let go on whenever something has come for it or its time has come,
// and does what it does in no time. What it tells meanwhile is taken in when it
// waits again, in order.
type box struct {
	h        *Host
	life     uint64
	draws    *Stream
	instance Instance

	inbox []byte
	read  int // so much of it has been taken
	told  [][]byte
	free  [][]byte

	running bool
	again   bool // something has come meanwhile
	wake    int64
	planned int64 // virtual time for which a waking is planned, 0 for none

	store   *state.Store // as the guest's engine has it
	posted  []engine.Event
	calls   map[engine.RequestID]engine.Called
	answers map[engine.RequestID]control.Answer

	leads    bool // its engine was told so
	term     uint64
	proposed int // proposals and questions that are out
	why      string
}

// boxed reports whether the host's daemon runs in a sandbox: managers do, and who
// may become one.
func (h *Host) boxed() bool {
	return h.program() != nil && (h.identity.Manager || h.config.Outside)
}

func (h *Host) program() Program {
	if h.config.Program != nil {
		return h.config.Program
	}
	return h.w.program
}

// Install has the host run the other program of its world from its next start on, or
// the usual one again. It reports whether there is another one.
func (h *Host) Install(other bool) bool {
	if h.w.other == nil {
		return false
	}
	h.config.Program = nil
	if other {
		h.config.Program = h.w.other
	}
	return true
}

// startBox begins a life of the daemon in a sandbox.
func (h *Host) startBox() {
	b := &box{
		h: h, life: h.life, draws: newStream(h.w.seed, fmt.Sprintf("process/%s/%d", h.Name, h.life)), wake: math.MaxInt64,
		store: state.NewStore(), calls: map[engine.RequestID]engine.Called{}, answers: map[engine.RequestID]control.Answer{},
	}
	h.box = b
	h.disk.reopen()
	boot := h.w.raft.boot(h)
	argument, err := json.Marshal(boot)
	if err != nil {
		h.w.Violate("a guest can be told of its swarm", "%s: %v", h.Name, err)
		return
	}
	b.instance = h.program().Start(b, string(argument))
	h.w.after(0, b.run) // what surrounds it is made first
}

// Monotonic implements [System]; so do the others.
func (b *box) Monotonic() int64 { return monotonicOrigin + b.h.clock.mono(b.h.w.now) }

// Wall is the time of day.
func (b *box) Wall() int64 {
	return epoch().UnixNano() + b.h.clock.mono(b.h.w.now) + int64(b.h.clock.offset)
}

// Random draws.
func (b *box) Random(p []byte) {
	for len(p) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], b.draws.Uint64())
		p = p[copy(p, word[:]):]
	}
}

// Read takes from the inbox.
func (b *box) Read(p []byte) int {
	n := copy(p, b.inbox[b.read:])
	b.read += n
	if b.read == len(b.inbox) {
		b.inbox, b.read = b.inbox[:0], 0
	}
	return n
}

// Waiting is how much is in the inbox.
func (b *box) Waiting() int { return len(b.inbox) - b.read }

// Tell keeps what the guest tells until it waits.
func (b *box) Tell(message []byte) {
	var kept []byte
	if n := len(b.free); n > 0 {
		kept, b.free = b.free[n-1][:0], b.free[:n-1]
	}
	b.told = append(b.told, append(kept, message...))
}

// Disk carries out a call of the guest's disk.
func (b *box) Disk(c DiskCall) (int64, bool) { return b.h.disk.call(c) }

// put puts a message into the inbox, and lets the process go on with it unless it
// is paused.
func (b *box) put(kind byte, parts ...[]byte) {
	size := 1
	for _, p := range parts {
		size += len(p)
	}
	b.inbox = binary.LittleEndian.AppendUint32(b.inbox, uint32(size))
	b.inbox = append(b.inbox, kind)
	for _, p := range parts {
		b.inbox = append(b.inbox, p...)
	}
	b.run()
}

// take puts an event into the inbox.
func (b *box) take(event engine.Event) {
	data, err := gate.AppendEvent(nil, event)
	if err != nil {
		b.h.w.Violate("every event can be told", "%s: %v", b.h.Name, err)
		return
	}
	switch e := event.(type) {
	case engine.Called:
		b.calls[e.Request] = e
	case engine.Joined, engine.RoleChanged, engine.Left, engine.Unlocked: // the guest says itself when it lets its engine know
	default:
		b.posted = append(b.posted, event)
	}
	b.put(gate.ToEvent, data)
}

// synced tells of a sync's end.
func (b *box) synced(ticket uint64, result gate.Errno) {
	b.put(gate.ToSynced, binary.LittleEndian.AppendUint64(nil, ticket), []byte{byte(result)})
}

// current reports whether this life of the daemon is the present one.
func (b *box) current() bool { return b.h.box == b && b.h.life == b.life }

// run lets the process go on until it waits, and takes in what it has told.
func (b *box) run() {
	if !b.current() || b.h.paused || b.instance == nil {
		return
	}
	if b.running {
		b.again = true
		return
	}
	b.running = true
	for b.again = true; b.again && b.current() && !b.h.paused && !b.h.w.stopped; {
		b.again = false
		wake, ended := b.instance.Run()
		b.wake = wake
		b.listen()
		if ended {
			b.over()
			break
		}
	}
	b.running = false
	if b.current() {
		b.plan()
	} else {
		b.instance.End()
	}
}

// plan has the process go on when its time has come.
func (b *box) plan() {
	w := b.h.w
	if b.wake == math.MaxInt64 || b.h.clock.frozen {
		b.planned = 0
		return
	}
	at := b.h.clock.when(epoch().Add(time.Duration(b.wake-monotonicOrigin)), w.now)
	if at == b.planned {
		return
	}
	b.planned = at
	w.timeline.add(at, func() {
		if b.planned == at && b.current() {
			b.planned = 0
			b.run()
		}
	})
}

// end is kill -9.
func (b *box) end() {
	if !b.running && b.instance != nil {
		b.instance.End()
	}
}

// over is a process that has ended by itself, or because its machine failed.
func (b *box) over() {
	if !b.current() {
		return
	}
	h, why := b.h, b.instance.Why()
	switch {
	case b.why != "": // it has said why
		h.w.Probe("daemon ended itself")
		h.note("ended-itself", strings.ReplaceAll(b.why, "\n", " "))
		h.Kill()
		h.supervise()
	case why != "":
		h.w.Violate("S16 nothing panics", "the daemon of %s has ended: %s", h.Name, why)
		h.Kill()
	case h.disk.cutAt != 0:
		h.PowerOff()
	default:
		h.Kill()
	}
	h.disk.cutAt, h.disk.killAt = 0, 0
	h.w.died(h)
}

// supervise has a daemon that has ended itself started again, as the system does
// whose service it is.
func (h *Host) supervise() {
	life := h.life
	h.w.after(h.draws.Between(time.Second, 2*time.Second), func() {
		if h.life == life {
			h.Start()
		}
	})
}

// listen takes in what the guest has told, in order.
func (b *box) listen() {
	for len(b.told) > 0 {
		told := b.told
		b.told = nil
		for _, message := range told {
			if b.current() {
				b.hear(message)
			}
		}
		for _, message := range told {
			if message[0] != gate.FromStep && message[0] != gate.FromRaft && len(b.free) < 16 {
				b.free = append(b.free, message)
			}
		}
	}
}

// hear takes in one message.
func (b *box) hear(message []byte) {
	h, body := b.h, message[1:]
	switch message[0] {
	case gate.FromRaft:
		to, frame := state.NodeID(body[1:1+body[0]]), body[1+body[0]:]
		h.w.raft.carry(h, to, frame)
	case gate.FromStep:
		b.stepped(body)
	case gate.FromAnswer:
		b.answered(engine.RequestID(binary.LittleEndian.Uint64(body)))
	case gate.FromSaved:
		b.saved(body)
	case gate.FromFailed:
		b.why = string(body)
	case gate.FromLine:
		h.w.trace.say(h.w.now, h.Name, "#", "log", strings.TrimSuffix(string(body), "\n"))
	default:
		h.w.raft.heard(h, message[0], body)
	}
}

// answered is a call whose caller has its answer.
func (b *box) answered(id engine.RequestID) {
	answer := b.answers[id]
	delete(b.answers, id)
	if done := b.h.requests[id]; done != nil {
		delete(b.h.requests, id)
		done(answer)
	}
}

// saved is an identity that is on disk: the node has joined, left, or has another
// role.
func (b *box) saved(body []byte) {
	h := b.h
	var id engine.Identity
	if err := json.Unmarshal(body, &id); err != nil {
		h.w.Violate("every message can be read", "of the guest of %s: %v", h.Name, err)
		return
	}
	h.identity, h.Manager = id, id.Manager
	if id.Node == "" {
		h.managers, h.sealed = nil, engine.Lock{}
		return
	}
	h.ID = id.Node
	h.w.raft.forget(h)
}

// stepped is a step of the guest's engine.
func (b *box) stepped(body []byte) {
	h, w := b.h, b.h.w
	s, err := gate.DecodeStep(body)
	if err != nil {
		w.Violate("every message can be read", "of the guest of %s: %v", h.Name, err)
		return
	}
	event := s.Event
	switch {
	case s.Posted && len(b.posted) == 0:
		w.Violate("an engine takes in what has happened", "%s has taken in more than was posted", h.Name)
		return
	case s.Posted:
		event, b.posted = b.posted[0], b.posted[1:]
	case s.Called != 0:
		id := engine.RequestID(s.Called)
		event = b.calls[id]
		delete(b.calls, id)
	}
	b.apply(event)
	step := engine.Step{Effects: s.Effects}
	if s.Wake != 0 {
		step.Wake = time.Unix(0, s.Wake)
	}
	h.stepped(event, step)
	for _, f := range s.Effects {
		if !b.current() {
			return
		}
		b.perform(f)
	}
}

// apply does to the host's copy of the store what the event did to the guest's, and
// notes what the log is to the engine.
func (b *box) apply(event engine.Event) {
	if e, ok := event.(engine.Committed); ok {
		changes := e.Entry.Changes
		if e.Entry.Base != b.store.Index() {
			changes = nil
		}
		b.store.Apply(e.Index, changes)
		if b.leads && e.Entry.Proposal.Term == b.term {
			b.proposed--
		}
	}
	if e, ok := event.(engine.Restored); ok {
		b.store = e.Store
	}
	if _, ok := event.(engine.Verified); ok {
		b.proposed--
	}
	if e, ok := event.(engine.Elected); ok {
		b.leads, b.term, b.proposed = true, e.Term, 0
	}
	if _, ok := event.(engine.Deposed); ok {
		b.leads, b.proposed = false, 0
	}
	b.h.w.raft.stepped(b, event)
}

// perform carries out an effect that is the host's to carry out.
func (b *box) perform(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.Reply:
		b.answers[f.Request] = f.Answer
	case engine.Propose, engine.Verify:
		b.proposed++
	case engine.ChangeVoter, engine.Leave: // are done in the box
	default:
		b.h.perform(f)
	}
}
