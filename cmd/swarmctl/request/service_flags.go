package request

import (
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/opts"
	"github.com/docker/cli/opts/swarmopts"
	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// A Service is what the flags of service create and service update say. Most
// lists have one name in create, and -add and -rm in update.
type Service struct {
	flags *pflag.FlagSet

	Image string // of service create, the first argument
	Args  []string

	Detach, Quiet                          bool
	RegistryAuth, NoResolveImage, Rollback bool

	name, mode, hostname, workdir, user, stopSignal, isolation string
	entrypoint                                                 words
	init, tty, readOnly, force                                 bool
	stopGrace                                                  opts.DurationOpt
	oomScoreAdj                                                int64
	credentials                                                credentialSpec

	labels, containerLabels, env, envFiles, groups, hosts []string
	dns, dnsOptions, dnsSearch, sysctls, capAdd, capDrop  []string
	constraints, generic                                  []string
	preferences, preferencesRemoved                       preferences
	mounts                                                opts.MountOpt
	networks                                              opts.NetworkOpt
	ports, portsRemoved                                   swarmopts.PortOpt
	ulimits                                               *opts.UlimitOpt
	secrets                                               swarmopts.SecretOpt
	configs                                               swarmopts.ConfigOpt
	removed                                               map[string]*[]string // the other -rm flags, by name

	replicas, concurrent count
	maxPerNode           uint64
	limit, reserve       amounts
	limitPids            int64
	restart              restartFlags
	update, undo         paceFlags
	endpointMode         string
	logDriver            string
	logOptions           []string
	health               healthFlags
}

type amounts struct {
	cpus   opts.NanoCPUs
	memory opts.MemBytes
}

type restartFlags struct {
	condition     string
	delay, window opts.DurationOpt
	attempts      count
}

// paceFlags are --update-* or --rollback-*.
type paceFlags struct {
	prefix         string
	parallelism    uint64
	delay, monitor time.Duration
	action, order  string
	failures       ratio
}

type healthFlags struct {
	command                                       string
	interval, timeout, startPeriod, startInterval opts.PositiveDurationOpt
	retries                                       int
	none                                          bool
}

// NewServiceCreate adds the flags of service create.
func NewServiceCreate(flags *pflag.FlagSet) *Service {
	f := newService(flags)
	f.creating()
	f.common(true)
	return f
}

// NewServiceUpdate adds the flags of service update.
func NewServiceUpdate(flags *pflag.FlagSet) *Service {
	f := newService(flags)
	f.updating()
	f.common(false)
	return f
}

func newService(flags *pflag.FlagSet) *Service {
	return &Service{
		flags:   flags,
		ulimits: opts.NewUlimitOpt(nil),
		removed: map[string]*[]string{},
		update:  paceFlags{prefix: "update"},
		undo:    paceFlags{prefix: "rollback"},
	}
}

// Changed reports whether any of the flags was given.
func (f *Service) Changed(names ...string) bool {
	return slices.ContainsFunc(names, f.flags.Changed)
}

// common adds the flags that create and update share. Only create shows the
// defaults: an update keeps what is there.
func (f *Service) common(create bool) {
	flags := f.flags
	usage := func(text, standard string) string {
		if create {
			return text + " (default " + standard + ")"
		}
		return text
	}
	DetachFlag(flags, &f.Detach)
	flags.BoolVarP(&f.Quiet, "quiet", "q", false, "Suppress progress output")
	flags.StringVarP(&f.workdir, "workdir", "w", "", "Working directory inside the container")
	flags.StringVarP(&f.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	flags.Var(&f.credentials, "credential-spec", "Credential spec for managed service account (Windows only)")
	flags.StringVar(&f.hostname, "hostname", "", "Container hostname")
	flags.Var(&f.entrypoint, "entrypoint", "Overwrite the default ENTRYPOINT of the image")
	List(flags, &f.capAdd, "cap-add", "", "Add Linux capabilities", nil)
	List(flags, &f.capDrop, "cap-drop", "", "Drop Linux capabilities", nil)
	flags.Var(&f.stopGrace, "stop-grace-period", usage("Time to wait before force killing a container (ns|us|ms|s|m|h)", "10s"))
	flags.StringVar(&f.stopSignal, "stop-signal", "", "Signal to stop the container")
	flags.BoolVarP(&f.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	flags.BoolVar(&f.readOnly, "read-only", false, "Mount the container's root filesystem as read only")
	flags.BoolVar(&f.init, "init", false, "Use an init inside each service container to forward signals and reap processes")
	flags.StringVar(&f.isolation, "isolation", "", "Service container isolation mode")
	flags.Int64Var(&f.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000) ")

	flags.Var(&f.limit.cpus, "limit-cpu", "Limit CPUs")
	flags.Var(&f.limit.memory, "limit-memory", "Limit Memory")
	flags.Int64Var(&f.limitPids, "limit-pids", 0, "Limit maximum number of processes (default 0 = unlimited)")
	flags.Var(&f.reserve.cpus, "reserve-cpu", "Reserve CPUs")
	flags.Var(&f.reserve.memory, "reserve-memory", "Reserve Memory")
	flags.Var(&f.replicas, "replicas", "Number of tasks")
	flags.Var(&f.concurrent, "max-concurrent", "Number of job tasks to run concurrently (default equal to --replicas)")
	flags.Uint64Var(&f.maxPerNode, "replicas-max-per-node", 0, "Maximum number of tasks per node (default 0 = unlimited)")

	flags.StringVar(&f.restart.condition, "restart-condition", "", usage(`Restart when condition is met ("none", "on-failure", "any")`, `"any"`))
	flags.Var(&f.restart.delay, "restart-delay", usage("Delay between restart attempts (ns|us|ms|s|m|h)", "5s"))
	flags.Var(&f.restart.attempts, "restart-max-attempts", "Maximum number of restarts before giving up")
	flags.Var(&f.restart.window, "restart-window", "Window used to evaluate the restart policy (ns|us|ms|s|m|h)")
	f.update.add(flags, usage, "updated", "update", "updates", `("pause", "continue", "rollback")`, create)
	f.undo.add(flags, usage, "rolled back", "rollback", "task rollbacks", `("pause", "continue")`, create)

	mode := ""
	if create {
		mode = "vip"
	}
	flags.StringVar(&f.endpointMode, "endpoint-mode", mode, "Endpoint mode (vip or dnsrr)")
	flags.BoolVar(&f.RegistryAuth, "with-registry-auth", false, "Send registry authentication details to swarm agents")
	flags.BoolVar(&f.NoResolveImage, "no-resolve-image", false, "Do not query the registry to resolve image digest and supported platforms")
	flags.StringVar(&f.logDriver, "log-driver", "", "Logging driver for service")
	List(flags, &f.logOptions, "log-opt", "", "Logging driver options", opts.ValidateEnv)
	f.health.add(flags)
}

// DetachFlag adds --detach.
func DetachFlag(flags *pflag.FlagSet, detach *bool) {
	flags.BoolVarP(detach, "detach", "d", false, "Exit immediately instead of waiting for the service to converge")
}

func (p *paceFlags) add(flags *pflag.FlagSet, usage func(text, standard string) string, done, one, many, actions string, create bool) {
	all, parallelism := "update all at once", uint64(0)
	if p.prefix == "rollback" {
		all = "roll back all at once"
	}
	if create {
		parallelism = 1
	}
	each := "task " + one
	flags.Uint64Var(&p.parallelism, p.prefix+"-parallelism", parallelism, "Maximum number of tasks "+done+" simultaneously (0 to "+all+")")
	flags.DurationVar(&p.delay, p.prefix+"-delay", 0, usage("Delay between "+many+" (ns|us|ms|s|m|h)", "0s"))
	flags.DurationVar(&p.monitor, p.prefix+"-monitor", 0, usage("Duration after each "+each+" to monitor for failure (ns|us|ms|s|m|h)", "5s"))
	flags.StringVar(&p.action, p.prefix+"-failure-action", "", usage("Action on "+one+" failure "+actions, `"pause"`))
	article := "an "
	if p.prefix == "rollback" {
		article = "a "
	}
	flags.Var(&p.failures, p.prefix+"-max-failure-ratio", usage("Failure rate to tolerate during "+article+one, "0"))
	flags.StringVar(&p.order, p.prefix+"-order", "", usage(strings.ToUpper(one[:1])+one[1:]+` order ("start-first", "stop-first")`, `"stop-first"`))
}

func (h *healthFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&h.command, "health-cmd", "", "Command to run to check health")
	flags.Var(&h.interval, "health-interval", "Time between running the check (ms|s|m|h)")
	flags.Var(&h.timeout, "health-timeout", "Maximum time to allow one check to run (ms|s|m|h)")
	flags.IntVar(&h.retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	flags.Var(&h.startPeriod, "health-start-period", "Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)")
	flags.Var(&h.startInterval, "health-start-interval", "Time between running the check during the start period (ms|s|m|h)")
	flags.BoolVar(&h.none, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}

// creating adds the flags that only create has.
func (f *Service) creating() {
	flags := f.flags
	flags.StringVar(&f.mode, "mode", "replicated", `Service mode ("replicated", "global", "replicated-job", "global-job")`)
	flags.StringVar(&f.name, "name", "", "Service name")
	List(flags, &f.labels, "label", "l", "Service labels", opts.ValidateLabel)
	List(flags, &f.containerLabels, "container-label", "", "Container labels", opts.ValidateLabel)
	List(flags, &f.env, "env", "e", "Set environment variables", opts.ValidateEnv)
	List(flags, &f.envFiles, "env-file", "", "Read in a file of environment variables", nil)
	flags.Var(&f.mounts, "mount", "Attach a filesystem mount to the service")
	List(flags, &f.constraints, "constraint", "", "Placement constraints", nil)
	flags.Var(&f.preferences, "placement-pref", "Add a placement preference")
	flags.Var(&f.networks, "network", "Network attachments")
	flags.Var(&f.secrets, "secret", "Specify secrets to expose to the service")
	flags.Var(&f.configs, "config", "Specify configurations to expose to the service")
	flags.VarP(&f.ports, "publish", "p", "Publish a port as a node port")
	List(flags, &f.groups, "group", "", "Set one or more supplementary user groups for the container", nil)
	List(flags, &f.dns, "dns", "", "Set custom DNS servers", opts.ValidateIPAddress)
	List(flags, &f.dnsOptions, "dns-option", "", "Set DNS options", nil)
	List(flags, &f.dnsSearch, "dns-search", "", "Set custom DNS search domains", opts.ValidateDNSSearch)
	List(flags, &f.hosts, "host", "", "Set one or more custom host-to-IP mappings (host:ip)", opts.ValidateExtraHost)
	List(flags, &f.sysctls, "sysctl", "", "Sysctl options", nil)
	flags.Var(f.ulimits, "ulimit", "Ulimit options")
	List(flags, &f.generic, "generic-resource", "", "User defined resources", genericResource)
	flags.SetInterspersed(false)
}

// updating adds the flags that only update has.
func (f *Service) updating() {
	flags := f.flags
	flags.StringVar(&f.Image, "image", "", "Service image tag")
	flags.Var((*words)(&f.Args), "args", "Service command args")
	flags.BoolVar(&f.Rollback, "rollback", false, "Rollback to previous specification")
	flags.BoolVar(&f.force, "force", false, "Force update even if no changes require it")
	List(flags, &f.labels, "label-add", "", "Add or update a service label", opts.ValidateLabel)
	List(flags, &f.containerLabels, "container-label-add", "", "Add or update a container label", opts.ValidateLabel)
	List(flags, &f.env, "env-add", "", "Add or update an environment variable", opts.ValidateEnv)
	flags.Var(&f.mounts, "mount-add", "Add or update a mount on a service")
	List(flags, &f.constraints, "constraint-add", "", "Add or update a placement constraint", nil)
	flags.Var(&f.preferences, "placement-pref-add", "Add a placement preference")
	flags.Var(&f.preferencesRemoved, "placement-pref-rm", "Remove a placement preference")
	flags.Var(&f.networks, "network-add", "Add a network")
	flags.Var(&f.secrets, "secret-add", "Add or update a secret on a service")
	flags.Var(&f.configs, "config-add", "Add or update a config file on a service")
	flags.Var(&f.ports, "publish-add", "Add or update a published port")
	flags.Var(&f.portsRemoved, "publish-rm", "Remove a published port by its target port")
	List(flags, &f.groups, "group-add", "", "Add an additional supplementary user group to the container", nil)
	List(flags, &f.dns, "dns-add", "", "Add or update a custom DNS server", opts.ValidateIPAddress)
	List(flags, &f.dnsOptions, "dns-option-add", "", "Add or update a DNS option", nil)
	List(flags, &f.dnsSearch, "dns-search-add", "", "Add or update a custom DNS search domain", opts.ValidateDNSSearch)
	List(flags, &f.hosts, "host-add", "", `Add a custom host-to-IP mapping ("host:ip")`, opts.ValidateExtraHost)
	List(flags, &f.sysctls, "sysctl-add", "", "Add or update a Sysctl option", nil)
	flags.Var(f.ulimits, "ulimit-add", "Add or update a ulimit option")
	List(flags, &f.generic, "generic-resource-add", "", "Add a Generic resource", genericResource)
	for _, removal := range []struct{ name, usage string }{
		{"label-rm", "Remove a label by its key"},
		{"container-label-rm", "Remove a container label by its key"},
		{"env-rm", "Remove an environment variable"},
		{"mount-rm", "Remove a mount by its target path"},
		{"constraint-rm", "Remove a constraint"},
		{"network-rm", "Remove a network"},
		{"secret-rm", "Remove a secret"},
		{"config-rm", "Remove a configuration file"},
		{"group-rm", "Remove a previously added supplementary user group from the container"},
		{"dns-rm", "Remove a custom DNS server"},
		{"dns-option-rm", "Remove a DNS option"},
		{"dns-search-rm", "Remove a DNS search domain"},
		{"host-rm", `Remove a custom host-to-IP mapping ("host:ip")`},
		{"sysctl-rm", "Remove a Sysctl option"},
		{"ulimit-rm", "Remove a ulimit option"},
		{"generic-resource-rm", "Remove a Generic resource"},
	} {
		f.removed[removal.name] = new([]string)
		List(flags, f.removed[removal.name], removal.name, "", removal.usage, nil)
	}
}

// merge returns the pace that results from base, the defaults for what base
// does not say, and the flags; base itself if no flag was given.
func (p *paceFlags) merge(flags *pflag.FlagSet, base *swarm.UpdateConfig) *swarm.UpdateConfig {
	given := false
	flags.Visit(func(f *pflag.Flag) { given = given || strings.HasPrefix(f.Name, p.prefix+"-") })
	if !given {
		return base
	}
	const (
		monitor = 5 * time.Second // swarm's defaults
		order   = swarm.UpdateOrderStopFirst
	)
	merged := swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause, Monitor: monitor, Order: order}
	if base != nil {
		merged = *base
	}
	for name, set := range map[string]func(){
		"parallelism":       func() { merged.Parallelism = p.parallelism },
		"delay":             func() { merged.Delay = p.delay },
		"monitor":           func() { merged.Monitor = p.monitor },
		"failure-action":    func() { merged.FailureAction = swarm.FailureAction(p.action) },
		"max-failure-ratio": func() { merged.MaxFailureRatio = float32(p.failures) },
		"order":             func() { merged.Order = swarm.UpdateOrder(p.order) },
	} {
		if flags.Changed(p.prefix + "-" + name) {
			set()
		}
	}
	return &merged
}

// merge returns the restart policy that results from base and the flags; base
// itself if no flag was given.
func (r *restartFlags) merge(flags *pflag.FlagSet, base *swarm.RestartPolicy) *swarm.RestartPolicy {
	delay, attempts := 5*time.Second, uint64(0) // swarm's defaults
	merged := swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay, MaxAttempts: &attempts}
	if base != nil {
		merged = *base
	}
	given := false
	for name, set := range map[string]func(){
		"restart-condition":    func() { merged.Condition = swarm.RestartPolicyCondition(r.condition) },
		"restart-delay":        func() { merged.Delay = r.delay.Value() },
		"restart-max-attempts": func() { merged.MaxAttempts = r.attempts.value },
		"restart-window":       func() { merged.Window = r.window.Value() },
	} {
		if flags.Changed(name) {
			given = true
			set()
		}
	}
	if !given {
		return base
	}
	return &merged
}
