package netplan

import (
	"cmp"
	"slices"
)

// An index is what belongs to a key, sorted.
type index[K comparable, ID cmp.Ordered] map[K][]ID

func (x index[K, ID]) put(key K, id ID) {
	if i, found := slices.BinarySearch(x[key], id); !found {
		x[key] = slices.Insert(x[key], i, id)
	}
}

func (x index[K, ID]) drop(key K, id ID) {
	i, found := slices.BinarySearch(x[key], id)
	switch {
	case found && len(x[key]) == 1:
		delete(x, key)
	case found:
		x[key] = slices.Delete(x[key], i, i+1)
	}
}
