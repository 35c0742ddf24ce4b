package sim

import "time"

// epoch is what every clock shows at the start of a run, unless it is skewed.
func epoch() time.Time { return time.Unix(1_767_225_600, 0).UTC() } // 2026-01-01

// A clock is a host's two clocks. Both run at the host's own rate; only the wall
// clock can be set.
type clock struct {
	since  int64   // virtual time from which the rate holds
	base   int64   // monotonic nanoseconds then
	rate   float64 // 1 is true
	frozen bool    // the monotonic clock stands still (the machine is suspended)
	offset time.Duration
}

// mono returns the monotonic reading at a virtual time.
func (c *clock) mono(at int64) int64 {
	if c.frozen {
		return c.base
	}
	return c.base + int64(float64(at-c.since)*c.rate)
}

// now is what the engine is told the time is.
func (c *clock) now(at int64) time.Time { return epoch().Add(time.Duration(c.mono(at))) }

// when returns the virtual time at which the monotonic clock will show t, never
// earlier than at.
func (c *clock) when(t time.Time, at int64) int64 {
	left := t.Sub(epoch()) - time.Duration(c.mono(at))
	if left <= 0 {
		return at
	}
	due := at + int64(float64(left)/c.rate)
	for c.mono(due) < int64(t.Sub(epoch())) { // rounding
		due++
	}
	return due
}

// setRate makes the clocks run at another rate from now on.
func (c *clock) setRate(at int64, rate float64) {
	if c.frozen {
		c.rate = rate
		return
	}
	c.base, c.since, c.rate = c.mono(at), at, rate
}

// freeze stops the monotonic clock; thaw lets it go on. The wall clock has not
// stopped: it is ahead by the time that was missed.
func (c *clock) freeze(at int64) { c.base, c.since, c.frozen = c.mono(at), at, true }

func (c *clock) thaw(at int64) {
	if !c.frozen {
		return
	}
	c.offset += time.Duration(at - c.since)
	c.since, c.frozen = at, false
}
