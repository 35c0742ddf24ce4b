//go:build !unix

package sandbox

import "github.com/tetratelabs/wazero/experimental"

// allocate takes all the memory that an instance may ever have from the heap.
func allocate(_, most uint64) experimental.LinearMemory { return &memory{make([]byte, most)} }

type memory struct{ all []byte }

// Reallocate implements [experimental.LinearMemory].
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size:len(m.all)]
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() { m.all = nil }
