package sim

import "time"

// A Path says how messages fare on the way from one host to another.
type Path struct {
	Cut      bool          // nothing arrives, and nobody is told
	Clogged  bool          // what is sent waits, and arrives in a burst when the path is free
	Loss     float64       // probability that a message is lost
	Twice    float64       // probability that it arrives twice
	Late     float64       // probability that a copy arrives much later
	Delay    time.Duration // least time under way
	Jitter   time.Duration // mean of what comes on top
	LateMost time.Duration // how late a late copy may be
}

// defaultPath is that of a healthy local network.
func defaultPath() Path {
	return Path{Delay: 100 * time.Microsecond, Jitter: 200 * time.Microsecond, LateMost: 3 * time.Minute}
}

// A link is one direction between two hosts.
type link struct {
	path    Path
	draws   *Stream
	queued  []func() // clogged
	changed int64    // when the path was last changed
}

// fare is a word for how messages fare on a path.
func (p *Path) fare() string {
	switch {
	case p.Cut:
		return "cut"
	case p.Clogged:
		return "clogged"
	case !p.sound():
		return "poor"
	default:
		return "sound"
	}
}

// linkOf returns the link between two hosts, by their numbers.
func (w *World) linkOf(from, to int) *link {
	l := &w.links[from*len(w.Hosts)+to]
	if l.draws == nil {
		l.draws = newStream(w.seed, "link/"+w.Hosts[from].Name+">"+w.Hosts[to].Name)
	}
	return l
}

// SetPath changes how messages fare from one host to another from now on.
func (w *World) SetPath(from, to *Host, change func(*Path)) {
	l := w.linkOf(from.Number, to.Number)
	before, slow := l.path.fare(), l.path.Delay+l.path.Jitter
	change(&l.path)
	l.changed = w.now
	if l.path.Delay+l.path.Jitter < slow {
		w.log.again(from)
		w.log.again(to)
	}
	if fare := l.path.fare(); fare != before {
		from.note("path", to.Name, fare)
	}
	if !l.path.Clogged && len(l.queued) > 0 {
		burst := l.queued
		l.queued = nil
		for _, deliver := range burst {
			w.after(l.delay(), deliver)
		}
	}
	w.log.reconsider()
}

// open reports whether messages from one host reach the other.
func (w *World) open(from, to *Host) bool {
	if from == to {
		return true
	}
	p := &w.links[from.Number*len(w.Hosts)+to.Number].path
	return !p.Cut && !p.Clogged
}

// joined reports whether two hosts reach each other, both ways.
func (w *World) joined(a, b *Host) bool { return w.open(a, b) && w.open(b, a) }

// carry takes something from one host to another, if it arrives.
func (w *World) carry(from, to *Host, deliver func()) {
	l := w.linkOf(from.Number, to.Number)
	p := &l.path
	switch {
	case p.Cut:
		w.Probe("message into a cut link")
		return
	case p.Clogged:
		l.queued = append(l.queued, deliver)
		return
	case l.draws.Chance(p.Loss):
		w.Probe("message lost")
		return
	}
	w.deliver(l, deliver)
}

// carrySafely takes something over a path on which this is not lost.
func (w *World) carrySafely(from, to *Host, deliver func()) {
	l := w.linkOf(from.Number, to.Number)
	if l.path.Clogged {
		l.queued = append(l.queued, deliver)
		return
	}
	w.deliver(l, deliver)
}

// deliver has something arrive, once or more often.
func (w *World) deliver(l *link, deliver func()) {
	p := &l.path
	w.after(l.delay(), deliver)
	if l.draws.Chance(p.Twice) {
		w.Probe("message delivered twice")
		w.after(l.delay(), deliver)
	}
	if l.draws.Chance(p.Late) {
		w.after(l.draws.Between(time.Second, p.LateMost), func() {
			w.Probe("message replayed late")
			deliver()
		})
	}
}

func (l *link) delay() time.Duration {
	return l.path.Delay + l.draws.Exponential(l.path.Jitter)
}
