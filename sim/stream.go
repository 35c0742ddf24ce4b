package sim

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// A Stream is a source of draws with a name. Everything that a run draws comes
// from the stream of what it is drawn for, so that leaving one fault out does
// not re-roll the rest.
type Stream struct{ r *rand.Rand }

// NewStream returns the stream of that name in a run of that seed, for what is
// drawn before there is a world.
func NewStream(seed uint64, name string) *Stream { return newStream(seed, name) }

// newStream returns the stream of that name in a run of that seed.
func newStream(seed uint64, name string) *Stream {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return &Stream{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// Uint64 returns 64 random bits.
func (s *Stream) Uint64() uint64 { return s.r.Uint64() }

// N returns a number from 0 to n-1; n must be positive.
func (s *Stream) N(n int) int { return s.r.IntN(n) }

// Chance reports true with probability p.
func (s *Stream) Chance(p float64) bool { return p > 0 && s.r.Float64() < p }

// Between returns a duration from lo to hi.
func (s *Stream) Between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(s.r.Int64N(int64(hi-lo)+1))
}

// Exponential returns a duration with a mean, cut off at ten times that.
func (s *Stream) Exponential(mean time.Duration) time.Duration {
	return time.Duration(math.Min(s.r.ExpFloat64(), 10) * float64(mean))
}

// Pick returns one of the values; there must be one.
func Pick[T any](s *Stream, values []T) T { return values[s.N(len(values))] }

// Shuffle puts values in a random order.
func Shuffle[T any](s *Stream, values []T) {
	s.r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
}
