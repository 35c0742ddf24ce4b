package sim

import "github.com/swarmd/swarmd/sim/gate"

// A Program is what a sandboxed manager runs: sim/guest, built, in something that
// can run it, such as package sandbox.
type Program interface {
	// Start makes an instance, which runs when [Instance.Run] is called.
	Start(system System, argument string) Instance
	// Name says which program it is, for reports.
	Name() string
}

// An Instance is a program that runs: one process.
type Instance interface {
	// Run lets it go on until it waits for its inbox, or for a time by its monotonic
	// clock, in nanoseconds, which is returned; math.MaxInt64 is never. ended says
	// that the process is over. It must not be called by what it calls.
	Run() (wake int64, ended bool)
	// End makes an end of it, at once, as kill -9 does. It must not be called by what
	// Run calls.
	End()
	// Why says how the process ended: "" if it was ended, or ended itself well.
	Why() string
}

// A System is the operating system of one instance. It is called while the instance
// runs, and must not run it.
type System interface {
	// Monotonic and Wall are the clocks, in nanoseconds. The monotonic one is never 0.
	Monotonic() int64
	Wall() int64
	// Random fills p.
	Random(p []byte)
	// Read takes the next bytes of the inbox, Waiting says how many there are.
	Read(p []byte) int
	Waiting() int
	// Tell takes a message of package gate, which must not be kept.
	Tell(message []byte)
	// Disk carries out a call of package gate, with a negative gate.Errno for a
	// failure. alive is false if the machine failed in the middle of it: the instance
	// then ends there.
	Disk(c DiskCall) (result int64, alive bool)
}

// A DiskCall is a call of an instance's disk: see the constants of package gate.
type DiskCall struct {
	Call   uint32
	Handle uint32
	Name   string
	Data   []byte // to be written, or to be read into; must not be kept
	Offset int64
}

func failure(e gate.Errno) int64 { return -int64(e) }
