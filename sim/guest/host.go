//go:build wasip1

package main

import (
	"unsafe"
)

// The calls of the host's. Memory that is passed is the host's to look at until
// the call returns.

//go:wasmimport swarmd tell
func hostTell(data unsafe.Pointer, size uint32)

//go:wasmimport swarmd disk
func hostDisk(call, handle uint32, name unsafe.Pointer, nameSize uint32, data unsafe.Pointer, dataSize uint32, offset int64) int64

// tell sends the host a message.
func tell(kind byte, body []byte) {
	tellWhole(append([]byte{kind}, body...))
}

// tellWhole sends the host a message whose first byte is its kind.
func tellWhole(message []byte) {
	hostTell(unsafe.Pointer(unsafe.SliceData(message)), uint32(len(message)))
}

func disk(call, handle uint32, name string, data []byte, offset int64) int64 {
	return hostDisk(call, handle, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)),
		unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), offset)
}
