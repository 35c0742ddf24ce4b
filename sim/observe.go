package sim

import (
	"iter"
	"time"

	"github.com/swarmd/swarmd/sim/gate"
)

// A ContainerObserver is an [Observer] that is told of the processes of
// containers too, whether or not any daemon lives to hear of them.
type ContainerObserver interface {
	// Ran comes when a container's process has begun, Ended when it is over.
	Ran(c *Container)
	Ended(c *Container)
}

// A DaemonObserver is an [Observer] that is told of daemons that end though nobody
// has killed them: by themselves, or at a write to their disk.
type DaemonObserver interface {
	Died(h *Host)
}

// A LogObserver is an [Observer] that is told of the elections of the replicated
// log too.
type LogObserver interface {
	// Voted comes for every vote, before it counts; Won once a candidate has
	// enough of them.
	Voted(v Vote)
	Won(e Election)
}

// A Position is where a log ends, in raft's order: a newer term, or else a longer
// log, is newer.
type Position struct{ Term, Index uint64 }

// Before reports whether p is the end of an older log than o is.
func (p Position) Before(o Position) bool {
	return p.Term < o.Term || p.Term == o.Term && p.Index < o.Index
}

// A Vote is one manager's for another, or for itself.
type Vote struct {
	Voter, Candidate         *Host
	Term                     uint64
	VoterLast, CandidateLast Position
}

// An Election is one that was won.
type Election struct {
	Leader *Host
	Term   uint64
	Voters []*Host
}

// A LogView is a manager's part of the replicated log, as a value.
type LogView struct {
	Term      uint64 // the newest that it has voted in or heard of
	Base      uint64 // the last index that its snapshot covers
	Last      Position
	Commit    uint64 // the last index that it knows to be committed
	Delivered uint64 // the last that was handed to its engine
}

// Log is the manager's part of the replicated log; zero for a worker.
func (h *Host) Log() LogView {
	if h.shadow != nil {
		return h.shadow.view()
	}
	r := h.replica
	if r == nil {
		return LogView{}
	}
	return LogView{Term: r.promised, Base: r.base, Last: r.position(), Commit: r.commit, Delivered: r.delivered}
}

// LogTerm is the term of the entry at an index of the manager's log, 0 where it
// has none, or only its snapshot.
func (h *Host) LogTerm(index uint64) uint64 {
	switch {
	case h.shadow != nil:
		return h.shadow.termAt(index)
	case h.replica != nil:
		return h.replica.termAt(index)
	default:
		return 0
	}
}

func (r *replica) position() Position { return Position{r.termAt(r.last()), r.last()} }

// Life numbers the runs of the host's daemon.
func (h *Host) Life() uint64 { return h.life }

// UpSince is when the daemon last began, or went on, to take events in. It holds
// only while the host is [Host.Up].
func (h *Host) UpSince() time.Duration { return time.Duration(h.upSince) }

// SetDisk changes how long the manager's log takes to be written, beyond what is
// usual, and whether it is written at all. What waited is written once it is better.
func (h *Host) SetDisk(slow time.Duration, stuck bool) {
	if h.disk != nil {
		h.disk.set(slow, stuck)
		if slow == 0 && !stuck {
			h.SetDiskFault(DiskFault{})
		}
		return
	}
	r := h.replica
	if r == nil {
		return
	}
	better := r.stuckDisk && !stuck || slow < r.slowDisk
	r.slowDisk, r.stuckDisk, r.diskChanged = slow, stuck, h.w.now
	if better {
		h.w.log.again(h)
		if r.leads {
			r.persisted()
		}
	}
	h.w.log.reconsider()
}

// A DiskFault is what else may be wrong with a manager's disk, where its log is real.
type DiskFault struct {
	Full   bool // nothing more can be written
	Broken bool // every call that changes something fails
	Syncs  int  // so many syncs fail from now on
	// KillAt has the daemon killed, CutAt the power fail, in the middle of that write,
	// counted from now on; 0 is never.
	KillAt, CutAt int
}

// SetDiskFault has something be wrong with a manager's disk from now on, or nothing.
// It reports whether this world has disks.
func (h *Host) SetDiskFault(f DiskFault) bool {
	d := h.disk
	if d == nil {
		return false
	}
	d.full, d.broken, d.failing, d.changed = f.Full, f.Broken, f.Syncs, h.w.now
	d.killAt, d.cutAt = 0, 0
	if f.KillAt > 0 {
		d.killAt = d.ops + uint64(f.KillAt)
	}
	if f.CutAt > 0 {
		d.cutAt = d.ops + uint64(f.CutAt)
	}
	return true
}

// HandOver asks a manager's log, if it leads, to have another manager lead in its
// place. It reports whether this world's logs can be asked.
func (h *Host) HandOver(to *Host) bool {
	if h.w.raft == nil {
		return false
	}
	if h.box != nil {
		h.box.put(gate.ToHandOver, []byte(to.ID))
	}
	return true
}

// DiskWell reports whether the manager's log is written as fast as is usual, and
// since when; a worker has none.
func (h *Host) DiskWell() (since time.Duration, ok bool) {
	if h.disk != nil {
		return time.Duration(h.disk.changed), h.disk.well()
	}
	if h.replica == nil {
		return 0, true
	}
	return time.Duration(h.replica.diskChanged), h.replica.slowDisk == 0 && !h.replica.stuckDisk
}

// SetSteady has the host's clocks run true again, from now on.
func (h *Host) SetSteady() { h.SetDrift(0) }

// ClearMishaps has nothing go wrong any more in the host's container runtime.
func (h *Host) ClearMishaps() { h.machine.mishaps = Mishaps{} }

// Sound reports whether all messages from one host arrive at the other, and soon,
// and since when that is so.
func (w *World) Sound(from, to *Host) (since time.Duration, ok bool) {
	if from == to {
		return 0, true
	}
	l := w.linkOf(from.Number, to.Number)
	return time.Duration(l.changed), l.path.sound()
}

// soundDelayMost is the mean time under way beyond which a path is not sound.
const soundDelayMost = 100 * time.Millisecond

func (p *Path) sound() bool {
	return !p.Cut && !p.Clogged && p.Loss == 0 && p.Delay+p.Jitter <= soundDelayMost
}

// Heal makes the path from one host to another what it was at the start.
func (w *World) Heal(from, to *Host) {
	w.SetPath(from, to, func(p *Path) { *p = defaultPath() })
}

// died tells the observers.
func (w *World) died(h *Host) {
	for _, o := range w.daemonObservers {
		o.Died(h)
	}
}

// ran and ended tell the observers.
func (w *World) ran(c *Container) {
	for _, o := range w.containerObservers {
		o.Ran(c)
	}
}

func (w *World) ended(c *Container) {
	for _, o := range w.containerObservers {
		o.Ended(c)
	}
}

// Image says how containers of an image behave.
func (w *World) Image(name string) Image { return w.images[name] }

// Live yields the host's containers that run, by task.
func (h *Host) Live() iter.Seq[*Container] {
	return func(yield func(*Container) bool) {
		for _, c := range h.machine.order {
			if c.Running && !yield(c) {
				return
			}
		}
	}
}

// Busy reports whether the host's daemon waits for its container runtime, or a
// caller for the daemon.
func (h *Host) Busy() bool { return h.busy() }
