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

// How long a node waits.
const (
	renewRetry  = 5 * time.Second // after a renewal that failed
	renewSpread = time.Second     // up to, when all nodes are to renew
)

// A Renewal remembers when a node is to have its certificate renewed. The zero
// value has none.
type Renewal struct {
	has     Certificate
	wanted  uint64    // the least version that the swarm wants
	due     time.Time // monotonic; zero: never
	running bool
}

// Draw returns a number in [0, n).
type Draw func(n uint64) uint64

// Has is the certificate that the node has.
func (r *Renewal) Has() Certificate { return r.has }

// Certified takes in the certificate that the node has by now. When it is to be
// renewed is settled here, by the time of day: clocks that are set later do not
// move it.
func (r *Renewal) Certified(c Certificate, now time.Time, wall state.Wall, draw Draw) {
	r.has = c
	part := renewFrom + draw(renewTo-renewFrom+1)
	life := c.Until.Sub(c.From)
	at := c.From.Add(life / 1000 * time.Duration(part))
	r.due = now.Add(max(0, at.Sub(wall)))
	if r.wanted > c.Version {
		r.due = now
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
	if at := now.Add(time.Duration(draw(uint64(renewSpread)))); r.due.IsZero() || at.Before(r.due) {
		r.due = at
	}
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
	if failed {
		r.due = now.Add(renewRetry)
	}
}

// Wake is when Begin will say yes; zero is never.
func (r *Renewal) Wake() time.Time {
	if r.running {
		return time.Time{}
	}
	return r.due
}
