package api

import (
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// renderService is one service as GET /services shows it.
func renderService(service *state.Service) swarm.Service {
	rendered := swarm.Service{
		ID:           string(service.ID),
		Meta:         metaOf(service.Meta, service.SpecVersion),
		Spec:         withServiceDefaults(service.Spec),
		Endpoint:     renderEndpoint(service),
		UpdateStatus: renderUpdate(service.Update),
	}
	if service.Previous != nil {
		previous := withServiceDefaults(*service.Previous)
		rendered.PreviousSpec = &previous
	}
	if service.Spec.Mode.ReplicatedJob != nil || service.Spec.Mode.GlobalJob != nil {
		rendered.JobStatus = &swarm.JobStatus{
			JobIteration:  swarm.Version{Index: service.JobIteration},
			LastExecution: service.JobExecution.Time(),
		}
	}
	return rendered
}

// renderEndpoint shows what was given out. A service that nothing was given to
// has an empty Spec there, whatever it wishes.
func renderEndpoint(service *state.Service) swarm.Endpoint {
	if len(service.Ports) == 0 && len(service.VIPs) == 0 {
		return swarm.Endpoint{}
	}
	endpoint := swarm.Endpoint{Spec: swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}, Ports: service.Ports}
	if service.Spec.EndpointSpec != nil {
		endpoint.Spec = *service.Spec.EndpointSpec
	}
	for _, v := range service.VIPs {
		endpoint.VirtualIPs = append(endpoint.VirtualIPs, swarm.EndpointVirtualIP{NetworkID: string(v.Network), Addr: v.Address})
	}
	return endpoint
}

func renderUpdate(update *state.Update) *swarm.UpdateStatus {
	if update == nil {
		return nil
	}
	return &swarm.UpdateStatus{
		State:       update.State,
		StartedAt:   moment(update.Started),
		CompletedAt: moment(update.Completed),
		Message:     update.Message,
	}
}

// moment is nil for never.
func moment(w state.Wall) *time.Time {
	if w == 0 {
		return nil
	}
	t := w.Time()
	return &t
}

// withServiceDefaults is a spec as Docker shows it without being asked for
// defaults: labels are {}, and TaskTemplate as withTaskDefaults has it.
func withServiceDefaults(spec swarm.ServiceSpec) swarm.ServiceSpec {
	spec.Labels = labelsOf(spec.Labels)
	spec.TaskTemplate = withTaskDefaults(spec.TaskTemplate)
	return spec
}

// withTaskDefaults names the runtime and the isolation, which Docker does on
// storing a spec.
func withTaskDefaults(spec swarm.TaskSpec) swarm.TaskSpec {
	if spec.Runtime == "" {
		spec.Runtime = swarm.RuntimeContainer
	}
	if spec.ContainerSpec != nil && spec.ContainerSpec.Isolation == "" {
		spec.ContainerSpec = copied(spec.ContainerSpec)
		spec.ContainerSpec.Isolation = container.IsolationDefault
	}
	return spec
}

// insertDefaults fills in what applies when the user has said nothing: what
// ?insertDefaults=true asks for. Values are those of objects that dockerd 28.2.2
// shows.
func insertDefaults(spec swarm.ServiceSpec) swarm.ServiceSpec {
	const grace, delay, monitor = 10 * time.Second, 5 * time.Second, 5 * time.Second
	if spec.TaskTemplate.ContainerSpec != nil {
		c := copied(spec.TaskTemplate.ContainerSpec)
		c.StopGracePeriod = orElse(c.StopGracePeriod, grace)
		c.DNSConfig = orElse(c.DNSConfig, swarm.DNSConfig{})
		spec.TaskTemplate.ContainerSpec = c
	}
	if spec.TaskTemplate.RestartPolicy == nil {
		spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{
			Condition:   swarm.RestartPolicyConditionAny,
			MaxAttempts: orElse[uint64](nil, 0),
		}
	}
	restart := copied(spec.TaskTemplate.RestartPolicy)
	restart.Delay = orElse(restart.Delay, delay)
	spec.TaskTemplate.RestartPolicy = restart

	update := swarm.UpdateConfig{
		Parallelism:   1,
		FailureAction: swarm.UpdateFailureActionPause,
		Monitor:       monitor,
		Order:         swarm.UpdateOrderStopFirst,
	}
	spec.UpdateConfig = updateDefaults(spec.UpdateConfig, update)
	spec.RollbackConfig = updateDefaults(spec.RollbackConfig, update)
	spec.EndpointSpec = orElse(spec.EndpointSpec, swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP})
	return spec
}

func updateDefaults(config *swarm.UpdateConfig, otherwise swarm.UpdateConfig) *swarm.UpdateConfig {
	if config == nil {
		return &otherwise
	}
	filled := copied(config)
	if filled.Monitor == 0 {
		filled.Monitor = otherwise.Monitor
	}
	return filled
}

func orElse[T any](p *T, otherwise T) *T {
	if p == nil {
		return &otherwise
	}
	return p
}
