package gate

// The calls of a guest's disk. A call that changes something is a boundary at
// which the host may have the machine fail.
const (
	DiskCreate   = 1  // name → handle
	DiskAppend   = 2  // name → handle
	DiskOpen     = 3  // name → handle
	DiskRename   = 4  // two names, with a zero byte between
	DiskRemove   = 5  // name
	DiskSyncDir  = 6  // name → ticket, or 0 if it is done
	DiskList     = 7  // name → bytes of the names with a zero byte after each; into data as many as fit
	DiskMkdirAll = 8  // name
	DiskWrite    = 9  // handle, data
	DiskTruncate = 10 // handle, size in offset
	DiskSync     = 11 // handle → ticket, or 0 if it is done
	DiskClose    = 12 // handle
	DiskRead     = 13 // handle, offset → bytes read into data
	DiskSize     = 14 // handle → bytes
)

// An Errno is how a call of the disk fails. Calls return its negative.
type Errno uint8

// The failures.
const (
	OK Errno = iota
	NotExist
	Exist
	IO
	NoSpace
	Invalid
)

// Error is the failure in words.
func (e Errno) Error() string {
	switch e {
	case OK:
		return "no error"
	case NotExist:
		return "no such file or directory"
	case Exist:
		return "file exists"
	case IO:
		return "input/output error"
	case NoSpace:
		return "no space left on device"
	case Invalid:
		return "invalid argument"
	default:
		return "unknown error"
	}
}
