package request

import (
	"context"
	"errors"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// OnlyRollback refuses flags that cannot stand beside --rollback.
func (f *Service) OnlyRollback() error {
	if !f.onlyRollback() {
		return errors.New("other flags may not be combined with --rollback")
	}
	return nil
}

func (f *Service) onlyRollback() bool {
	only := true
	f.flags.Visit(func(flag *pflag.Flag) {
		only = only && (flag.Name == "rollback" || flag.Name == "detach" || flag.Name == "quiet")
	})
	return only
}

// Change makes the changes to a service that the flags of service update describe.
func (f *Service) Change(ctx context.Context, n Names, spec *swarm.ServiceSpec) error {
	task := &spec.TaskTemplate
	if task.ContainerSpec == nil {
		task.ContainerSpec = &swarm.ContainerSpec{}
	}
	run := task.ContainerSpec
	f.applyContainer(run)
	f.applyLists(spec, run)
	for _, step := range []func() error{
		func() error { return f.applyMounts(run) },
		func() error { return f.applyResources(task) },
		func() error { return f.applyNetworks(ctx, n, task) },
		func() error { return f.applyMode(spec) },
		func() error { return f.applyDNS(run) },
		func() error { return f.applyHealth(run) },
		func() error { return f.applySecrets(ctx, n, run) },
		func() error { return f.applyConfigs(ctx, n, run) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	task.RestartPolicy = f.restart.merge(f.flags, task.RestartPolicy)
	spec.UpdateConfig = f.update.merge(f.flags, spec.UpdateConfig)
	spec.RollbackConfig = f.undo.merge(f.flags, spec.RollbackConfig)
	if driver := f.logging(); driver != nil {
		task.LogDriver = driver
	}
	if f.force {
		task.ForceUpdate++
	}
	f.applyEndpoint(spec)
	f.applyCredentials(run)
	return nil
}

// set writes a value if its flag was given.
func set[T any](f *Service, flag string, field *T, value T) {
	if f.Changed(flag) {
		*field = value
	}
}

func (f *Service) applyContainer(run *swarm.ContainerSpec) {
	set(f, "image", &run.Image, f.Image)
	set(f, "args", &run.Args, f.Args)
	set(f, "entrypoint", &run.Command, []string(f.entrypoint))
	set(f, "workdir", &run.Dir, f.workdir)
	set(f, "user", &run.User, f.user)
	set(f, "hostname", &run.Hostname, f.hostname)
	set(f, "init", &run.Init, &f.init)
	set(f, "isolation", &run.Isolation, container.Isolation(f.isolation))
	set(f, "oom-score-adj", &run.OomScoreAdj, f.oomScoreAdj)
	set(f, "stop-grace-period", &run.StopGracePeriod, f.stopGrace.Value())
	set(f, "stop-signal", &run.StopSignal, f.stopSignal)
	set(f, "tty", &run.TTY, f.tty)
	set(f, "read-only", &run.ReadOnly, f.readOnly)
	if f.Changed("cap-add", "cap-drop") {
		f.applyCapabilities(run)
	}
}

func (f *Service) applyResources(task *swarm.TaskSpec) error {
	if !f.Changed("limit-cpu", "limit-memory", "limit-pids", "reserve-cpu", "reserve-memory", "generic-resource-add", "generic-resource-rm") {
		return nil
	}
	if task.Resources == nil {
		task.Resources = &swarm.ResourceRequirements{}
	}
	if task.Resources.Limits == nil {
		task.Resources.Limits = &swarm.Limit{}
	}
	if task.Resources.Reservations == nil {
		task.Resources.Reservations = &swarm.Resources{}
	}
	set(f, "limit-cpu", &task.Resources.Limits.NanoCPUs, f.limit.cpus.Value())
	set(f, "limit-memory", &task.Resources.Limits.MemoryBytes, f.limit.memory.Value())
	set(f, "limit-pids", &task.Resources.Limits.Pids, f.limitPids)
	set(f, "reserve-cpu", &task.Resources.Reservations.NanoCPUs, f.reserve.cpus.Value())
	set(f, "reserve-memory", &task.Resources.Reservations.MemoryBytes, f.reserve.memory.Value())
	return f.applyGeneric(task.Resources.Reservations)
}

func (f *Service) applyMode(spec *swarm.ServiceSpec) error {
	if f.Changed("replicas") {
		if spec.Mode.Replicated == nil {
			return errors.New("replicas can only be used with replicated mode")
		}
		spec.Mode.Replicated.Replicas = f.replicas.value
	}
	if f.Changed("constraint-add", "constraint-rm", "placement-pref-add", "placement-pref-rm", "replicas-max-per-node") {
		if spec.TaskTemplate.Placement == nil {
			spec.TaskTemplate.Placement = &swarm.Placement{}
		}
		f.applyPlacement(spec.TaskTemplate.Placement)
	}
	return nil
}

func (f *Service) applyEndpoint(spec *swarm.ServiceSpec) {
	if !f.Changed("endpoint-mode", "publish-add", "publish-rm") {
		return
	}
	if spec.EndpointSpec == nil {
		spec.EndpointSpec = &swarm.EndpointSpec{}
	}
	set(f, "endpoint-mode", &spec.EndpointSpec.Mode, swarm.ResolutionMode(f.endpointMode))
	if f.Changed("publish-add", "publish-rm") {
		f.applyPorts(spec.EndpointSpec)
	}
}

func (f *Service) applyHealth(run *swarm.ContainerSpec) error {
	given := f.Changed("health-cmd", "health-interval", "health-retries", "health-timeout", "health-start-period", "health-start-interval")
	if f.health.none && given {
		return errors.New("--no-healthcheck conflicts with --health-* options")
	}
	if f.health.none {
		run.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	}
	if !given {
		return nil
	}
	if run.Healthcheck == nil {
		run.Healthcheck = &container.HealthConfig{}
	}
	health := run.Healthcheck
	if len(health.Test) > 0 && health.Test[0] == "NONE" {
		health.Test = nil
	}
	f.health.times(health)
	set(f, "health-retries", &health.Retries, f.health.retries)
	if f.Changed("health-cmd") {
		health.Test = nil
		if f.health.command != "" {
			health.Test = []string{"CMD-SHELL", f.health.command}
		}
	}
	return nil
}

func (f *Service) applyCredentials(run *swarm.ContainerSpec) {
	switch {
	case !f.Changed("credential-spec"):
	case f.credentials.source != "":
		f.nameCredentials(run)
	case run.Privileges != nil:
		run.Privileges.CredentialSpec = nil
	}
}

// networkNames are the names of networks that the flags of service update speak of.
func (f *Service) networkNames() []string {
	names := slices.Clone(*f.removed["network-rm"])
	for _, wanted := range f.networks.Value() {
		names = append(names, wanted.Target)
	}
	return names
}
