package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is what a disk writes as a whole. Real sectors have 512 bytes at
// least; small ones tear small records too.
const sectorBytes = 16

// A directory has entries as processes see them, as they are on the disk, and
// the changes between the two.
type directory struct {
	current, durable map[string]*inode
	pending          []map[string]*inode // nil removes; one map is one atomic change
}

func newDirectory() *directory {
	return &directory{current: map[string]*inode{}, durable: map[string]*inode{}}
}

func (d *directory) change(entries map[string]*inode) {
	d.pending = append(d.pending, entries)
	apply(d.current, entries)
}

func apply(to, entries map[string]*inode) {
	for name, node := range entries {
		if node == nil {
			delete(to, name)
		} else {
			to[name] = node
		}
	}
}

// settle returns the directory after the power was cut.
func (d *directory) settle(chance *rand.Rand, settled map[*inode]*inode) *directory {
	entries := cloneMap(d.durable)
	for _, entry := range d.pending {
		if chance.IntN(2) == 0 {
			apply(entries, entry)
		}
	}
	next := newDirectory()
	for _, name := range sortedKeys(entries) {
		node := entries[name]
		if settled[node] == nil {
			settled[node] = node.settle(chance)
		}
		next.current[name], next.durable[name] = settled[node], settled[node]
	}
	return next
}

// An inode is what a file holds, in the same three parts.
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

func (c change) apply(b []byte) []byte {
	b = slices.Clone(b)
	if c.cut {
		return resized(b, int(c.at))
	}
	b = resized(b, max(len(b), int(c.at)+len(c.data)))
	copy(b[c.at:], c.data)
	return b
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// settle returns the file after the power was cut: each change was made, or not,
// or is torn.
func (n *inode) settle(chance *rand.Rand) *inode {
	b := slices.Clone(n.durable)
	for _, c := range n.pending {
		switch chance.IntN(3) {
		case 0:
			b = c.apply(b)
		case 1:
			b = c.torn(chance).apply(b)
		}
	}
	return &inode{current: b, durable: slices.Clone(b)}
}

// torn is the change with some of its sectors only: the rest are zeros, or
// rubbish, or cut off. A cut cannot be torn.
func (c change) torn(chance *rand.Rand) change {
	if c.cut || len(c.data) == 0 {
		return c
	}
	data := slices.Clone(c.data)
	if chance.IntN(2) == 0 {
		return change{at: c.at, data: data[:chance.IntN(len(data)+1)]}
	}
	for at := 0; at < len(data); at += sectorBytes {
		sector := data[at:min(at+sectorBytes, len(data))]
		switch chance.IntN(3) {
		case 0:
			clear(sector)
		case 1:
			for i := range sector {
				sector[i] = byte(chance.Uint32())
			}
		}
	}
	return change{at: c.at, data: data}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func cloneMap(m map[string]*inode) map[string]*inode { return maps.Clone(m) }
