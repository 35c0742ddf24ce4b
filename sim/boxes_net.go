package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/gate"
)

// Raft's frames go over connections, which send again what is lost: after a while,
// twice that, and so on. What is sent again in vain so often is given up.
const (
	resendAfter = 200 * time.Millisecond
	resendsMax  = 5
)

// What all frames of real/consensus begin with.
const (
	frameHeaderBytes = 34
	frameAppend      = 1
	frameVote        = 2
	frameSnapshot    = 4
	flagAnswer       = 1
	flagYes          = 4
)

// carry takes a frame to another manager.
func (r *boxes) carry(from *Host, id state.NodeID, frame []byte) {
	to := r.w.Host(string(id))
	if to == nil || to == from {
		return
	}
	if len(frame) >= frameHeaderBytes {
		r.watch(from, to, frame)
	}
	r.send(from, to, 0, func() {
		// A request may meet another life of the process: the connection was made
		// only now. An answer that does is recognised, as nobody waits for it.
		if to.box != nil {
			to.box.put(gate.ToRaft, []byte{byte(len(from.ID))}, []byte(from.ID), frame)
		}
	})
}

// send carries something over a connection.
func (r *boxes) send(from, to *Host, resends int, deliver func()) {
	l := r.w.linkOf(from.Number, to.Number)
	if !l.path.Cut && !l.draws.Chance(l.path.Loss) {
		r.w.carrySafely(from, to, deliver)
		return
	}
	if resends == resendsMax {
		r.w.Probe("message into a cut link")
		return
	}
	r.w.Probe("frame sent again")
	life := from.life
	r.w.after(resendAfter<<resends, func() {
		if from.life == life {
			r.send(from, to, resends+1, deliver)
		}
	})
}

// watch looks at a frame that is sent.
func (r *boxes) watch(from, to *Host, frame []byte) {
	kind, flags := frame[0], frame[1]
	term := binary.LittleEndian.Uint64(frame[10:])
	last := Position{Term: binary.LittleEndian.Uint64(frame[26:]), Index: binary.LittleEndian.Uint64(frame[18:])}
	answer := flags&flagAnswer != 0
	switch {
	case kind == frameVote && !answer:
		r.candidates[candidacy{from, term}] = last
	case kind == frameVote && flags&flagYes != 0:
		r.grants(from, to, term)
	case (kind == frameAppend || kind == frameSnapshot) && !answer:
		r.claims(from, term)
	}
	if !answer && (kind == frameVote || kind == frameSnapshot) {
		name := "vote-request"
		if kind == frameSnapshot {
			name = "snapshot"
		}
		r.w.trace.say(r.w.now, from.Name, ">", "raft", name, to.Name, uitoa(term), uitoa(last.Term), uitoa(last.Index))
	}
}

// grants is a vote that was given. One that is given again is no other one: by then
// the voter's log may have grown.
func (r *boxes) grants(voter, candidate *Host, term uint64) {
	c := candidacy{candidate, term}
	if slices.Contains(r.granted[c], voter) {
		return
	}
	r.granted[c] = append(r.granted[c], voter)
	r.w.trace.say(r.w.now, voter.Name, ">", "raft", "vote", candidate.Name, uitoa(term))
	for _, x := range r.w.logObservers {
		x.Voted(Vote{voter, candidate, term, voter.shadow.last(), r.candidates[c]})
	}
}

// claims is a manager that acts as the leader of a term.
func (r *boxes) claims(h *Host, term uint64) {
	switch other := r.leaders[term]; {
	case other == h:
		return
	case other != nil:
		r.w.Violate("S1 a term has one leader at most", "%s acts as the leader of term %d, which %s leads", h.Name, term, other.Name)
		return
	}
	r.leaders[term] = h
	r.w.Note("raft:", h.Name, "leads term", uitoa(term))
	voters := append([]*Host{h}, r.granted[candidacy{h, term}]...)
	if !r.unsure && len(r.voters) > 0 && len(voters) < r.quorum() {
		r.w.Violate("S9 who leads a term has been elected for it", "%s acts as the leader of term %d with %d of %d votes",
			h.Name, term, len(voters), len(r.voters))
	}
	for _, x := range r.w.logObservers {
		x.Voted(Vote{h, h, term, h.shadow.last(), h.shadow.last()})
		x.Won(Election{Leader: h, Term: term, Voters: voters})
	}
}
