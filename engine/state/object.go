package state

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// Time renders w for the API; the zero Wall is the zero time.
func (w Wall) Time() time.Time {
	if w == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(w)).UTC()
}

// Add moves w by d.
func (w Wall) Add(d time.Duration) Wall { return w + Wall(d) }

// Sub returns the time from v to w.
func (w Wall) Sub(v Wall) time.Duration { return time.Duration(w - v) }

// Meta is what every object has. Version is the log index at which the object
// was last written, as far as the writer could know it: [Draft.Version].
type Meta struct {
	Version          uint64
	Created, Updated Wall
}

// The formats of objects: see decision 0003.
const (
	FormatFirst    = 1
	FormatNetworks = 2 // networks, and addresses given out by the swarm
	FormatNewest   = FormatNetworks
)

// A Cluster is the swarm itself. There is at most one.
type Cluster struct {
	ID ClusterID
	Meta
	// SpecVersion is the version that a client must present; it changes only with Spec.
	SpecVersion uint64
	Spec        swarm.Spec
	// Format is the newest format of objects that may be written: see decision 0003.
	Format uint64

	RootCert, RootKey           []byte // PEM; the key is a secret
	WorkerSecret, ManagerSecret string // the last part of a join token
	RootDigest                  string // the middle part of a join token: SHA-256 of the root certificate in base 36
	// UnlockKey is what managers are locked with; nil while they are not. A secret.
	UnlockKey []byte
	// UnlockVersion is the version at which UnlockKey became what it is.
	UnlockVersion uint64

	// The root that is to take the place of RootCert, while nodes get certificates
	// of it; NextCert is nil otherwise. NextCross is that root signed by RootCert.
	NextCert, NextKey, NextCross []byte // PEM; the key is a secret
	NextDigest                   string
	// Crossed are the roots that there have been, each signed by the one before it,
	// newest first: by them a node that was away believes the root of today.
	Crossed []byte // PEM
	// FormerCert is the root before RootCert: what nodes trust that have not had
	// their certificate renewed since.
	FormerCert []byte // PEM
	// CertVersion is the version at which certificates became what they are to be:
	// those of before are renewed.
	CertVersion uint64

	DefaultAddrPool []string // CIDR
	SubnetSize      uint32
	DataPathPort    uint32
	Unknown         []byte // fields of a newer format, kept as they came
}

// NodeState is what the leader knows about a node's life.
type NodeState uint8

// The states of a node.
const (
	NodeUnknown NodeState = iota
	NodeDown
	NodeReady
	NodeDisconnected
)

// A Node is a member of the swarm.
type Node struct {
	ID NodeID
	Meta
	SpecVersion uint64 // the version that a client must present
	Spec        swarm.NodeSpec
	Description swarm.NodeDescription
	Addr        string // IP without port
	DataPath    string // the IP that traffic between containers goes by; "" is Addr
	State       NodeState
	Since       Wall // when State became what it is
	Message     string

	// Manager says that the node takes part in consensus; Spec.Role is what is wished.
	Manager     bool
	ManagerAddr string // host:port
	// Key is the SHA-256 of the public key that the node's certificate is for.
	Key []byte
	// Mesh is the node's address in the ingress network.
	Mesh netip.Addr
	// Trust is the version at which Key or Spec.Role became what it is: what a
	// certificate of before says of the node is out of date.
	Trust uint64
	// Certificate is the version in the certificate that the node has, as it says.
	Certificate uint64
	Unknown     []byte // fields of a newer format, kept as they came
}

// A Service is what a user asked to run.
type Service struct {
	ID ServiceID
	Meta
	// SpecVersion is the version that a client must present: it changes only
	// when a user changes the service, never with the orchestrator's own writes.
	SpecVersion uint64
	Spec        swarm.ServiceSpec
	Previous    *swarm.ServiceSpec // what a rollback returns to
	// Template is the version of the [Template] that new tasks are made from. It
	// changes only when a change of the spec calls for new tasks.
	Template         uint64
	PreviousTemplate uint64
	Ports            []swarm.PortConfig // Endpoint.Ports, with published ports given out
	Update           *Update
	JobIteration     uint64
	JobExecution     Wall
	RegistryAuth     string // X-Registry-Auth as sent; a secret
	PreviousAuth     string
	VIPs             []VIP  // its own addresses, by network
	Unknown          []byte // fields of a newer format, kept as they came
}

// An Update is a rolling update, under way or ended. Everything that must
// survive the leader is here.
type Update struct {
	State              swarm.UpdateState
	Started, Completed Wall
	Message            string
	// Template is the version that the update moves the tasks to. Who asks for a
	// rollback leaves it 0: the orchestrator then makes the update its own.
	Template uint64
	// Failed counts the tasks made by the update that failed before the end of
	// their monitor.
	Failed uint64
	// Dirty is how many slots the update set out to change.
	Dirty uint64
}

// A Template is what the tasks of a service are made from: the part of its spec
// that tasks need, frozen under a version. It lives as long as a task refers to
// it or its service runs it.
type Template struct {
	Service ServiceID
	Version uint64

	ServiceName   string
	ServiceLabels map[string]string
	Spec          swarm.TaskSpec
	Endpoint      *swarm.EndpointSpec
	Ports         []swarm.PortConfig // as allocated
	RegistryAuth  string             // a secret
	Unknown       []byte             // fields of a newer format, kept as they came
}

// TaskState is a step in the life of a task. A task only ever moves forward.
type TaskState uint16

// The states of a task, in order. The numbers are swarm's own.
const (
	TaskNew       TaskState = 0
	TaskPending   TaskState = 64
	TaskAssigned  TaskState = 192
	TaskAccepted  TaskState = 256
	TaskPreparing TaskState = 320
	TaskReady     TaskState = 384
	TaskStarting  TaskState = 448
	TaskRunning   TaskState = 512
	TaskComplete  TaskState = 576
	TaskShutdown  TaskState = 640
	TaskFailed    TaskState = 704
	TaskRejected  TaskState = 768
	TaskRemove    TaskState = 800
	TaskOrphaned  TaskState = 832
)

// Terminal reports whether a task in this state will never run again.
func (s TaskState) Terminal() bool { return s > TaskRunning }

// A Task is one try at running one slot of a service on one node. Its identity,
// service, slot and template never change; its node is set once.
type Task struct {
	ID TaskID
	Meta
	Service  ServiceID
	Slot     uint64 // 1, 2, … for replicated services; from 0 for replicated jobs; 0 for global ones
	Global   bool   // the slot is the node: one task on each
	Template uint64 // version of the Template
	Node     NodeID
	Desired  TaskState // Ready, Running, Complete, Shutdown or Remove
	Status   TaskStatus
	// JobIteration is the run of the job that the task belongs to.
	JobIteration uint64
	Job          bool
	// Start is when a task desired Ready becomes desired Running (restart delay).
	Start Wall
	// After is the task that must have stopped before this one may start.
	After TaskID
	// Failures counts the consecutive quick failures of the slot before this task.
	Failures uint32
	// Rollout says that a rolling update made the task: it counts for the update.
	Rollout bool
	// Ran is when the leader learned that the task runs, 0 if it never did. Unlike
	// Status.At it is a leader's time, and outlasts the task's end.
	Ran     Wall
	Generic []swarm.GenericResource // assigned
	// Addresses are those on the template's networks, in their order: see Attachments.
	Addresses []netip.Addr
	// Mesh is the task's address in the ingress network, which published ports of all
	// nodes lead to.
	Mesh    netip.Addr
	Unknown []byte // fields of a newer format, kept as they came
}

// ContainerID is the ID of a task's container: the same on every try, so that
// creating it twice makes one.
func ContainerID(id TaskID) string {
	sum := sha256.Sum256([]byte("swarmd container of task " + id))
	return hex.EncodeToString(sum[:])
}

// TaskStatus is what the owner of the task's present state says of it.
type TaskStatus struct {
	State     TaskState
	At        Wall
	Message   string
	Err       string
	Container string // container ID, 64 hexadecimal digits
	PID       int
	ExitCode  int
	Ports     []swarm.PortConfig // host-mode ports as bound
}

// SlotKey returns what the task is one of the tries at.
func (t *Task) SlotKey() SlotKey {
	if t.Global {
		return SlotKey{Node: t.Node}
	}
	return SlotKey{Number: t.Slot}
}

// A SlotKey names a slot of a service: a number, or for global services a node.
type SlotKey struct {
	Number uint64
	Node   NodeID
}
