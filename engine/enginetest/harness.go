package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A Harness plays the driver of one node, and the world around it: a log that
// commits what is proposed, a runtime that does as it is told, and a clock that
// moves when it is told. What its node asks for is answered at once, or, if of a
// sort that is held, when the test says so. It writes down every event and effect,
// and holds both sides to the contract. Make one with [NewHarness].
type Harness struct {
	others []membership.Member // in the log's configuration, beside the node itself
	Now    time.Time
	Names  Namer

	node     *engine.Node
	contract Contract
	identity engine.Identity
	boots    byte
	wake     time.Time
	held     map[string]bool
	owed     []engine.Effect // not answered, oldest first
	lines    []string
	shown    time.Time // the last time written down
	came     []string  // what the commit that is delivered comes to

	store      *state.Store // what the log comes to
	log        []engine.Committed
	term       uint64
	leading    bool
	containers map[state.TaskID]*agent.Found
	requests   engine.RequestID
	sent       map[state.NodeID]wire.Assign // the last to each node
	applied    map[state.Key]bool           // what any entry has written
	replies    []engine.Reply
	started    time.Time
	lock       engine.Lock // what the node's disk is encrypted with
	roots      int         // that were made
	offset     time.Duration
}

// The sorts of answers that [Harness.Hold] can hold back.
const (
	HoldLog     = "log"     // commits, elections, confirmations of leadership
	HoldRuntime = "runtime" // pulls, containers
	HoldNetwork = "network"
	HoldPeers   = "peers" // what another manager answers
)

// eventsMax bounds what one command may lead to: more is a loop.
const eventsMax = 100_000

// NewHarness returns a harness whose node has not started.
func NewHarness() *Harness {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	return &Harness{
		Now: at, started: at, shown: at, node: &engine.Node{}, held: map[string]bool{},
		store: state.NewStore(), containers: map[state.TaskID]*agent.Found{},
		sent: map[state.NodeID]wire.Assign{}, applied: map[state.Key]bool{},
	}
}

// Hold has answers of a sort wait for [Harness.Answer], or no longer.
func (h *Harness) Hold(sort string, on bool) {
	h.held[sort] = on
	h.settle()
}

// Start boots the node: with the identity that it saved, if it did, and with the
// log as far as it has committed.
func (h *Harness) Start() {
	h.boots++
	h.node, h.owed, h.leading = &engine.Node{}, nil, false
	h.report(h.contract.Faults())
	h.contract = Contract{}
	h.Step(engine.Started{
		Identity: h.identity, Locked: h.locked(), Seed: entropy.Seed{h.boots},
		Description: swarm.NodeDescription{
			Hostname: "host1", Platform: swarm.Platform{Architecture: "x86_64", OS: "linux"},
			Resources: swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30},
		},
	})
	if !h.locked() {
		h.replay()
	}
	h.settle()
}

// locked reports whether what the node has on disk takes a key.
func (h *Harness) locked() bool { return h.identity.Manager && h.lock.Key != nil }

// replay delivers the log as far as it has committed.
func (h *Harness) replay() {
	for _, c := range h.log {
		h.step(c, false)
	}
}

// UnlockKey is the key that the node's disk is encrypted with, as people see it.
func (h *Harness) UnlockKey() string {
	a, _ := control.Read(h.store.Draft(), "", "", control.SwarmUnlockKey{}).(control.UnlockKey)
	return a.Key
}

// Call makes an API call and returns what its reply will quote.
func (h *Harness) Call(c control.Call) engine.RequestID {
	h.requests++
	id := h.requests
	h.Step(engine.Called{Request: id, Call: c})
	return id
}

// CallForwarded makes an API call that another manager has passed on.
func (h *Harness) CallForwarded(c control.Call) engine.RequestID {
	h.requests++
	id := h.requests
	h.Step(engine.Called{Request: id, Call: c, Forwarded: true})
	return id
}

// Elect makes the node the leader of a new term. What an earlier one proposed and
// has not committed is lost: an election settles it.
func (h *Harness) Elect() {
	h.Lose()
	h.term++
	h.leading = true
	h.Step(engine.Elected{Term: h.term, Voters: h.voters()})
}

// Depose makes the node follow nobody. What it proposed stays owed: it may commit
// yet, or be lost.
func (h *Harness) Depose() {
	h.leading = false
	h.owed = slices.DeleteFunc(h.owed, func(e engine.Effect) bool { _, ok := e.(engine.Verify); return ok })
	h.Step(engine.Deposed{})
}

// Lead says that another node leads.
func (h *Harness) Lead(n state.NodeID) { h.Step(engine.LeaderChanged{Leader: n}) }

// Commit has another leader's changes committed, which may be none.
func (h *Harness) Commit(edit func(*state.Draft)) {
	d := h.store.Draft()
	edit(d)
	h.commit(state.Entry{Proposal: state.ProposalID{}, Base: d.Base(), Changes: d.Changes()})
	h.settle()
}

// Store is what the log has come to.
func (h *Harness) Store() *state.Store { return h.store }

// Assigned is what another node was last sent.
func (h *Harness) Assigned(to state.NodeID) wire.Assign { return h.sent[to] }

// Receive has the node hear from another.
func (h *Harness) Receive(from state.NodeID, m wire.Message) {
	h.Step(engine.Received{From: from, Message: m})
}

// Pass lets time pass, waking the node whenever it wants.
func (h *Harness) Pass(d time.Duration) {
	end := h.Now.Add(d)
	for n := 0; !h.wake.IsZero() && !h.wake.After(end); n++ {
		if n > eventsMax {
			h.line("fault: woken %d times before %s", n, h.wake.Sub(h.started))
			return
		}
		h.Now = later(h.Now, h.wake)
		h.Step(engine.Woken{})
	}
	h.Now = end
}

// Step gives the node an event, and then every answer that is not held.
func (h *Harness) Step(e engine.Event) {
	h.step(e, true)
	h.settle()
}

// Take returns what has happened since the last Take, one line each: events, and
// below each its effects.
func (h *Harness) Take() string {
	h.report(h.contract.Faults())
	out := strings.Join(h.lines, "\n")
	h.lines = nil
	return out
}

// Leading reports whether the node has been told that it leads.
func (h *Harness) Leading() bool { return h.leading }

// Replies are all that calls have been answered so far.
func (h *Harness) Replies() []engine.Reply { return h.replies }

// Written reports whether any entry of the log has written an object.
func (h *Harness) Written(k state.Key) bool { return h.applied[k] }

// Waiting are the kinds of the answers that are owed, oldest first, as
// [Harness.Answer] names them.
func (h *Harness) Waiting() []string {
	var kinds []string
	for _, e := range h.owed {
		kinds = append(kinds, kindOf(e))
	}
	return kinds
}

// Owed are the answers that the contract still waits for, by name.
func (h *Harness) Owed() map[string]int { return h.contract.Owed() }

// Faults returns where the contract was broken since the node last started.
func (h *Harness) Faults() []string { return h.contract.Faults() }

// Answer answers the oldest effect of a kind that is owed one, as the world does
// or, if err is not empty, with that error. It reports whether there was one.
func (h *Harness) Answer(kind, task, err string) bool {
	for i, e := range h.owed {
		if kindOf(e) != kind || task != "" && string(taskOf(e)) != task {
			continue
		}
		h.owed = slices.Delete(h.owed, i, i+1)
		h.perform(e, err)
		h.settle()
		return true
	}
	return false
}

// Lose forgets the proposals that are owed: they never commit.
func (h *Harness) Lose() {
	h.owed = slices.DeleteFunc(h.owed, func(e engine.Effect) bool { _, ok := e.(engine.Propose); return ok })
}

func (h *Harness) step(e engine.Event, show bool) {
	s := h.node.Step(h.Now, e)
	h.wake = s.Wake
	h.contract.Stepped(h.Now, e, s)
	if show && (!routine(e) || len(s.Effects) > 0) {
		h.event(e)
	}
	for _, f := range s.Effects {
		if show {
			h.lines = append(h.lines, "  "+h.Names.Effect(f))
		}
		switch f := f.(type) {
		case engine.Reply:
			h.replies = append(h.replies, f)
		case engine.Lock:
			if f.Version > h.lock.Version {
				h.lock = f
			}
		case engine.Send:
			if a, ok := f.Message.(wire.Assign); ok {
				h.sent[f.To] = a
			}
		default:
		}
		if kindOf(f) != "" {
			h.owed = append(h.owed, f)
		}
	}
}

// routine reports whether an event is worth a line only if something comes of it.
func routine(event engine.Event) bool {
	switch e := event.(type) {
	case engine.Woken:
		return true
	case engine.Received:
		_, beat := e.Message.(wire.Heartbeat)
		return beat
	default:
		return false
	}
}

// settle answers what is owed and not held, oldest first.
func (h *Harness) settle() {
	for n := 0; ; n++ {
		i := slices.IndexFunc(h.owed, func(e engine.Effect) bool { return !h.held[sortOf(e)] })
		if i < 0 {
			return
		}
		if n > eventsMax {
			h.line("fault: %d answers led to more questions", n)
			return
		}
		e := h.owed[i]
		h.owed = slices.Delete(h.owed, i, i+1)
		h.perform(e, "")
	}
}

// perform does what an effect asks for and says so.
func (h *Harness) perform(effect engine.Effect, text string) {
	var err error
	if text != "" {
		err = errors.New(text)
	}
	switch f := effect.(type) {
	case engine.Unlock:
		h.unlock(f, err)
	case engine.MakeRoot:
		h.makeRoot(f, text)
	case engine.Renew:
		if err == nil {
			h.Certify(h.store.Index(), 90*24*time.Hour, 0)
		}
		h.step(engine.Renewed{Err: err}, true)
	case engine.Refound:
		h.refound(f, err)
	case engine.CreateAuthority:
		h.step(engine.AuthorityCreated{Cluster: f.Cluster, Cert: []byte("cert"), Key: []byte("key"), Digest: strings.Repeat("d", 50), NodeDigest: bytes.Repeat([]byte{1}, 32), Err: err}, true)
	case engine.Bootstrap:
		h.identity = f.Identity
		h.term, h.leading = h.term+1, true
		h.step(engine.Elected{Term: h.term, Voters: h.voters()}, true)
	case engine.Join:
		h.join(f, err)
	case engine.ChangeRole:
		h.identity.Manager = f.Manager == (err == nil)
		h.step(engine.RoleChanged{Identity: h.identity, Err: err}, true)
	case engine.ChangeVoter:
		if err == nil {
			h.others = slices.DeleteFunc(h.others, func(m membership.Member) bool { return m.Node == f.Node })
			if f.Standing != membership.None {
				h.others = append(h.others, f.Member)
			}
		}
		h.step(engine.VoterChanged{Member: f.Member, Err: err}, true)
	case engine.Leave:
		h.identity, h.store, h.log, h.leading, h.lock = engine.Identity{}, state.NewStore(), nil, false, engine.Lock{}
		h.step(engine.Left{}, true)
	case engine.Propose:
		h.commit(f.Entry)
	case engine.Forward:
		var answer control.Answer = control.Done{}
		if err != nil {
			answer = control.Failed{Kind: control.Unavailable, Message: text}
		}
		h.step(engine.ForwardReturned{Request: f.Request, Answer: answer}, true)
	case engine.Verify:
		h.step(engine.Verified{ID: f.ID, Err: err}, true)
	case engine.ApplyNetwork:
		h.step(engine.NetworkApplied{Generation: f.Plan.Generation, Err: err}, true)
	default:
		h.contain(effect, err)
	}
}

// voters is the log's configuration: the node itself, and whom it was asked to
// let in.
func (h *Harness) voters() []membership.Member {
	return append([]membership.Member{{Node: h.identity.Node, Standing: membership.Voter}}, h.others...)
}

// join makes the node a worker, or a manager if it asked with a token that says so,
// of a swarm whose only manager is called leader.
func (h *Harness) join(f engine.Join, err error) {
	if err != nil {
		h.step(engine.Joined{Err: err}, true)
		return
	}
	h.identity = engine.Identity{Node: "joined", Cluster: "elsewhere", Addr: f.Addr}
	h.step(engine.Joined{Identity: h.identity, Managers: []wire.Manager{{ID: "leader", Addr: f.Remotes[0]}}}, true)
}

// Certify has the node have another certificate, of such an age, and good for so
// long from when it was issued.
func (h *Harness) Certify(version uint64, life, age time.Duration) {
	wall := state.Wall(h.Now.Add(h.offset - age).UnixNano())
	h.step(engine.Certified{Certificate: membership.Certificate{Version: version, From: wall, Until: wall.Add(life)}}, true)
	h.settle()
}

// Adjust moves the time of day.
func (h *Harness) Adjust(by time.Duration) {
	h.offset += by
	h.Step(engine.ClockAdjusted{Offset: h.offset})
}

// makeRoot makes a root, or looks at the one that is given: one with the key "key".
func (h *Harness) makeRoot(f engine.MakeRoot, refused string) {
	h.roots++
	root := control.Root{Cert: f.Root.Cert, Key: f.Root.Key}
	if len(root.Cert) == 0 {
		root = control.Root{Cert: fmt.Appendf(nil, "root%d", h.roots), Key: fmt.Appendf(nil, "key%d", h.roots)}
	}
	root.Digest = strings.Repeat(strconv.Itoa(h.roots%10), 50)
	root.Old, root.Cross = f.Root.OldCert, fmt.Appendf(nil, "%s by %s", root.Cert, f.Root.OldCert)
	made := engine.RootMade{Request: f.Request, Root: root}
	if refused != "" {
		made.Failed = &control.Failed{Kind: control.Invalid, Message: refused}
	}
	h.step(made, true)
}

// refound makes the log one of the node alone.
func (h *Harness) refound(f engine.Refound, err error) {
	if h.leading {
		h.leading = false
		h.step(engine.Deposed{}, true)
	}
	if err == nil {
		h.identity.Addr = f.Addr
		h.others = nil
	}
	h.step(engine.Refounded{Identity: h.identity, Err: err}, true)
	if err == nil {
		h.replay()
		h.term++
		h.leading = true
		h.step(engine.Elected{Term: h.term, Voters: h.voters()}, true)
	}
}

// unlock tries a key, and runs the log if it is the right one.
func (h *Harness) unlock(f engine.Unlock, err error) {
	if !bytes.Equal(f.Key, h.lock.Key) {
		err = errors.Join(err, errors.New("another key"))
	}
	h.step(engine.Unlocked{Err: err}, true)
	if err == nil {
		h.replay()
	}
}

// commit appends an entry to the log and delivers it.
func (h *Harness) commit(e state.Entry) {
	index := uint64(len(h.log)) + 1
	committed := engine.Committed{Index: index, Entry: e}
	h.log = append(h.log, committed)
	changes := e.Changes
	if e.Base != h.store.Index() {
		changes = nil
		h.came = append(h.came, "nothing: it was decided on another state")
	}
	for _, c := range changes {
		h.applied[c.Key] = true
	}
	delta := h.store.Apply(index, changes)
	h.came = append(h.came, h.Names.Delta(&delta)...)
	h.step(committed, true)
}

func (h *Harness) report(faults []string) {
	for _, f := range faults {
		h.line("fault: contract %s", f)
	}
}

func (h *Harness) line(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
