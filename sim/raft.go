package sim

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// Times of the modelled raft; each is drawn between its bounds where there are two.
const (
	electionLeast = time.Second // without a leader for so long a manager stands for election
	electionMost  = 2 * time.Second
	leaseMost     = time.Second // a leader without a quorum steps down within
	syncLeast     = 200 * time.Microsecond
	syncMost      = 4 * time.Millisecond
	batchMax      = 512 // entries that one append carries
)

// A raftModel is the replicated log of all managers. It does what raft may do
// (commit what a leader proposed that has since been deposed, lose it, have two
// managers believe that they lead) and nothing that raft may not; it has no
// heartbeats, so that a quiet swarm costs nothing: whatever changes who reaches
// whom has it look again.
type raftModel struct {
	w         *World
	draws     *Stream
	replicas  []*replica
	threshold int // entries after which a replica takes a snapshot
	pending   bool
}

// An entry of a log. data is nil for those that are the log's own.
type logEntry struct {
	term uint64
	data []byte
}

// A replica is one manager's part of the log. The first group of fields is on
// its disk.
type replica struct {
	h     *Host
	id    state.NodeID // by which the log's configuration knows it
	gone  bool         // its host has forgotten it; others wait for it in vain
	model *raftModel

	promised  uint64     // the newest term that it has voted in or heard of
	base      uint64     // index of the last entry that the snapshot covers
	baseTerm  uint64     // that entry's term
	snapshot  []byte     // nil: none
	entries   []logEntry // from base+1
	votes     bool       // in the log's configuration; without, it is only sent the log
	slowDisk  time.Duration
	stuckDisk bool

	diskChanged int64 // when either was last set

	leads     bool
	term      uint64 // the term that it leads
	elected   bool   // Elected was posted
	barrier   uint64 // the entry with which its term began
	commit    uint64
	delivered uint64
	leader    state.NodeID // told last
	match     []uint64     // by host, while it leads
	sent      []uint64
	questions []engine.VerifyID
	leaving   bool // a lease is running out
	standing  bool // an election timeout is running
}

func newRaftModel(w *World, threshold int) *raftModel {
	m := &raftModel{w: w, draws: newStream(w.seed, "raft"), threshold: threshold}
	if threshold == 0 {
		m.threshold = Pick(m.draws, []int{4, 16, 100, 1000, 10_000})
	}
	for _, h := range w.Hosts {
		if h.Manager {
			h.replica = &replica{h: h, id: h.ID, model: m, votes: true}
			m.replicas = append(m.replicas, h.replica)
		}
	}
	return m
}

// begin puts the first entry into every log.
func (m *raftModel) begin(e state.Entry) {
	data := e.Append(nil)
	for _, r := range m.replicas {
		r.promised = 1
		r.entries = []logEntry{{1, data}}
	}
}

// leading returns the host that leads the newest term and reaches a quorum.
func (m *raftModel) leading() *Host {
	var best *replica
	for _, r := range m.replicas {
		if r.leads && r.elected && r.h.Up() && (best == nil || r.term > best.term) {
			best = r
		}
	}
	if best == nil || !best.quorate() {
		return nil
	}
	return best.h
}

// quiet reports whether no proposal is under way.
func (m *raftModel) quiet() bool {
	for _, r := range m.replicas {
		if r.leads && (r.last() > r.commit || len(r.questions) > 0) {
			return false
		}
	}
	return true
}

// quorum is how many votes are enough.
func (m *raftModel) quorum() int {
	votes := 0
	for _, r := range m.replicas {
		if r.votes {
			votes++
		}
	}
	return votes/2 + 1
}

// reconsider looks anew at who can lead, once for all that changes at a moment.
func (m *raftModel) reconsider() {
	if m == nil || m.pending {
		return
	}
	m.pending = true
	m.w.after(0, func() {
		m.pending = false
		for _, r := range m.replicas {
			r.reconsider()
		}
	})
}

// last is the index of the replica's last entry.
func (r *replica) last() uint64 { return r.base + uint64(len(r.entries)) }

func (r *replica) termAt(index uint64) uint64 {
	switch {
	case index == r.base:
		return r.baseTerm
	case index > r.base && index <= r.last():
		return r.entries[index-r.base-1].term
	default:
		return 0
	}
}

// hears reports whether the replica and another reach each other.
func (r *replica) hears(o *replica) bool {
	return !o.gone && !r.gone && o.h.Up() && r.h.Up() && r.model.w.joined(r.h, o.h)
}

// quorate reports whether the replica reaches a quorum that would follow it.
func (r *replica) quorate() bool {
	n := 0
	for _, o := range r.model.replicas {
		if o.votes && r.hears(o) && o.promised <= r.term {
			n++
		}
	}
	return n >= r.model.quorum()
}

// reconsider starts the replica's timers where its situation calls for it.
func (r *replica) reconsider() {
	if !r.h.Up() {
		return
	}
	if r.leads {
		for _, o := range r.model.replicas {
			if o != r && r.hears(o) && o.promised > r.term { // somebody leads a newer term
				r.h.w.Probe("leader met a newer term")
				r.depose()
				r.stand()
				return
			}
		}
		if !r.quorate() {
			r.runOut()
			return
		}
		r.replicate()
		r.answer()
		return
	}
	r.stand()
}

// follows returns the leader that the replica hears, nil if there is none.
func (r *replica) follows() *replica {
	for _, o := range r.model.replicas {
		if o.leads && o.term >= r.promised && r.hears(o) {
			return o
		}
	}
	return nil
}

// runOut has a leader without a quorum step down before long.
func (r *replica) runOut() {
	if r.leaving {
		return
	}
	r.leaving = true
	life, term := r.h.life, r.term
	r.h.w.after(r.model.draws.Between(leaseMost/2, leaseMost), func() {
		if r.h.life != life {
			return
		}
		r.leaving = false
		if r.leads && r.term == term && r.h.Up() && !r.quorate() {
			r.h.w.Probe("leader's lease ran out")
			r.depose()
			r.stand()
		}
	})
}

// stand has a replica that hears no leader stand for election when its timeout
// is over.
func (r *replica) stand() {
	if r.standing || r.leads || !r.votes {
		return
	}
	if o := r.follows(); o != nil {
		if o.quorate() {
			return
		}
	}
	r.standing = true
	life := r.h.life
	r.h.w.after(r.model.draws.Between(electionLeast, electionMost), func() {
		if r.h.life != life {
			return
		}
		r.standing = false
		if !r.h.Up() || r.leads {
			return
		}
		if o := r.follows(); o != nil && o.quorate() {
			o.replicate()
			return
		}
		r.tell("")
		r.campaign()
	})
}

// campaign elects the replica if a quorum that it reaches has no newer log; if
// not, it waits for another to, or for things to change.
func (r *replica) campaign() {
	var voters []*replica
	term := r.promised
	reached := 0
	for _, o := range r.model.replicas {
		if !o.votes || !r.hears(o) {
			continue
		}
		reached++
		term = max(term, o.promised)
		if behind := r.compareLog(o); behind < 0 || o.leads && o != r && o.quorate() {
			continue
		}
		voters = append(voters, o)
	}
	if len(voters) < r.model.quorum() {
		if reached >= r.model.quorum() {
			r.stand()
		}
		return
	}
	r.h.w.Probe("manager elected")
	term++
	for _, o := range voters {
		if o.leads {
			o.depose()
		}
		for _, x := range r.h.w.logObservers {
			x.Voted(Vote{o.h, r.h, term, o.position(), r.position()})
		}
		o.promised = term
	}
	for _, x := range r.h.w.logObservers {
		e := Election{Leader: r.h, Term: term}
		for _, o := range voters {
			e.Voters = append(e.Voters, o.h)
		}
		x.Won(e)
	}
	r.leads, r.term, r.elected = true, term, false
	r.match = make([]uint64, len(r.h.w.Hosts))
	r.sent = make([]uint64, len(r.h.w.Hosts))
	r.entries = append(r.entries, logEntry{term, nil})
	r.barrier = r.last()
	r.tell(r.h.ID)
	r.h.w.Note("raft:", r.h.Name, "leads term", uitoa(term))
	r.persisted()
	r.replicate()
}

// compareLog says whether the replica's log is older than another's (-1), the
// same (0) or newer (1), in raft's order.
func (r *replica) compareLog(o *replica) int {
	a, b := r.termAt(r.last()), o.termAt(o.last())
	switch {
	case a != b && a < b, a == b && r.last() < o.last():
		return -1
	case a == b && r.last() == o.last():
		return 0
	default:
		return 1
	}
}

// depose ends a leadership.
func (r *replica) depose() {
	if !r.leads {
		return
	}
	r.leads = false
	r.questions = nil
	if r.elected {
		r.elected = false
		r.h.take(engine.Deposed{})
	}
}

// tell posts who leads, if that has changed.
func (r *replica) tell(leader state.NodeID) {
	if r.leader != leader {
		r.leader = leader
		r.h.take(engine.LeaderChanged{Leader: leader})
	}
}

// propose appends an entry to a leader's log. One that leads no more loses it:
// it has been, or is about to be, deposed.
func (r *replica) propose(e state.Entry) {
	if !r.leads {
		return
	}
	r.entries = append(r.entries, logEntry{r.term, e.Append(nil)})
	r.persisted()
	r.replicate()
}

// persisted counts the leader's own log once its disk has it.
func (r *replica) persisted() {
	index, term, life := r.last(), r.term, r.h.life
	r.h.w.after(r.syncTime(), func() {
		if r.h.life == life && r.leads && r.term == term && !r.stuckDisk {
			r.matched(r, index)
		}
	})
}

func (r *replica) syncTime() time.Duration {
	return r.model.draws.Between(syncLeast, syncMost) + r.slowDisk
}

// replicate sends every follower what it lacks.
func (r *replica) replicate() {
	for _, o := range r.model.replicas {
		if o == r || !r.hears(o) {
			continue
		}
		i := o.h.Number
		if r.sent[i] < r.last() || r.match[i] < r.last() || o.commit < r.commit || o.leader != r.h.ID {
			r.send(i, o)
		}
	}
}

// send takes entries, or the snapshot before them, to a follower. The follower's
// answer counts only if it comes back.
func (r *replica) send(i int, o *replica) {
	term, life, upto := r.term, r.h.life, min(r.last(), r.match[i]+batchMax)
	if upto == r.sent[i] && o.commit >= r.commit && o.leader == r.h.ID && r.match[i] < upto {
		return // on its way
	}
	r.sent[i] = upto
	w := r.h.w
	receiver := o.h.life
	w.after(r.model.delay(r.h, o.h)+o.syncTime(), func() {
		arrives := w.open(r.h, o.h)
		switch {
		case r.h.life != life || !r.leads || r.term != term:
			return
		case !arrives || o.stuckDisk || o.gone:
			r.sent[i] = min(r.sent[i], r.match[i])
			return
		case o.h.life != receiver || !o.h.Up():
			// It may have been written before the crash.
			if arrives && o.h.life != receiver && o.promised <= term && r.model.draws.Chance(0.5) {
				w.Probe("append survived a crash, unacknowledged")
				o.depose()
				o.accept(r, upto)
			}
			r.sent[i] = min(r.sent[i], r.match[i])
			return
		case o.promised > term:
			r.sent[i] = min(r.sent[i], r.match[i])
			r.model.reconsider()
			return
		}
		if o.leads {
			o.depose()
		}
		o.accept(r, upto)
		o.tell(r.h.ID)
		o.learn(min(r.commit, upto))
		if !w.open(o.h, r.h) {
			r.sent[i] = min(r.sent[i], r.match[i])
			return
		}
		w.after(r.model.delay(o.h, r.h), func() {
			switch {
			case r.h.life != life || !r.leads || r.term != term:
			case !r.h.Up(): // it asks again when it goes on
				r.sent[i] = min(r.sent[i], r.match[i])
			default:
				r.matched(o, upto)
			}
		})
	})
}

func (m *raftModel) delay(from, to *Host) time.Duration {
	l := m.w.linkOf(from.Number, to.Number)
	return l.path.Delay + m.draws.Exponential(l.path.Jitter)
}

// again has what is under way to a host, or from it, be sent once more: by now it
// may come sooner.
func (m *raftModel) again(h *Host) {
	if m == nil {
		return
	}
	for _, r := range m.replicas {
		for i, o := range m.replicas {
			if r.leads && o != r && (o.h == h || r.h == h) {
				r.sent[i] = min(r.sent[i], r.match[i])
			}
		}
	}
}

// accept makes the log up to an index that of the leader.
func (r *replica) accept(leader *replica, upto uint64) {
	r.promised = leader.term
	if upto <= r.base {
		return
	}
	if r.last() < leader.base || r.base < leader.base && r.termAt(leader.base) != leader.baseTerm {
		r.install(leader)
	}
	// Where two logs have the same entry they have the same before it.
	at := max(r.base, leader.base) + 1
	both := max(at, min(upto, r.last())+1) - at
	at += uint64(sort.Search(int(both), func(i int) bool { //nolint:gosec // an index of a slice
		return r.termAt(at+uint64(i)) != leader.termAt(at+uint64(i)) //nolint:gosec // as above
	}))
	if at > upto {
		return
	}
	if at <= r.last() {
		r.h.w.Probe("uncommitted entries overwritten")
		r.entries = r.entries[:at-r.base-1]
	}
	r.entries = append(r.entries, leader.entries[at-leader.base-1:upto-leader.base]...)
}

// install takes the leader's snapshot in place of the log.
func (r *replica) install(leader *replica) {
	r.h.w.Probe("snapshot installed")
	r.base, r.baseTerm, r.snapshot, r.entries = leader.base, leader.baseTerm, leader.snapshot, nil
	r.commit = max(r.commit, r.base)
	r.restore()
}

// restore hands the snapshot to the engine.
func (r *replica) restore() {
	if r.snapshot == nil || r.delivered >= r.base || !r.h.Running() {
		return
	}
	store, err := state.Restore(bytes.NewReader(r.snapshot))
	if err != nil {
		r.h.w.Violate("S11 a snapshot can be restored", "%s: %v", r.h.Name, err)
		return
	}
	r.delivered = r.base
	r.h.take(engine.Restored{Store: store})
}

// matched notes that a replica has all entries up to an index, and commits what
// a quorum has.
func (r *replica) matched(o *replica, index uint64) {
	i := o.h.Number
	r.match[i] = max(r.match[i], min(index, r.last()))
	var have []uint64
	for _, v := range r.model.replicas {
		if v.votes {
			have = append(have, r.match[v.h.Number])
		}
	}
	slices.Sort(have)
	commit := have[len(have)-r.model.quorum()]
	if commit > r.commit && r.termAt(commit) == r.term {
		r.learn(commit)
	}
	if r.leads {
		r.replicate()
	}
}

// learn delivers what is now known to be committed.
func (r *replica) learn(commit uint64) {
	r.commit = max(r.commit, min(commit, r.last()))
	life := r.h.life
	for r.delivered < r.commit && r.h.life == life {
		if r.delivered < r.base {
			r.restore()
			continue
		}
		r.delivered++
		e := r.entries[r.delivered-r.base-1]
		if e.data == nil {
			continue
		}
		entry, err := state.DecodeEntry(e.data)
		if err != nil {
			r.h.w.Violate("S4 every entry can be read", "%s: entry %d: %v", r.h.Name, r.delivered, err)
			return
		}
		r.h.take(engine.Committed{Index: r.delivered, Entry: entry})
	}
	if r.h.life != life {
		return
	}
	if r.leads && !r.elected && r.delivered >= r.barrier {
		r.elected = true
		r.h.take(engine.Elected{Term: r.term, Voters: r.model.members()})
	}
	r.compact()
}

// compact takes a snapshot when the log has grown long. A paused engine has not
// taken in what was delivered: it has nothing to show yet.
func (r *replica) compact() {
	if len(r.entries) < r.model.threshold || r.delivered-r.base < uint64(r.model.threshold) || !r.h.Up() {
		return
	}
	var b bytes.Buffer
	if _, err := r.h.Store().Freeze().WriteTo(&b); err != nil {
		r.h.w.Violate("S10 a snapshot can be written", "%s: %v", r.h.Name, err)
		return
	}
	r.h.w.Probe("snapshot taken")
	term := r.termAt(r.delivered)
	r.entries = slices.Clone(r.entries[r.delivered-r.base:])
	r.base, r.baseTerm, r.snapshot = r.delivered, term, b.Bytes()
}

// verify asks a quorum whether the replica still leads.
func (r *replica) verify(id engine.VerifyID) {
	if !r.leads {
		return // Deposed has answered
	}
	r.questions = append(r.questions, id)
	r.answer()
}

// answer asks what is to be verified of a quorum, if one is there.
func (r *replica) answer() {
	if len(r.questions) == 0 || !r.quorate() {
		return
	}
	asked := r.questions
	r.questions = nil
	life, term := r.h.life, r.term
	r.h.w.after(2*r.model.delay(r.h, r.h), func() {
		if r.h.life != life || !r.leads || r.term != term {
			return
		}
		if !r.quorate() {
			r.questions = append(asked, r.questions...)
			return
		}
		for _, id := range asked {
			r.h.take(engine.Verified{ID: id})
		}
	})
}

// crash forgets what is not on disk.
func (r *replica) crash() {
	r.leads, r.elected, r.leaving, r.standing = false, false, false, false
	r.commit, r.delivered, r.leader, r.questions = 0, 0, "", nil
}

// restart hands the engine what is on disk and known to be committed.
func (r *replica) restart() {
	r.commit = r.base
	r.restore()
}
