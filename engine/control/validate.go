package control

import (
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

const (
	nanoCPUsMin    = 1e6              // 0.001 of a CPU
	memoryBytesMin = 4 << 20          // 4 MiB
	healthMin      = time.Millisecond // of a health check's durations, unless 0
)

// validate checks a normalised spec by itself, without looking at the swarm. The
// order is that of Docker's control plane.
func validate(spec *swarm.ServiceSpec) *Failed {
	task := &spec.TaskTemplate
	return first(
		func() *Failed { return validateName(spec.Name) },
		func() *Failed { return limits(spec) },
		func() *Failed { return validateLabels(spec.Labels) },
		func() *Failed { return validateResources(task.Resources) },
		func() *Failed { return validateRestart(task.RestartPolicy) },
		func() *Failed { return validateConstraints(task.Placement) },
		func() *Failed { return validateSecrets(task.ContainerSpec) },
		func() *Failed { return validateConfigs(task.ContainerSpec) },
		func() *Failed { return validateContainer(task.ContainerSpec) },
		func() *Failed { return validateMode(spec) },
		func() *Failed { return validateUpdate(spec) },
		func() *Failed { return validateEndpoint(spec.EndpointSpec) },
	)
}

func validateName(name string) *Failed {
	switch {
	case name == "":
		return invalid("meta: name must be provided")
	case !validName(name):
		return invalid("name must be valid as a DNS name component")
	case len(name) > nameBytesMax:
		return invalid("name must be %d characters or fewer", nameBytesMax)
	}
	return nil
}

// validateLabels checks those labels that mean something here.
func validateLabels(labels map[string]string) *Failed {
	_, patience := state.PatienceOf(labels)
	_, publishing := state.PublishingOf(labels)
	for _, err := range []error{patience, publishing} {
		if err != nil {
			return invalid("%v", err)
		}
	}
	return nil
}

func validateResources(r *swarm.ResourceRequirements) *Failed {
	if r == nil {
		return nil
	}
	check := func(nanoCPUs, memoryBytes int64) *Failed {
		if nanoCPUs != 0 && nanoCPUs < nanoCPUsMin {
			return invalid("invalid cpu value %g: Must be at least %g", float64(nanoCPUs)/1e9, nanoCPUsMin/1e9)
		}
		if memoryBytes != 0 && memoryBytes < memoryBytesMin {
			return invalid("invalid memory value %d: Must be at least 4MiB", memoryBytes)
		}
		return nil
	}
	if l := r.Limits; l != nil {
		if failed := check(l.NanoCPUs, l.MemoryBytes); failed != nil {
			return failed
		}
	}
	if l := r.Reservations; l != nil {
		return check(l.NanoCPUs, l.MemoryBytes)
	}
	return nil
}

func validateRestart(p *swarm.RestartPolicy) *Failed {
	switch {
	case p == nil:
		return nil
	case p.Delay != nil && *p.Delay < 0:
		return invalid("TaskSpec: restart-delay cannot be negative")
	case p.Window != nil && *p.Window < 0:
		return invalid("TaskSpec: restart-window cannot be negative")
	}
	return nil
}

func validateConstraints(p *swarm.Placement) *Failed {
	if p == nil {
		return nil
	}
	if _, err := state.ParseConstraints(p.Constraints); err != nil {
		return unknown("%s", err)
	}
	return nil
}

func validateSecrets(c *swarm.ContainerSpec) *Failed {
	if c == nil {
		return nil
	}
	targets := map[string]string{} // file name to the secret's name
	for _, ref := range c.Secrets {
		switch {
		case ref.SecretID == "" || ref.SecretName == "":
			return invalid("malformed secret reference")
		case ref.File == nil:
			return invalid("malformed secret reference, no target provided")
		case ref.File.Name == "":
			return invalid("malformed file secret reference, invalid target file name provided")
		}
		if other, taken := targets[ref.File.Name]; taken {
			return invalid("secret references '%s' and '%s' have a conflicting target: '%s'", other, ref.SecretName, ref.File.Name)
		}
		targets[ref.File.Name] = ref.SecretName
	}
	return nil
}

func validateConfigs(c *swarm.ContainerSpec) *Failed {
	if c == nil {
		return nil
	}
	credential, found := "", false
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil {
		credential = c.Privileges.CredentialSpec.Config
	}
	targets := map[string]string{} // file name to the config's name
	for _, ref := range c.Configs {
		switch {
		case ref.ConfigID == "" || ref.ConfigName == "":
			return invalid("malformed config reference")
		case ref.Runtime != nil:
			found = found || ref.ConfigID == credential
			continue
		case ref.File.Name == "":
			return invalid("malformed file config reference, invalid target file name provided")
		}
		if other, taken := targets[ref.File.Name]; taken {
			return invalid("config references '%s' and '%s' have a conflicting target: '%s'", other, ref.ConfigName, ref.File.Name)
		}
		targets[ref.File.Name] = ref.ConfigName
	}
	if credential != "" && !found {
		return invalid("CredentialSpec references config '%s', but that config isn't in config references with RuntimeTarget", credential)
	}
	return nil
}

func validateContainer(c *swarm.ContainerSpec) *Failed {
	if c == nil {
		return nil
	}
	targets, failed := expansions(c)
	if failed != nil {
		return failed
	}
	if c.Image == "" {
		return invalid("ContainerSpec: image reference must be provided")
	}
	if !validImage(c.Image) {
		return invalid("ContainerSpec: %q is not a valid repository/tag", c.Image)
	}
	seen := map[string]bool{}
	for _, target := range targets {
		if seen[target] {
			return invalid("ContainerSpec: duplicate mount point: %s", target)
		}
		seen[target] = true
	}
	return validateHealth(c.Healthcheck)
}

func validateHealth(h *container.HealthConfig) *Failed {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval},
	} {
		if d.value != 0 && d.value < healthMin {
			return invalid("ContainerSpec: %s in HealthConfig cannot be less than %s", d.name, healthMin)
		}
	}
	if h.Retries < 0 {
		return invalid("ContainerSpec: Retries in HealthConfig cannot be negative")
	}
	return nil
}

func validateMode(spec *swarm.ServiceSpec) *Failed {
	count := func(n *uint64, negative string) *Failed {
		switch {
		case int64(*n) < 0:
			return invalid("%s", negative)
		case *n > replicasMax:
			return plain(Invalid, "service %s wants %d tasks: at most %d are allowed", spec.Name, *n, replicasMax)
		}
		return nil
	}
	switch m := spec.Mode; {
	case m.Replicated != nil:
		return count(m.Replicated.Replicas, "Number of replicas must be non-negative")
	case m.ReplicatedJob != nil:
		if failed := count(m.ReplicatedJob.MaxConcurrent, "Maximum concurrent jobs must not be negative"); failed != nil {
			return failed
		}
		return count(m.ReplicatedJob.TotalCompletions, "Total completed jobs must not be negative")
	}
	return nil
}

// job reports whether the service runs to completion.
func job(spec *swarm.ServiceSpec) bool {
	return spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil
}

func validateUpdate(spec *swarm.ServiceSpec) *Failed {
	u := spec.UpdateConfig
	switch {
	case u == nil:
		return nil
	case job(spec):
		return invalid("Jobs may not have an update config")
	case u.Delay < 0:
		return invalid("TaskSpec: update-delay cannot be negative")
	case u.Monitor < 0:
		return invalid("TaskSpec: update-monitor cannot be negative")
	case !(u.MaxFailureRatio >= 0 && u.MaxFailureRatio <= 1): // NaN too
		return invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")
	}
	return nil
}

func validateEndpoint(e *swarm.EndpointSpec) *Failed {
	if e == nil {
		return nil
	}
	type published struct {
		protocol network.IPProtocol
		port     uint32
	}
	seen := map[published]bool{}
	for _, p := range e.Ports {
		if e.Mode == swarm.ResolutionModeDNSRR && p.PublishMode == swarm.PortConfigPublishModeIngress {
			return invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
		}
		if p.PublishedPort == 0 {
			continue
		}
		key := published{p.Protocol, p.PublishedPort}
		if seen[key] {
			return invalid("EndpointSpec: duplicate published ports provided")
		}
		seen[key] = true
	}
	return nil
}

// missingObjects refuses references to what is not there. Secrets and configs
// cannot be made with this build, so none is.
func missingObjects(c *swarm.ContainerSpec) *Failed {
	if c == nil {
		return nil
	}
	missing := func(kind string, names []string) *Failed {
		switch len(names) {
		case 0:
			return nil
		case 1:
			return invalid("%s not found: %s", kind, names[0])
		default:
			return invalid("%ss not found: %s", kind, strings.Join(names, ", "))
		}
	}
	var secrets, configs []string
	for _, ref := range c.Secrets {
		secrets = append(secrets, ref.SecretName)
	}
	for _, ref := range c.Configs {
		configs = append(configs, ref.ConfigName)
	}
	if failed := missing("secret", secrets); failed != nil {
		return failed
	}
	return missing("config", configs)
}

// The networks that are there without being made.
const (
	networkIngress = "ingress"
	networkHost    = "host"
	networkBridge  = "bridge"
)

// knownNetworks refuses attachments to networks that are not there, and names the
// others by their IDs: names may come to mean something else.
func knownNetworks(d *state.Draft, task *swarm.TaskSpec) *Failed {
	for i := range task.Networks {
		at := &task.Networks[i]
		n := d.Network(state.NetworkID(at.Target))
		if n == nil {
			n = d.NetworkByName(at.Target)
		}
		switch {
		case n != nil && !n.Removed && !n.Spec.Ingress:
			at.Target = string(n.ID)
		case n != nil && n.Spec.Ingress, at.Target == networkIngress, at.Target == networkHost, at.Target == networkBridge:
		default:
			return plain(Internal, "network %s not found", at.Target)
		}
	}
	return nil
}

// validateNetworks checks what a service is to be on, beside that it is there.
func validateNetworks(d *state.Draft, task *swarm.TaskSpec) *Failed {
	seen := map[string]bool{}
	for _, n := range task.Networks {
		if seen[n.Target] {
			return invalid("Service is attached to network %q more than once", n.Target)
		}
		seen[n.Target] = true
		for _, alias := range n.Aliases {
			if len(alias) == 0 || len(alias) > aliasBytesMax {
				return invalid("alias %q on network %q must have 1 to %d characters", alias, n.Target, aliasBytesMax)
			}
		}
		if at := d.Network(state.NetworkID(n.Target)); n.Target == networkIngress || at != nil && at.Spec.Ingress {
			return invalid("Service cannot be explicitly attached to the ingress network %q", n.Target)
		}
	}
	return nil
}

// served refuses what is valid and cannot be honoured.
func served(spec *swarm.ServiceSpec) *Failed {
	task := &spec.TaskTemplate
	if task.Runtime == swarm.RuntimePlugin {
		return unserved("services that run plugins", "use the container runtime")
	}
	for _, n := range task.Networks {
		switch {
		case n.Target == networkHost || n.Target == networkBridge:
			return unserved("services on network "+strconv.Quote(n.Target), "leave the networks out")
		case len(n.DriverOpts) > 0:
			return unserved("driver options of a service on a network", "leave driver-opt out")
		}
	}
	if r := task.Resources; r != nil && (r.SwapBytes != nil || r.MemorySwappiness != nil) {
		return unserved("limits of swap", "leave SwapBytes and MemorySwappiness out")
	}
	c := task.ContainerSpec
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil {
		return unserved("credential specs", "leave the credential spec out")
	}
	for _, m := range c.Mounts {
		switch m.Type {
		case mount.TypeCluster:
			return unserved("cluster volumes", "use a volume or a bind mount at "+m.Target)
		case mount.TypeImage:
			return unserved("mounts of images", "use a volume or a bind mount at "+m.Target)
		default:
		}
	}
	return nil
}
