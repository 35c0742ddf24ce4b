package request

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
)

// Spec is the service that the flags of service create describe.
func (f *Service) Spec(ctx context.Context, n Names) (swarm.ServiceSpec, error) {
	spec, err := f.spec()
	if err != nil {
		return swarm.ServiceSpec{}, err
	}
	if spec.TaskTemplate.Networks, err = resolveNetworks(ctx, n, f.networks.Value()); err != nil {
		return swarm.ServiceSpec{}, err
	}
	run := spec.TaskTemplate.ContainerSpec
	if run.Secrets, err = resolveSecrets(ctx, n, f.secrets.Value()); err != nil {
		return swarm.ServiceSpec{}, err
	}
	configs := f.configs.Value()
	if f.credentials.value != nil && f.credentials.value.Config != "" {
		configs = append(configs, &swarm.ConfigReference{ConfigName: f.credentials.value.Config, Runtime: &swarm.ConfigReferenceRuntimeTarget{}})
	}
	if run.Configs, err = resolveConfigs(ctx, n, configs); err != nil {
		return swarm.ServiceSpec{}, err
	}
	f.nameCredentials(run)
	return spec, nil
}

// nameCredentials writes the credential specification into the container's. One
// that is a config is named by the config's ID.
func (f *Service) nameCredentials(run *swarm.ContainerSpec) {
	if f.credentials.source == "" {
		return
	}
	spec := *f.credentials.value
	for _, config := range run.Configs {
		if spec.Config != "" && config.ConfigName == spec.Config {
			spec.Config = config.ConfigID
			break
		}
	}
	if run.Privileges == nil {
		run.Privileges = &swarm.Privileges{}
	}
	run.Privileges.CredentialSpec = &spec
}

// spec is the service that the flags describe, without what the daemon has to be
// asked about: networks, secrets, configs.
func (f *Service) spec() (swarm.ServiceSpec, error) {
	run, err := f.containerSpec()
	if err != nil {
		return swarm.ServiceSpec{}, err
	}
	mode, err := f.serviceMode()
	if err != nil {
		return swarm.ServiceSpec{}, err
	}
	update, rollback := f.update.merge(f.flags, nil), f.undo.merge(f.flags, nil)
	if (mode.ReplicatedJob != nil || mode.GlobalJob != nil) && (update != nil || rollback != nil) {
		return swarm.ServiceSpec{}, errors.New("update and rollback configuration is not supported for jobs")
	}
	generic, err := genericResources(f.generic)
	if err != nil {
		return swarm.ServiceSpec{}, err
	}
	ports := f.ports.Value() // in the order of a map: the same flags give the same request
	slices.SortFunc(ports, swarm.PortConfig.Compare)
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: f.name, Labels: opts.ConvertKVStringsToMap(f.labels)},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: run,
			Resources: &swarm.ResourceRequirements{
				Limits:       &swarm.Limit{NanoCPUs: f.limit.cpus.Value(), MemoryBytes: f.limit.memory.Value(), Pids: f.limitPids},
				Reservations: &swarm.Resources{NanoCPUs: f.reserve.cpus.Value(), MemoryBytes: f.reserve.memory.Value(), GenericResources: generic},
			},
			RestartPolicy: f.restart.merge(f.flags, nil),
			Placement:     &swarm.Placement{Constraints: f.constraints, Preferences: f.preferences, MaxReplicas: f.maxPerNode},
			LogDriver:     f.logging(),
		},
		Mode:           mode,
		UpdateConfig:   update,
		RollbackConfig: rollback,
		EndpointSpec:   &swarm.EndpointSpec{Mode: swarm.ResolutionMode(strings.ToLower(f.endpointMode)), Ports: ports},
	}, nil
}

func (f *Service) containerSpec() (*swarm.ContainerSpec, error) {
	env, err := f.environment()
	if err != nil {
		return nil, err
	}
	health, err := f.health.config()
	if err != nil {
		return nil, err
	}
	servers, err := addresses(f.dns)
	if err != nil {
		return nil, err
	}
	add, drop := opts.EffectiveCapAddCapDrop(f.capAdd, f.capDrop)
	run := &swarm.ContainerSpec{
		Image:           f.Image,
		Args:            f.Args,
		Command:         f.entrypoint,
		Env:             env,
		Hostname:        f.hostname,
		Labels:          opts.ConvertKVStringsToMap(f.containerLabels),
		Dir:             f.workdir,
		User:            f.user,
		Groups:          f.groups,
		StopSignal:      f.stopSignal,
		StopGracePeriod: f.stopGrace.Value(),
		TTY:             f.tty,
		ReadOnly:        f.readOnly,
		Mounts:          f.mounts.Value(),
		Init:            &f.init,
		DNSConfig:       &swarm.DNSConfig{Nameservers: servers, Search: f.dnsSearch, Options: f.dnsOptions},
		Hosts:           hostLines(f.hosts),
		Healthcheck:     health,
		Isolation:       container.Isolation(f.isolation),
		Sysctls:         opts.ConvertKVStringsToMap(f.sysctls),
		CapabilityAdd:   add,
		CapabilityDrop:  drop,
		Ulimits:         sortedUlimits(f.ulimits.GetList()),
		OomScoreAdj:     f.oomScoreAdj,
	}
	return run, nil
}

// sortedUlimits orders by name what opts keeps in a map.
func sortedUlimits(limits []*container.Ulimit) []*container.Ulimit {
	slices.SortFunc(limits, func(a, b *container.Ulimit) int { return cmp.Compare(a.Name, b.Name) })
	return limits
}

// environment is --env-file, then --env; of several values of a name the last.
func (f *Service) environment() ([]string, error) {
	given, err := opts.ReadKVEnvStrings(f.envFiles, f.env)
	if err != nil {
		return nil, err
	}
	env := make([]string, 0, len(given))
	for _, variable := range given {
		if slices.Contains(env, variable) {
			continue
		}
		name, _, _ := strings.Cut(variable, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, variable)
	}
	return env, nil
}

func (f *Service) serviceMode() (swarm.ServiceMode, error) {
	replicated := f.mode == "replicated" || f.mode == "replicated-job"
	var mode swarm.ServiceMode
	switch f.mode {
	case "replicated":
		mode.Replicated = &swarm.ReplicatedService{Replicas: f.replicas.value}
	case "replicated-job":
		concurrent := f.concurrent.value
		if concurrent == nil {
			concurrent = f.replicas.value
		}
		mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: concurrent, TotalCompletions: f.replicas.value}
	case "global":
		mode.Global = &swarm.GlobalService{}
	case "global-job":
		mode.GlobalJob = &swarm.GlobalJob{}
	default:
		return mode, fmt.Errorf("Unknown mode: %s, only replicated and global supported", f.mode) //nolint:staticcheck // docker's text
	}
	switch {
	case !replicated && f.replicas.value != nil:
		return mode, errors.New("replicas can only be used with replicated or replicated-job mode")
	case !replicated && f.maxPerNode > 0:
		return mode, errors.New("replicas-max-per-node can only be used with replicated or replicated-job mode")
	case f.mode != "replicated-job" && f.concurrent.value != nil:
		return mode, errors.New("max-concurrent can only be used with replicated-job mode")
	}
	return mode, nil
}

func (f *Service) logging() *swarm.Driver {
	if f.logDriver == "" {
		return nil
	}
	return &swarm.Driver{Name: f.logDriver, Options: opts.ConvertKVStringsToMap(f.logOptions)}
}

// config is the health check that the flags describe; nil leaves the image's.
func (h *healthFlags) config() (*container.HealthConfig, error) {
	durations := []opts.PositiveDurationOpt{h.interval, h.timeout, h.startPeriod, h.startInterval}
	given := h.command != "" || h.retries != 0 ||
		slices.ContainsFunc(durations, func(d opts.PositiveDurationOpt) bool { return d.Value() != nil })
	switch {
	case h.none && given:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case h.none:
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case !given:
		return nil, nil //nolint:nilnil // no flag, no health check
	}
	health := &container.HealthConfig{Retries: h.retries}
	if h.command != "" {
		health.Test = []string{"CMD-SHELL", h.command}
	}
	h.times(health)
	return health, nil
}

// times writes the durations that were given into a health check.
func (h *healthFlags) times(health *container.HealthConfig) {
	if d := h.interval.Value(); d != nil {
		health.Interval = *d
	}
	if d := h.timeout.Value(); d != nil {
		health.Timeout = *d
	}
	if d := h.startPeriod.Value(); d != nil {
		health.StartPeriod = *d
	}
	if d := h.startInterval.Value(); d != nil {
		health.StartInterval = *d
	}
}

func addresses(words []string) ([]netip.Addr, error) {
	found := make([]netip.Addr, 0, len(words))
	for _, word := range words {
		address, err := netip.ParseAddr(word)
		if err != nil {
			return nil, err
		}
		found = append(found, address)
	}
	return found, nil
}

// hostLines turns host:ip into lines of /etc/hosts.
func hostLines(mappings []string) []string {
	lines := make([]string, 0, len(mappings))
	for _, mapping := range mappings {
		if host, ip, ok := strings.Cut(mapping, ":"); ok {
			lines = append(lines, ip+" "+host)
		}
	}
	return lines
}
