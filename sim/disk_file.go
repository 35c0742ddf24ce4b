package sim

import (
	"maps"
	"slices"
)

// sectorBytes is what a disk writes as a whole. Real sectors have 512 bytes at
// least; small ones tear small records too.
const sectorBytes = 64

// entries are changes of a directory that are made as one; nil removes.
type entries []struct {
	name string
	node *inode
}

// A directory has files as processes see them, as they are on the disk, and the
// changes between the two.
type directory struct {
	current, durable map[string]*inode
	pending          []entries
}

func newDirectory() *directory {
	return &directory{current: map[string]*inode{}, durable: map[string]*inode{}}
}

func (in *directory) change(e entries) {
	in.pending = append(in.pending, e)
	e.apply(in.current)
}

func (e entries) apply(to map[string]*inode) {
	for _, x := range e {
		if x.node == nil {
			delete(to, x.name)
		} else {
			to[x.name] = x.node
		}
	}
}

func (in *directory) sync() {
	in.pending = nil
	in.durable = maps.Clone(in.current)
}

// settle is the directory after the power was cut.
func (in *directory) settle(draws *Stream, settled map[*inode]*inode) *directory {
	for _, e := range in.pending {
		if draws.Chance(0.5) {
			e.apply(in.durable)
		}
	}
	next := newDirectory()
	for _, name := range slices.Sorted(maps.Keys(in.durable)) {
		node := in.durable[name]
		if settled[node] == nil {
			settled[node] = node.settle(draws)
		}
		next.current[name], next.durable[name] = settled[node], settled[node]
	}
	return next
}

// An inode is what a file holds, in the same three parts. What is durable may share
// memory with what is current, which is only ever appended to or replaced.
type inode struct {
	current, durable []byte
	pending          []change
}

// A change is a write at an offset, or a cut to a size.
type change struct {
	cut  bool
	at   int64
	data []byte
}

func (n *inode) change(c change) {
	n.pending = append(n.pending, c)
	n.current = c.apply(n.current)
}

func (n *inode) sync() {
	n.pending = nil
	n.durable = slices.Clip(n.current)
}

// apply returns b as it is after the change. It writes only after the end of b.
func (c change) apply(b []byte) []byte {
	switch {
	case c.cut && int(c.at) <= len(b):
		return b[:c.at:c.at]
	case c.cut:
		return append(b, make([]byte, int(c.at)-len(b))...)
	case int(c.at) == len(b):
		return append(b, c.data...)
	}
	whole := make([]byte, max(len(b), int(c.at)+len(c.data)))
	copy(whole, b)
	copy(whole[c.at:], c.data)
	return whole
}

// settle is the file after the power was cut: each change was made, or not, or is
// torn.
func (n *inode) settle(draws *Stream) *inode {
	b := n.durable
	for _, c := range n.pending {
		switch draws.N(3) {
		case 0:
			b = c.apply(b)
		case 1:
			b = c.torn(draws).apply(b)
		}
	}
	b = slices.Clone(b)
	return &inode{current: b, durable: slices.Clip(b)}
}

// torn is the change with some of its sectors only: the rest are zeros, or
// rubbish, or cut off. A cut cannot be torn.
func (c change) torn(draws *Stream) change {
	if c.cut || len(c.data) == 0 {
		return c
	}
	data := slices.Clone(c.data)
	if draws.Chance(0.5) {
		return change{at: c.at, data: data[:draws.N(len(data)+1)]}
	}
	for at := 0; at < len(data); at += sectorBytes {
		sector := data[at:min(at+sectorBytes, len(data))]
		switch draws.N(3) {
		case 0:
			clear(sector)
		case 1:
			for i := range sector {
				sector[i] = byte(draws.Uint64())
			}
		}
	}
	return change{at: c.at, data: data}
}
