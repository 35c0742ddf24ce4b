package script

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// A Stage is a world that a script can be played in. Everything happens while
// [Stage.Run] or [Stage.Until] lets time pass, in one thread: what a stage calls,
// it calls then.
type Stage interface {
	// Now is the time since the start, in the stage's own clock.
	Now() time.Duration
	// Run lets time pass up to a moment, and reports whether no sentence was broken.
	Run(until time.Duration) bool
	// Until lets time pass until something holds, which it looks at after every
	// moment, and reports whether it came to hold before the patience was over.
	Until(patience time.Duration, holds func() bool) bool
	// At has something done at a time that is not in the past.
	At(at time.Duration, do func())
	// Stream returns the stream of draws of a name. A stage without a seed of its
	// own makes one up, and says so.
	Stream(name string) *sim.Stream

	// SpanMost is the most that a duration which is drawn from a range is, if its
	// least is not more; 0 says that a minute costs nothing, and there is no limit.
	SpanMost() time.Duration

	// Hosts are all hosts, as they are.
	Hosts() []Host
	// Leader is the host that leads and can commit, "" if there is none.
	Leader() string
	// Quiet reports whether nothing is under way but what comes at its time.
	Quiet() bool
	// View is what the swarm says and what really runs. It holds until Changes
	// changes, and must not be written to.
	View() *View
	// Changes counts what may have changed the view.
	Changes() uint64
	// OnChange has a function called soon after each change, never in the middle of
	// one.
	OnChange(look func())

	// Reach is to how many containers of a service something on a host leads: a
	// published port, or the service's address or name on a network. Networked is on how
	// many hosts a network of that name is made. Both are known in simulated worlds
	// only.
	Reach(host string, service *Service) int
	Networked(name string) int

	// Call makes an API call on a host. done comes at most once: never, if the host
	// or its answer is lost.
	Call(host string, call control.Call, done func(control.Answer))
	// Do has something go wrong, or go right again. The error says that this world
	// cannot do that, or not to that host.
	Do(f Fault) error
	// StartClients lets concurrent clients loose, whose history is kept.
	StartClients(c sim.ClientsConfig) error
	// Linearizable reports whether the histories of all clients so far are such that
	// each call could have taken effect at one moment between its beginning and its
	// end. The error says what cannot be, or that this world cannot tell.
	Linearizable() error
	// Rest waits until what is desired is what is, and stays so; then whatever can
	// be said of a swarm at rest is checked. Hosts that are broken for good are not
	// waited for. The error says what does not come to rest.
	Rest(patience time.Duration, broken []string) error
	// Settle heals all but the hosts that are broken for good, and then rests.
	Settle(patience time.Duration, broken []string) error

	// Note writes a line into the trace.
	Note(words ...string)
	// Violate says that a sentence was broken, which ends the run.
	Violate(sentence, format string, args ...any)
	Violations() []sim.Violation
	// Probes are the rare things that happened, with how often.
	Probes() map[string]uint64
	// Probe notes that a rare thing happened.
	Probe(name string)
}

// A Host is one machine of the stage.
type Host struct {
	Name    string
	Manager bool
	Running bool // its daemon runs, paused or not
	Paused  bool
}

// A View is a swarm at a moment.
type View struct {
	Services   []Service
	Nodes      []Node
	Tasks      []Task
	Networks   []Network
	Containers []Container // what really runs, whatever the swarm says
	Writes     uint64      // entries of the log with which the swarm wrote something
	Elections  uint64      // that were won
	Starts     map[state.ServiceID]uint64
}

// A Service is one as the API shows it.
type Service struct {
	ID      state.ServiceID
	Name    string
	Spec    *swarm.ServiceSpec
	Running int // tasks, as service ls counts them
	Desired int
	Done    int                // tasks of a job that have completed
	Update  swarm.UpdateState  // "" if there is none
	Message string             // of the update
	Ports   []swarm.PortConfig // as published
}

// A Network is one as the API shows it. One that is removed is kept, unseen, until
// nobody has an address of it.
type Network struct {
	ID      state.NetworkID
	Name    string
	Removed bool
}

// A Node is one as the API shows it.
type Node struct {
	ID           state.NodeID
	Host         string
	State        state.NodeState
	Availability swarm.NodeAvailability
	Role         swarm.NodeRole
}

// A Task is one as the API shows it.
type Task struct {
	ID      state.TaskID
	Service state.ServiceID
	Host    string // "" if it has no node
	State   state.TaskState
	Desired state.TaskState
	Image   string
	Message string
	Err     string
}

// A Container is one whose process runs.
type Container struct {
	Task    state.TaskID
	Service state.ServiceID
	Host    string
	Image   string
}

// A Fault is something that goes wrong with a world, or right again.
//
//sumtype:decl
type Fault interface{ isFault() }

// Faults of a host's processes.
type (
	// Start starts the daemon, or the machine.
	Start struct{ Host string }
	// Kill ends the daemon at once; containers live on.
	Kill struct{ Host string }
	// PowerOff ends the daemon and all containers at once.
	PowerOff struct{ Host string }
	// Pause stops the daemon as SIGSTOP does.
	Pause struct{ Host string }
	// Resume lets a paused daemon go on.
	Resume struct{ Host string }
	// Suspend stops the machine as a hypervisor does.
	Suspend struct{ Host string }
	// Wakeup lets a suspended machine go on.
	Wakeup struct{ Host string }
)

// Faults of the network, of one direction each.
type (
	// ChangePath changes how messages fare from one host to another.
	ChangePath struct {
		From, To string
		Change   func(*sim.Path)
	}
	// HealPath makes the path what it was at the start.
	HealPath struct{ From, To string }
)

// Faults of what a host stands on.
type (
	// SetClock moves the wall clock by so much.
	SetClock struct {
		Host string
		By   time.Duration
	}
	// SetDrift makes the clocks run faster by so many parts in a million.
	SetDrift struct {
		Host string
		PPM  int
	}
	// SetDisk makes writing the log take longer, or stand still.
	SetDisk struct {
		Host  string
		Slow  time.Duration
		Stuck bool
	}
	// BreakDisk has something else be wrong with a disk on which a log is real.
	BreakDisk struct {
		Host string
		sim.DiskFault
	}
	// HandOver asks the log of a manager that leads to have another one lead.
	HandOver struct{ Host, To string }
	// Install has a manager run the other build of swarmd from its next start on, or
	// the usual one.
	Install struct {
		Host  string
		Other bool
	}
	// SetMishaps says what may go wrong in the container runtime from now on.
	SetMishaps struct {
		Host    string
		Mishaps sim.Mishaps
	}
	// LoseRuntime takes the container runtime away for a while.
	LoseRuntime struct {
		Host string
		Away time.Duration
	}
	// EndContainer ends a container as if its process had ended by itself.
	EndContainer struct {
		Host string
		Task state.TaskID
		Code int
		OOM  bool
	}
)

func (Start) isFault()        {}
func (Kill) isFault()         {}
func (PowerOff) isFault()     {}
func (Pause) isFault()        {}
func (Resume) isFault()       {}
func (Suspend) isFault()      {}
func (Wakeup) isFault()       {}
func (ChangePath) isFault()   {}
func (HealPath) isFault()     {}
func (SetClock) isFault()     {}
func (SetDrift) isFault()     {}
func (SetDisk) isFault()      {}
func (BreakDisk) isFault()    {}
func (HandOver) isFault()     {}
func (Install) isFault()      {}
func (SetMishaps) isFault()   {}
func (LoseRuntime) isFault()  {}
func (EndContainer) isFault() {}
