package dispatcher

import "slices"

// earlyMax is how many numbers may come before one that is missing.
const earlyMax = 256

// A tally knows which of the numbers 1, 2, … have come, in whatever order and
// however often.
type tally struct {
	all   uint64   // every number up to this one has come
	early []uint64 // those beyond, in order
}

func (t *tally) add(n uint64) {
	if n <= t.all {
		return
	}
	if at, there := slices.BinarySearch(t.early, n); !there && len(t.early) < earlyMax {
		t.early = slices.Insert(t.early, at, n)
	}
	for len(t.early) > 0 && t.early[0] == t.all+1 {
		t.all++
		t.early = t.early[1:]
	}
}

// missing returns the first number up to last that has not come, 0 if all have.
func (t *tally) missing(last uint64) uint64 {
	if t.all < last {
		return t.all + 1
	}
	return 0
}
