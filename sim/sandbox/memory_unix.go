//go:build unix

package sandbox

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// allocate reserves all the memory that an instance may ever have, and has none of
// it until it is used: growing then copies nothing.
func allocate(_, most uint64) experimental.LinearMemory {
	all, err := syscall.Mmap(-1, 0, int(most), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return &memory{}
	}
	return &memory{all: all}
}

type memory struct{ all []byte }

// Reallocate implements [experimental.LinearMemory]. nil says that there is not so
// much.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size:len(m.all)]
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() {
	if m.all != nil {
		_ = syscall.Munmap(m.all) // it is memory that was mapped
		m.all = nil
	}
}
