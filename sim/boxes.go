package sim

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/gate"
)

// Boxes are the managers of a world in which each runs in a sandbox: what they
// have in common, and what is known of their logs from outside. That is what
// oracles look at: who voted for whom, and who leads, is read from the frames that
// pass; what a log has, is told when it is on disk.
type boxes struct {
	w     *World
	draws *Stream

	first    [][]byte // entries with which every log begins
	founders []state.NodeID
	tuning   gate.Boot // timing and snapshots, for all

	entries    map[position2]uint64 // hash of each entry that anybody ever had on disk
	candidates map[candidacy]Position
	granted    map[candidacy][]*Host
	leaders    map[uint64]*Host
	voters     []state.NodeID // of the log's configuration, as the last leader knew it
	unsure     bool           // a change of it is under way, or its outcome is not known
}

// A position2 names an entry: there is one of each index and term.
type position2 struct{ index, term uint64 }

// A candidacy is a manager that stands for a term.
type candidacy struct {
	who  *Host
	term uint64
}

// A shadow is what is known of a manager's log from outside.
type shadow struct {
	founded  bool // its beginning is on disk
	joins    bool // it is to be made empty, for a manager that joins
	term     uint64
	base     Position // of the newest snapshot
	from     uint64   // index of the first record
	records  []gate.Record
	reported uint64 // the last entry that the engine was handed
}

// Timing of simulated logs. Twice that of production, and followers learn ten times
// later that an entry is committed: three quarters of what a quiet swarm has to say
// are then not said.
const (
	boxHeartbeat = 2 * time.Second
	boxElection  = 2 * time.Second
	boxLease     = time.Second
	boxCommit    = 500 * time.Millisecond
	boxWrite     = 5 * time.Second
)

func newBoxes(w *World, c Config) *boxes {
	r := &boxes{
		w: w, draws: newStream(w.seed, "raft"), entries: map[position2]uint64{}, candidates: map[candidacy]Position{},
		granted: map[candidacy][]*Host{}, leaders: map[uint64]*Host{},
	}
	threshold := c.SnapshotEntries
	if threshold == 0 {
		threshold = Pick(r.draws, []int{4, 16, 100, 1000, 10_000})
	}
	r.tuning = gate.Boot{
		Heartbeat: boxHeartbeat, Election: boxElection, Lease: boxLease, Commit: boxCommit, Write: boxWrite,
		SnapshotEntries: uint64(threshold), TrailingEntries: Pick(r.draws, []uint64{1, 10, 100, 500}),
		SnapshotInterval: Pick(r.draws, []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}),
		SegmentBytes:     Pick(r.draws, []int64{1 << 10, 64 << 10, 16 << 20}),
		Unguarded:        c.Unguarded, Verbose: c.Verbose,
	}
	if c.TrailingEntries > 0 {
		r.tuning.TrailingEntries = uint64(c.TrailingEntries)
	}
	if c.SnapshotInterval > 0 {
		r.tuning.SnapshotInterval = c.SnapshotInterval
	}
	for _, h := range w.Hosts {
		h.disk, h.shadow = newDisk(h), &shadow{}
		if h.Manager {
			r.founders = append(r.founders, h.ID)
		}
	}
	r.voters = r.founders
	return r
}

// boot is what a guest is told when it begins.
func (r *boxes) boot(h *Host) gate.Boot {
	b := r.tuning
	b.Identity, b.Managers, b.Locked = h.identity, h.managers, h.locked
	b.Seed = seedOf(newStream(r.w.seed, "engine/"+h.Name+"/"+strconv.FormatUint(h.life, 10)))
	b.Description = h.description()
	switch {
	case h.shadow.joins:
		b.Joins = true
	case !h.shadow.founded && slices.Contains(r.founders, h.ID):
		b.Found = &gate.Found{Voters: r.founders, Entries: r.first}
	}
	h.shadow.reported = 0
	return b
}

// heard takes in what a guest tells of its log.
func (r *boxes) heard(h *Host, kind byte, body []byte) {
	s := h.shadow
	number := func() uint64 { return binary.LittleEndian.Uint64(body) }
	switch kind {
	case gate.FromFounded:
		s.founded = true
	case gate.FromOpened:
		s.founded, s.joins = true, false
		s.from, s.records = number(), gate.Records(body[8:])
	case gate.FromAppended:
		r.appended(h, number(), gate.Records(body[8:]))
	case gate.FromCut:
		s.cut(number())
	case gate.FromDropped:
		s.drop(number())
	case gate.FromTerm:
		s.term = number()
	case gate.FromSnapshot:
		s.base = Position{Term: binary.LittleEndian.Uint64(body[8:]), Index: number()}
		h.note("snapshot", uitoa(s.base.Index))
		r.w.Probe("snapshot taken")
	case gate.FromVote:
		if voted := r.w.Host(string(body[8:])); voted != nil {
			h.note("votes-for", voted.Name, uitoa(number()))
		}
	case gate.FromVoteFound:
		r.voteFound(h, number(), r.w.Host(string(body[8:])))
	default:
		r.w.Violate("every message can be read", "the guest of %s has sent one of kind %d", h.Name, kind)
	}
}

// voteFound is a vote that was found on disk at the start of a process: it must be
// one that was cast.
func (r *boxes) voteFound(h *Host, term uint64, candidate *Host) {
	if candidate == nil || candidate == h { // who has left, or itself, which tells nobody before it is on disk
		return
	}
	if _, stood := r.candidates[candidacy{candidate, term}]; !stood {
		r.w.Violate("S6 the vote on disk is one that was cast", "%s has a vote for %s in term %d on its disk, for which %s never stood",
			h.Name, candidate.Name, term, candidate.Name)
	}
}

// forget empties what is known of the log of a host that is made a member, or has
// another role.
func (r *boxes) forget(h *Host) { *h.shadow = shadow{founded: true} }

// appended takes in entries that are on disk.
func (r *boxes) appended(h *Host, first uint64, records []gate.Record) {
	const sentence = "S2 entries of the same index and term are the same"
	s := h.shadow
	if last := s.last(); len(s.records) > 0 && first <= last.Index {
		s.cut(first - 1)
	}
	if len(s.records) == 0 {
		s.from = first
	}
	s.records = append(s.records, records...)
	for i, e := range records {
		key := position2{first + uint64(i), e.Term}
		if hash, known := r.entries[key]; known && hash != e.Hash {
			r.w.Violate(sentence, "%s has another entry %d of term %d than there was", h.Name, key.index, key.term)
		}
		r.entries[key] = e.Hash
	}
}

func (s *shadow) cut(after uint64) {
	switch {
	case len(s.records) == 0:
	case after < s.from:
		s.records = nil
	default:
		s.records = s.records[:min(uint64(len(s.records)), after-s.from+1)]
	}
}

func (s *shadow) drop(before uint64) {
	if before <= s.from {
		return
	}
	n := min(uint64(len(s.records)), before-s.from)
	s.records, s.from = s.records[n:], s.from+n
}

// last is where the log ends.
func (s *shadow) last() Position {
	n := uint64(len(s.records))
	if n == 0 || s.from+n-1 < s.base.Index {
		return s.base
	}
	return Position{Term: s.records[n-1].Term, Index: s.from + n - 1}
}

func (s *shadow) termAt(index uint64) uint64 {
	switch {
	case index >= s.from && index-s.from < uint64(len(s.records)):
		return s.records[index-s.from].Term
	case index == s.base.Index:
		return s.base.Term
	default:
		return 0
	}
}

func (s *shadow) view() LogView {
	return LogView{Term: s.term, Base: s.base.Index, Last: s.last(), Commit: s.reported, Delivered: s.reported}
}

// stepped takes in what an engine was told of its log.
func (r *boxes) stepped(b *box, event engine.Event) {
	s := b.h.shadow
	if e, ok := event.(engine.Committed); ok {
		s.reported = max(s.reported, e.Index)
	}
	if e, ok := event.(engine.Restored); ok {
		s.reported = max(s.reported, e.Store.Index())
	}
	if e, ok := event.(engine.Elected); ok {
		r.voters, r.unsure = nil, false
		for _, m := range e.Voters {
			r.stands(m)
		}
		r.claims(b.h, e.Term)
	}
	if _, ok := event.(engine.Deposed); ok {
		r.unsure = true
	}
	if e, ok := event.(engine.VoterChanged); ok && e.Err == nil {
		r.stands(e.Member)
	}
}

// stands notes a member of the log's configuration.
func (r *boxes) stands(m membership.Member) {
	r.voters = slices.DeleteFunc(slices.Clone(r.voters), func(id state.NodeID) bool { return id == m.Node })
	if m.Standing == membership.Voter {
		r.voters = append(r.voters, m.Node)
	}
}

func (r *boxes) quorum() int { return len(r.voters)/2 + 1 }

// leading returns the host that leads the newest term and reaches a quorum.
func (r *boxes) leading() *Host {
	var best *Host
	for _, h := range r.w.Hosts {
		if h.box != nil && h.box.leads && h.Up() && (best == nil || h.box.term > best.box.term) {
			best = h
		}
	}
	if best == nil {
		return nil
	}
	reached := 0
	for _, h := range r.w.Hosts {
		if slices.Contains(r.voters, h.ID) && h.Up() && !h.locked && r.w.joined(best, h) && h.shadow.term <= best.box.term {
			reached++
		}
	}
	if reached < r.quorum() {
		return nil
	}
	return best
}

// quiet reports whether no proposal is under way.
func (r *boxes) quiet() bool {
	return !slices.ContainsFunc(r.w.Hosts, func(h *Host) bool { return h.box != nil && h.box.leads && h.box.proposed > 0 })
}
