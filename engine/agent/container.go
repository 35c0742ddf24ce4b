package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// stopGrace is how long a container is given to stop where the service does not
// say, as in Docker.
const stopGrace = 10 * time.Second

// planLabel is the label of a container that has its [plan], as JSON.
const planLabel = "swarmd.plan"

// A plan is what the agent must know of a task while its container is there,
// whether or not any manager can be asked. The container carries it.
type plan struct {
	Ports []swarm.PortConfig `json:",omitempty"` // with all numbers given out
	// Publishing is how they are published.
	Publishing state.Publishing `json:",omitzero"`

	Signal string                  `json:",omitempty"`
	Grace  time.Duration           // nanoseconds
	Health *container.HealthConfig `json:",omitempty"` // the service's
	// Attachments are the task's places on overlays, Mesh its address in the mesh.
	Attachments []state.Attachment `json:",omitempty"`
	Mesh        netip.Addr         `json:",omitzero"`
	DNS         []netip.Addr       `json:",omitempty"` // name servers, instead of the node's
}

// planOf makes the plan of a task, choosing the host ports that it leaves open.
func (a *Agent) planOf(t *task) (plan, error) {
	spec := t.template.Spec.ContainerSpec
	p := plan{
		Ports:  slices.Clone(t.template.Ports),
		Signal: spec.StopSignal,
		Grace:  stopGrace,
		Health: spec.Healthcheck,
		Mesh:   t.task.Mesh,
	}
	p.Publishing, _ = state.PublishingOf(t.template.ServiceLabels) // they were checked when they came
	if p.Attachments = t.task.Attachments(t.template); len(p.Attachments) > 0 && spec.DNSConfig != nil {
		p.DNS = spec.DNSConfig.Nameservers
	}
	if spec.StopGracePeriod != nil {
		p.Grace = *spec.StopGracePeriod
	}
	for i := range p.Ports {
		port := &p.Ports[i]
		if port.PublishMode != swarm.PortConfigPublishModeHost || port.PublishedPort != 0 {
			continue
		}
		number, err := a.network.hostPort(socketOf(*port).protocol, p.Ports)
		if err != nil {
			return plan{}, err
		}
		port.PublishedPort = number
	}
	return p, nil
}

// container describes the container of a task that has joined the network. It
// fails when a template in the spec does.
func (a *Agent) container(t *task) (Container, error) {
	spec, err := a.contextOf(t).container(t.template.Spec.ContainerSpec)
	if err != nil {
		return Container{}, err
	}
	c := Container{
		Task:      t.id,
		ID:        state.ContainerID(t.id),
		Name:      taskName(t.task, t.template),
		Spec:      spec,
		LogDriver: t.template.Spec.LogDriver,
		Address:   t.address,
		Ports:     t.plan.Ports,
	}
	if r := t.template.Spec.Resources; r != nil {
		if r.Limits != nil {
			c.Limits = *r.Limits
		}
		if r.Reservations != nil {
			c.Reserved = *r.Reservations
		}
	}
	c.Labels, err = a.labels(t, c.Name)
	return c, err
}

// labels are a container's: the user's, and over them swarm's own.
func (a *Agent) labels(t *task, name string) (map[string]string, error) {
	encoded, err := json.Marshal(t.plan)
	if err != nil {
		return nil, fmt.Errorf("task %s: cannot note how to end it: %w", t.id, err)
	}
	l := make(map[string]string)
	maps.Copy(l, t.template.Spec.ContainerSpec.Labels)
	maps.Copy(l, map[string]string{
		"com.docker.swarm.node.id":      string(a.config.Self),
		"com.docker.swarm.service.id":   string(t.task.Service),
		"com.docker.swarm.service.name": t.template.ServiceName,
		"com.docker.swarm.task":         "",
		"com.docker.swarm.task.id":      string(t.id),
		"com.docker.swarm.task.name":    name,
		planLabel:                       string(encoded),
	})
	return l, nil
}

// taskName is Docker's: service.slot.task.
func taskName(t *state.Task, template *state.Template) string {
	return template.ServiceName + "." + slot(t) + "." + string(t.ID)
}

// slot is the slot as Docker names it: where there is no number, the node.
func slot(t *state.Task) string {
	if t.Slot == 0 {
		return string(t.Node)
	}
	return strconv.FormatUint(t.Slot, 10)
}
