package membership

import (
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// A Certificate is what a node has: for how long it is good, by the time of day,
// and the store's version when it was issued.
type Certificate struct {
	Version     uint64
	From, Until state.Wall
}

// A certificate is renewed somewhere between these parts of its life, in thousandths,
// so that the nodes of a swarm do not all come at once. They are Docker's.
const (
	renewFrom = 500
	renewTo   = 800
)

// backdated is for how long before From a certificate is good, for the sake of clocks
// that run behind.
const backdated = time.Hour

// How long a node waits.
const (
	renewRetryFirst = time.Second      // after a renewal that failed
	renewRetryMax   = 10 * time.Second // twice as long each time, up to this
	renewSpread     = time.Second      // up to, when all nodes are to renew
)

// A Renewal remembers when a node is to have its certificate renewed. The zero
// value has none.
type Renewal struct {
	has     Certificate
	wanted  uint64    // the least version that the swarm wants
	due     time.Time // monotonic; zero: never
	running bool
	retry   time.Duration // the last wait after a failure
}

// Draw returns a number in [0, n).
type Draw func(n uint64) uint64

// Has is the certificate that the node has.
func (r *Renewal) Has() Certificate { return r.has }

// Certified takes in the certificate that the node has by now. When it is to be
// renewed is settled here, on the clock that nobody sets. One that a renewal has
// brought is new. How old another is only the time of day can say: where it is not
// good yet by that, the time is wrong, and the age not known.
func (r *Renewal) Certified(c Certificate, now time.Time, wall state.Wall, draw Draw) {
	r.has = c
	part := renewFrom + draw(renewTo-renewFrom+1)
	left := c.Until.Sub(c.From) / 1000 * time.Duration(part)
	switch {
	case r.wanted > c.Version:
		left = 0
	case r.running:
	case wall < c.From.Add(-backdated):
		left = time.Duration(draw(uint64(renewSpread)))
	default:
		left -= max(0, wall.Sub(c.From))
	}
	r.due = now.Add(max(0, left))
}

// Adjusted takes in that the time of day was set. A certificate that is good by it
// is renewed when it was to be, one that has expired soon: no connection is made with
// that, whichever clock was wrong.
func (r *Renewal) Adjusted(now time.Time, wall state.Wall, draw Draw) {
	if r.has.Until == 0 || wall < r.has.Until {
		return
	}
	r.soon(now, draw)
}

// soon has the certificate renewed within a moment, unless it is to be earlier.
func (r *Renewal) soon(now time.Time, draw Draw) {
	if at := now.Add(time.Duration(draw(uint64(renewSpread)))); r.due.IsZero() || at.Before(r.due) {
		r.due = at
	}
}

// Want takes in the least version that the swarm wants a certificate to have.
func (r *Renewal) Want(version uint64, now time.Time, draw Draw) {
	if version <= r.wanted {
		return
	}
	r.wanted = version
	if r.has.Until == 0 || version <= r.has.Version {
		return
	}
	r.soon(now, draw)
}

// Begin reports whether the certificate is to be renewed now; the renewal is then
// under way until [Renewal.End].
func (r *Renewal) Begin(now time.Time) bool {
	if r.running || r.due.IsZero() || now.Before(r.due) {
		return false
	}
	r.running = true
	return true
}

// End takes in what came of a renewal: one that failed is tried again.
func (r *Renewal) End(failed bool, now time.Time) {
	r.running = false
	if !failed {
		r.retry = 0
		return
	}
	r.retry = min(max(2*r.retry, renewRetryFirst), renewRetryMax)
	r.due = now.Add(r.retry)
}

// Wake is when Begin will say yes; zero is never.
func (r *Renewal) Wake() time.Time {
	if r.running {
		return time.Time{}
	}
	return r.due
}
