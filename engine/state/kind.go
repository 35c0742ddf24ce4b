package state

import "strconv"

// A Kind says what sort of object a key names. The numbers are in logs and
// snapshots for ever: never reuse one.
type Kind uint8

// The kinds of object that this build knows.
const (
	KindCluster  Kind = 1
	KindNode     Kind = 2
	KindService  Kind = 3
	KindTemplate Kind = 4
	KindTask     Kind = 5
	KindNetwork  Kind = 6
	KindSecret   Kind = 7
	KindConfig   Kind = 8
)

// String names the kind as the docker CLI does.
func (k Kind) String() string {
	switch k {
	case KindCluster:
		return "cluster"
	case KindNode:
		return "node"
	case KindService:
		return "service"
	case KindTemplate:
		return "template"
	case KindTask:
		return "task"
	case KindNetwork:
		return "network"
	case KindSecret:
		return "secret"
	case KindConfig:
		return "config"
	default:
		return "kind-" + strconv.Itoa(int(k))
	}
}

// A Key names one object.
type Key struct {
	Kind Kind
	ID   string
}

// A Change puts or deletes one object. It carries no logic: applying it is the
// same act on every manager, whatever version that manager runs.
type Change struct {
	Key  Key
	Data []byte // nil deletes
}

// Identifiers, one type for each kind that meets another.
type (
	// ClusterID names the swarm.
	ClusterID string
	// NodeID names a node.
	NodeID string
	// ServiceID names a service.
	ServiceID string
	// TaskID names a task.
	TaskID string
)

// Wall is wall-clock time in nanoseconds since 1970 UTC; 0 is "never". It is for
// display, certificates and what must outlive a leader; everything else uses the
// monotonic time that Step is given.
type Wall int64
