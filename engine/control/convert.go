package control

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

// normalise fills what Docker fills when it stores a spec, and refuses words that
// Docker does not know. The spec is changed in place.
func normalise(spec *swarm.ServiceSpec) *Failed {
	task := &spec.TaskTemplate
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	return first(
		func() *Failed { return normaliseRuntime(spec) },
		func() *Failed { return normaliseRestart(task.RestartPolicy) },
		func() *Failed { return normalisePlacement(task.Placement) },
		func() *Failed { return normaliseUpdate(spec.UpdateConfig) },
		func() *Failed { return normaliseUpdate(spec.RollbackConfig) },
		func() *Failed { return normaliseEndpoint(spec.EndpointSpec) },
		func() *Failed { return normaliseMode(&spec.Mode) },
	)
}

func normaliseRuntime(spec *swarm.ServiceSpec) *Failed {
	task := &spec.TaskTemplate
	switch task.Runtime {
	case swarm.RuntimeContainer, "":
		if task.ContainerSpec == nil {
			return plain(Invalid, "mismatched Runtime and *Spec fields")
		}
		task.Runtime = swarm.RuntimeContainer
		return normaliseContainer(task.ContainerSpec)
	case swarm.RuntimePlugin:
		if task.PluginSpec == nil {
			return plain(Invalid, "mismatched Runtime and *Spec fields")
		}
		if spec.Mode.Replicated != nil {
			return plain(Invalid, "plugins must not use replicated mode")
		}
		spec.Mode.Global = &swarm.GlobalService{}
		return nil
	default:
		return plain(Invalid, "unsupported runtime")
	}
}

func normaliseContainer(c *swarm.ContainerSpec) *Failed {
	if failed := nulls(c); failed != nil {
		return failed
	}
	switch {
	case c.Isolation.IsHyperV():
		c.Isolation = container.IsolationHyperV
	case c.Isolation.IsProcess():
		c.Isolation = container.IsolationProcess
	default:
		c.Isolation = container.IsolationDefault
	}
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil {
		if text := credentialFault(c.Privileges.CredentialSpec); text != "" {
			return plain(Invalid, "invalid CredentialSpec: %s", text)
		}
	}
	for _, ref := range c.Configs {
		switch {
		case ref.Runtime == nil && ref.File == nil:
			return plain(Invalid, "invalid Config: either File or Runtime should be set")
		case ref.Runtime != nil && ref.File != nil:
			return plain(Invalid, "invalid Config: cannot specify both File and Runtime")
		}
	}
	for i := range c.Mounts {
		if failed := normaliseMount(&c.Mounts[i]); failed != nil {
			return failed
		}
	}
	return nil
}

// nulls refuses null where a list wants an object.
func nulls(c *swarm.ContainerSpec) *Failed {
	null := func(list string) *Failed { return plain(Invalid, "ContainerSpec: %s has an entry that is null", list) }
	for _, s := range c.Secrets {
		if s == nil {
			return null("Secrets")
		}
	}
	for _, s := range c.Configs {
		if s == nil {
			return null("Configs")
		}
	}
	for _, u := range c.Ulimits {
		if u == nil {
			return null("Ulimits")
		}
	}
	return nil
}

func credentialFault(c *swarm.CredentialSpec) string {
	var given []string
	for _, source := range []struct{ name, value string }{
		{`"config"`, c.Config}, {`"file"`, c.File}, {`"registry"`, c.Registry},
	} {
		if source.value != "" {
			given = append(given, source.name)
		}
	}
	switch n := len(given); n {
	case 0:
		return `must either provide "file", "registry", or "config" for credential spec`
	case 1:
		return ""
	case 2:
		return fmt.Sprintf("cannot specify both %s and %s credential specs", given[0], given[1])
	default:
		return fmt.Sprintf("cannot specify both %s, and %s credential specs", strings.Join(given[:n-1], ", "), given[n-1])
	}
}

func normaliseMount(m *mount.Mount) *Failed {
	switch kind := mount.Type(strings.ToLower(string(m.Type))); kind {
	case "":
		m.Type = mount.TypeBind
	case mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs, mount.TypeNamedPipe, mount.TypeCluster, mount.TypeImage:
		m.Type = kind
	default:
		return plain(Invalid, "invalid MountType: %q", m.Type)
	}
	if m.BindOptions == nil {
		return nil
	}
	switch p := mount.Propagation(strings.ToLower(string(m.BindOptions.Propagation))); p {
	case "", mount.PropagationRPrivate, mount.PropagationPrivate, mount.PropagationRShared,
		mount.PropagationShared, mount.PropagationRSlave, mount.PropagationSlave:
		m.BindOptions.Propagation = p
	default:
		return plain(Invalid, "invalid MountPropagation: %q", m.BindOptions.Propagation)
	}
	return nil
}

func normaliseRestart(p *swarm.RestartPolicy) *Failed {
	if p == nil {
		return nil
	}
	switch p.Condition {
	case "":
		p.Condition = swarm.RestartPolicyConditionAny
	case swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure, swarm.RestartPolicyConditionAny:
	default:
		return plain(Invalid, "invalid RestartCondition: %q", p.Condition)
	}
	if p.MaxAttempts == nil {
		p.MaxAttempts = new(uint64)
	}
	return nil
}

// normalisePlacement drops preferences that prefer nothing, as Docker does.
func normalisePlacement(p *swarm.Placement) *Failed {
	if p == nil {
		return nil
	}
	var kept []swarm.PlacementPreference
	for _, pref := range p.Preferences {
		if pref.Spread != nil {
			kept = append(kept, pref)
		}
	}
	p.Preferences = kept
	return nil
}

func normaliseUpdate(u *swarm.UpdateConfig) *Failed {
	if u == nil {
		return nil
	}
	switch u.FailureAction {
	case "":
		u.FailureAction = swarm.UpdateFailureActionPause
	case swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue, swarm.UpdateFailureActionRollback:
	default:
		return plain(Invalid, "unrecognized update failure action %s", u.FailureAction)
	}
	switch u.Order {
	case "":
		u.Order = swarm.UpdateOrderStopFirst
	case swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst:
	default:
		return plain(Invalid, "unrecognized update order %s", u.Order)
	}
	return nil
}

// normaliseEndpoint makes tcp of any protocol that is none, and ingress of any
// mode that is none, as Docker does.
func normaliseEndpoint(e *swarm.EndpointSpec) *Failed {
	if e == nil {
		return nil
	}
	switch e.Mode {
	case "":
		e.Mode = swarm.ResolutionModeVIP
	case swarm.ResolutionModeVIP, swarm.ResolutionModeDNSRR:
	default:
		return plain(Invalid, "invalid resolution mode: %q", e.Mode)
	}
	for i := range e.Ports {
		p := &e.Ports[i]
		switch protocol := network.IPProtocol(strings.ToLower(string(p.Protocol))); protocol {
		case network.UDP, network.SCTP:
			p.Protocol = protocol
		default:
			p.Protocol = network.TCP
		}
		if strings.EqualFold(string(p.PublishMode), string(swarm.PortConfigPublishModeHost)) {
			p.PublishMode = swarm.PortConfigPublishModeHost
		} else {
			p.PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
	return nil
}

func normaliseMode(m *swarm.ServiceMode) *Failed {
	given := 0
	for _, set := range []bool{m.Global != nil, m.Replicated != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if set {
			given++
		}
	}
	one := uint64(1)
	switch {
	case given > 1:
		return plain(Invalid, "must specify only one service mode")
	case given == 0:
		m.Replicated = &swarm.ReplicatedService{Replicas: &one}
	case m.Replicated != nil && m.Replicated.Replicas == nil:
		m.Replicated.Replicas = &one
	case m.ReplicatedJob != nil:
		if m.ReplicatedJob.MaxConcurrent == nil {
			m.ReplicatedJob.MaxConcurrent = &one
		}
		if m.ReplicatedJob.TotalCompletions == nil {
			total := *m.ReplicatedJob.MaxConcurrent
			m.ReplicatedJob.TotalCompletions = &total
		}
	}
	return nil
}
