package sim

// A moment is something that happens at a virtual time. Of those at the same
// time, the one that was planned first comes first.
type moment struct {
	at  int64 // nanoseconds since the start of the run
	seq uint64
	do  func()
}

func (m moment) before(o moment) bool { return m.at < o.at || m.at == o.at && m.seq < o.seq }

// A timeline holds moments in order: a binary heap, written out because the
// simulator spends much of its time here.
type timeline struct {
	heap []moment
	seq  uint64
}

func (t *timeline) add(at int64, do func()) {
	t.seq++
	t.heap = append(t.heap, moment{at, t.seq, do})
	for i := len(t.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !t.heap[i].before(t.heap[parent]) {
			return
		}
		t.heap[i], t.heap[parent] = t.heap[parent], t.heap[i]
		i = parent
	}
}

// next takes out the first moment; there must be one.
func (t *timeline) next() moment {
	first := t.heap[0]
	last := len(t.heap) - 1
	t.heap[0] = t.heap[last]
	t.heap[last] = moment{}
	t.heap = t.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && t.heap[child+1].before(t.heap[child]) {
			child++
		}
		if !t.heap[child].before(t.heap[i]) {
			return first
		}
		t.heap[i], t.heap[child] = t.heap[child], t.heap[i]
		i = child
	}
}
