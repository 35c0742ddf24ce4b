package scheduler

func (a *rank) before(b *rank) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	if a.node != nil && b.node != nil {
		return a.node.id < b.node.id
	}
	return a.leaf < b.leaf
}

// makeHeap orders ranks so that the least is first, in place.
func makeHeap(h []rank) []rank {
	for i := len(h)/2 - 1; i >= 0; i-- {
		sink(h, i)
	}
	return h
}

func push(h []rank, r rank) []rank {
	h = append(h, r)
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	return h
}

// pop takes the first away.
func pop(h []rank) []rank {
	last := len(h) - 1
	h[0] = h[last]
	h[last] = rank{}
	h = h[:last]
	sink(h, 0)
	return h
}

// sink restores the order below a rank that has grown.
func sink(h []rank, i int) {
	for {
		least, left := i, 2*i+1
		if left < len(h) && h[left].before(&h[least]) {
			least = left
		}
		if left+1 < len(h) && h[left+1].before(&h[least]) {
			least = left + 1
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
