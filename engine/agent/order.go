package agent

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// An Order is something that the node's container runtime must do for a task.
// The root turns orders into effects; each is answered as it says.
//
//sumtype:decl
type Order interface{ isOrder() }

// Pull asks for an image to be on the node. Answered by [Agent.Pulled].
type Pull struct {
	Task  state.TaskID
	Image string // as the user wrote it, with tag or digest
	Auth  string // X-Registry-Auth; a secret
}

// Create asks for a container to exist, not yet started. Its network namespace
// exists when this is asked. Answered by [Agent.Created].
type Create struct{ Container Container }

// Start asks for a created container to run. Answered by [Agent.Started].
type Start struct{ Task state.TaskID }

// Probe asks for a health check's command to be run inside the container.
// Answered by [Agent.Probed].
type Probe struct {
	Task    state.TaskID
	Command []string // as Docker's HealthConfig.Test: CMD or CMD-SHELL first
	Timeout time.Duration
	// Health is what the agent holds the container to be at this moment:
	// starting, healthy or unhealthy. The runtime shows it.
	Health string
}

// Stop asks for a container to stop: its signal, then after the grace a kill.
// Answered by [Agent.Exited], also when it had stopped before or is not there.
type Stop struct {
	Task   state.TaskID
	Signal string // "" is the image's, else SIGTERM
	Grace  time.Duration
}

// Remove asks for a container to be gone, with its logs. Answered by
// [Agent.Removed].
type Remove struct{ Task state.TaskID }

func (Pull) isOrder()   {}
func (Create) isOrder() {}
func (Start) isOrder()  {}
func (Probe) isOrder()  {}
func (Stop) isOrder()   {}
func (Remove) isOrder() {}

// A Container is all that a runtime must know to make one; templates in it are
// expanded.
type Container struct {
	Task state.TaskID
	ID   string // 64 hexadecimal digits
	Name string // website.1.<task>
	// Spec is the user's, with {{…}} in hostname, environment and mounts expanded.
	Spec      swarm.ContainerSpec
	Limits    swarm.Limit
	Reserved  swarm.Resources
	LogDriver *swarm.Driver
	// Labels are the user's and swarm's own (com.docker.swarm.…), and those from
	// which [Found] is rebuilt after a restart.
	Labels  map[string]string
	Address netip.Addr // on the node's bridge
	// Ports are shown by inspection; the network publishes them.
	Ports []swarm.PortConfig
}

// A Found is a container of ours that was on the node when the agent began.
type Found struct {
	Task     state.TaskID
	ID       string
	Labels   map[string]string
	Address  netip.Addr
	Created  state.Wall
	Running  bool
	Started  bool // it has run, or runs
	PID      int
	ExitCode int
	Finished state.Wall // when it ended, if it has
	OOM      bool
	// Health is the image's own health check, as [Agent.Created] has it.
	Health *container.HealthConfig
}

// An Endpoint is the place in the network that a task wants now. Serving says
// that published ports may lead to it.
type Endpoint struct {
	Task    state.TaskID
	Address netip.Addr
	Serving bool
	Ports   []swarm.PortConfig // as the template has them allocated
	// Publishing is how they are published, as far as this task knows.
	Publishing state.Publishing
	// Attachments are its places on overlays, Mesh its address in the mesh.
	Attachments []state.Attachment
	Mesh        netip.Addr
	DNS         []netip.Addr // name servers, instead of the node's
}
