package control

import (
	"encoding/json"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// createService stores a new service with the template of its first tasks.
func (a *admission) createService(call ServiceCreate) Answer {
	spec, failed := a.take(call.Spec)
	if failed != nil {
		return *failed
	}
	if failed := first(
		func() *Failed { return authSized(call.RegistryAuth) },
		func() *Failed { return validate(spec) },
		func() *Failed { return validateNetworks(a.d, &spec.TaskTemplate) },
		func() *Failed { return portConflicts(a.d, "", spec.EndpointSpec) },
		func() *Failed { return missingObjects(spec.TaskTemplate.ContainerSpec) },
		func() *Failed { return a.nameFree(spec.Name) },
		func() *Failed { return served(spec) },
	); failed != nil {
		return *failed
	}
	ports, warnings := publish(spec.EndpointSpec, nil)
	s := &state.Service{
		ID: state.ServiceID(a.mint.ID()), Meta: a.created(), SpecVersion: a.d.Version(),
		Spec: *spec, Template: a.d.Version(), Ports: ports, RegistryAuth: call.RegistryAuth,
	}
	if job(spec) {
		s.JobExecution = a.wall
	}
	a.d.PutTemplate(makeTemplate(s))
	a.d.PutService(s)
	return Created{ID: string(s.ID), Warnings: warnings}
}

// updateService replaces a service's spec, or goes back to the previous one.
func (a *admission) updateService(call ServiceUpdate) Answer {
	spec, failed := a.take(call.Spec)
	if failed != nil {
		return *failed
	}
	old, failed := service(a.d, call.Ref)
	if failed != nil {
		return *failed
	}
	auth, failed := authFor(old, call)
	if failed != nil {
		return *failed
	}
	back, failed := rollingBack(call.Rollback)
	if failed != nil {
		return *failed
	}
	if failed := first(
		func() *Failed { return validate(spec) },
		func() *Failed { return validateNetworks(a.d, &spec.TaskTemplate) },
		func() *Failed { return portConflicts(a.d, old.ID, spec.EndpointSpec) },
		func() *Failed { return missingObjects(spec.TaskTemplate.ContainerSpec) },
		func() *Failed { return sameKind(&old.Spec, spec) },
	); failed != nil {
		return *failed
	}
	if back {
		if old.Previous == nil {
			return *unmet("service %s does not have a previous spec", old.ID)
		}
		spec, auth = old.Previous, old.PreviousAuth
		if failed := first(
			func() *Failed { return portConflicts(a.d, old.ID, spec.EndpointSpec) },
			func() *Failed { return a.networksThere(&spec.TaskTemplate) },
		); failed != nil {
			return *failed
		}
	}
	if failed := first(
		func() *Failed { return a.outOfSequence(call.Version, old.SpecVersion) },
		func() *Failed { return served(spec) },
	); failed != nil {
		return *failed
	}
	next, warnings := a.revise(old, spec, auth, back)
	a.d.PutService(next)
	return Done{Warnings: warnings}
}

// removeService removes the service's object. Its tasks, and the templates they
// were made from, are for the orchestrator to see to the end.
func (a *admission) removeService(call ServiceRemove) Answer {
	s, failed := service(a.d, call.Ref)
	if failed != nil {
		return *failed
	}
	a.d.DeleteService(s.ID)
	return Done{}
}

// take copies a spec that was sent, so that nothing stored is shared with the
// caller, and does to it what Docker does before its control plane sees it.
func (a *admission) take(sent swarm.ServiceSpec) (*swarm.ServiceSpec, *Failed) {
	data, err := json.Marshal(sent)
	if err != nil {
		return nil, plain(Invalid, "service spec: %s", err)
	}
	if len(data) > specBytesMax {
		return nil, plain(Invalid, "service spec has %d bytes: at most %d are allowed", len(data), specBytesMax)
	}
	spec := &swarm.ServiceSpec{}
	if err := json.Unmarshal(data, spec); err != nil {
		return nil, plain(Invalid, "service spec: %s", err)
	}
	if spec.Name == "" {
		spec.Name = inventName(a.d, a.mint)
	}
	if failed := first(
		func() *Failed { return knownNetworks(a.d, &spec.TaskTemplate) },
		func() *Failed { return normalise(spec) },
	); failed != nil {
		return nil, failed
	}
	return spec, nil
}

func (a *admission) nameFree(name string) *Failed {
	if a.d.ServiceByNameFold(name) != nil && !mutant.On(mutant.NameUnchecked) {
		return exists("name conflicts with an existing object: service %s already exists", name)
	}
	return nil
}

func authSized(auth string) *Failed {
	if len(auth) > authBytesMax {
		return plain(Invalid, "X-Registry-Auth has %d bytes: at most %d are allowed", len(auth), authBytesMax)
	}
	return nil
}

// authFor chooses the registry credentials of an update: those sent, else those
// that the service has or had.
func authFor(s *state.Service, call ServiceUpdate) (string, *Failed) {
	if call.RegistryAuth != "" {
		return call.RegistryAuth, authSized(call.RegistryAuth)
	}
	switch swarm.RegistryAuthSource(call.AuthFrom) {
	case swarm.RegistryAuthFromSpec, "":
		return s.RegistryAuth, nil
	case swarm.RegistryAuthFromPreviousSpec:
		if s.Previous == nil {
			return "", plain(Internal, "service does not have a previous spec")
		}
		return s.PreviousAuth, nil
	default:
		return "", plain(Internal, "unsupported registryAuthFrom value")
	}
}

func rollingBack(option string) (bool, *Failed) {
	switch option {
	case "", "none":
		return false, nil
	case "previous":
		return true, nil
	default:
		return false, plain(Internal, "unrecognized rollback option %s", option)
	}
}

// networksThere refuses to go back to a network that has been removed since.
func (a *admission) networksThere(task *swarm.TaskSpec) *Failed {
	for _, at := range task.Networks {
		if n := a.d.Network(state.NetworkID(at.Target)); n == nil || n.Removed {
			return unmet("network %s not found: the service was on it, and it has been removed since", at.Target)
		}
	}
	return nil
}

// sameKind refuses what an update cannot change.
func sameKind(old, to *swarm.ServiceSpec) *Failed {
	modes := func(s *swarm.ServiceSpec) [4]bool {
		m := s.Mode
		return [4]bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil}
	}
	switch {
	case modes(old) != modes(to):
		return unimplemented("service mode change is not allowed")
	case old.Name != to.Name:
		return unimplemented("renaming services is not supported")
	}
	return nil
}
