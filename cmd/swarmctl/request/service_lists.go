package request

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
)

// This file has what the -add and -rm flags of service update do to lists.

// dropped reports whether a -rm flag names key.
func (f *Service) dropped(flag, key string) bool { return slices.Contains(*f.removed[flag], key) }

// merged returns the strings of a list after -rm and -add.
func (f *Service) merged(flag string, old, added []string) []string {
	kept := []string{}
	for _, item := range slices.Concat(old, added) {
		if !f.dropped(flag+"-rm", item) {
			kept = append(kept, item)
		}
	}
	return kept
}

// mergeMap removes keys from a map and adds pairs to it.
func (f *Service) mergeMap(flag string, field *map[string]string, added []string) {
	for _, key := range *f.removed[flag+"-rm"] {
		delete(*field, key)
	}
	if len(added) == 0 {
		return
	}
	if *field == nil {
		*field = map[string]string{}
	}
	maps.Copy(*field, opts.ConvertKVStringsToMap(added))
}

func (f *Service) applyLists(spec *swarm.ServiceSpec, run *swarm.ContainerSpec) {
	f.mergeMap("label", &spec.Labels, f.labels)
	f.mergeMap("container-label", &run.Labels, f.containerLabels)
	f.mergeMap("sysctl", &run.Sysctls, f.sysctls)
	f.applyEnv(run)
	f.applyUlimits(run)
	if f.Changed("group-add", "group-rm") {
		run.Groups = f.merged("group", run.Groups, f.groups)
		slices.Sort(run.Groups)
	}
	if f.Changed("host-add", "host-rm") {
		f.applyHosts(run)
	}
}

// applyEnv keeps the order of what is there; what is new comes last.
func (f *Service) applyEnv(run *swarm.ContainerSpec) {
	name := func(variable string) string { n, _, _ := strings.Cut(variable, "="); return n }
	env := []string{}
	for _, variable := range run.Env {
		if !f.dropped("env-rm", name(variable)) {
			env = append(env, variable)
		}
	}
	for _, variable := range f.env {
		at := slices.IndexFunc(env, func(old string) bool { return name(old) == name(variable) })
		if at < 0 {
			env = append(env, variable)
		} else {
			env[at] = variable
		}
	}
	run.Env = env
}

func (f *Service) applyUlimits(run *swarm.ContainerSpec) {
	byName := map[string]*container.Ulimit{}
	for _, limit := range run.Ulimits {
		if !f.dropped("ulimit-rm", limit.Name) {
			byName[limit.Name] = limit
		}
	}
	for _, limit := range f.ulimits.GetList() {
		byName[limit.Name] = limit
	}
	run.Ulimits = sortedUlimits(slices.Collect(maps.Values(byName)))
}

// applyHosts removes host from every line, or host:ip from the lines of that
// address, and appends new lines.
func (f *Service) applyHosts(run *swarm.ContainerSpec) {
	var lines []string
	for _, line := range run.Hosts {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		ip, names := words[0], words[1:]
		for _, removal := range *f.removed["host-rm"] {
			host, only, _ := strings.Cut(removal, ":")
			if only == "" || only == ip {
				names = slices.DeleteFunc(names, func(name string) bool { return name == host })
			}
		}
		if len(names) > 0 {
			lines = append(lines, ip+" "+strings.Join(names, " "))
		}
	}
	run.Hosts = unique(append(lines, hostLines(f.hosts)...))
}

// unique keeps the first of equal items.
func unique[T comparable](items []T) []T {
	seen, kept := map[T]bool{}, []T{}
	for _, item := range items {
		if !seen[item] {
			seen[item] = true
			kept = append(kept, item)
		}
	}
	return kept
}

func (f *Service) applyMounts(run *swarm.ContainerSpec) error {
	if !f.Changed("mount-add", "mount-rm") {
		return nil
	}
	byTarget := map[string]mount.Mount{}
	for _, m := range f.mounts.Value() {
		if _, twice := byTarget[m.Target]; twice {
			return errors.New("duplicate mount target")
		}
		byTarget[m.Target] = m
	}
	for _, m := range run.Mounts {
		if _, replaced := byTarget[m.Target]; !replaced {
			byTarget[m.Target] = m
		}
	}
	for _, target := range *f.removed["mount-rm"] {
		delete(byTarget, target)
	}
	run.Mounts = slices.SortedFunc(maps.Values(byTarget), func(a, b mount.Mount) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Target, b.Target))
	})
	return nil
}

func (f *Service) applyGeneric(reserved *swarm.Resources) error {
	if !f.Changed("generic-resource-add", "generic-resource-rm") {
		return nil
	}
	added, err := genericResources(f.generic)
	if err != nil {
		return err
	}
	byKind := map[string]swarm.GenericResource{}
	for _, resource := range slices.Concat(reserved.GenericResources, added) {
		if resource.DiscreteResourceSpec == nil {
			return fmt.Errorf("invalid generic-resource `%+v` for service task", resource)
		}
		byKind[resource.DiscreteResourceSpec.Kind] = resource
	}
	for _, kind := range *f.removed["generic-resource-rm"] {
		if _, ok := byKind[kind]; !ok {
			return fmt.Errorf("could not find generic-resource `%s` to remove it", kind)
		}
		delete(byKind, kind)
	}
	reserved.GenericResources = nil
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		reserved.GenericResources = append(reserved.GenericResources, byKind[kind])
	}
	return nil
}

func (f *Service) applyPlacement(placement *swarm.Placement) {
	set(f, "replicas-max-per-node", &placement.MaxReplicas, f.maxPerNode)
	if f.Changed("constraint-add", "constraint-rm") {
		placement.Constraints = f.merged("constraint", placement.Constraints, f.constraints)
		slices.Sort(placement.Constraints)
	}
	removed := func(p swarm.PlacementPreference) bool {
		return p.Spread != nil && slices.ContainsFunc(f.preferencesRemoved, func(r swarm.PlacementPreference) bool {
			return r.Spread.SpreadDescriptor == p.Spread.SpreadDescriptor
		})
	}
	placement.Preferences = append(slices.DeleteFunc(placement.Preferences, removed), f.preferences...)
}

func (f *Service) applyNetworks(ctx context.Context, n Names, task *swarm.TaskSpec) error {
	if !f.Changed("network-add", "network-rm") {
		return nil
	}
	removed := map[string]bool{}
	for _, name := range *f.removed["network-rm"] {
		id, err := n.Network(ctx, name)
		if err != nil {
			return err
		}
		removed[id] = true
	}
	var attachments []swarm.NetworkAttachmentConfig
	for _, attachment := range task.Networks {
		if !removed[attachment.Target] {
			attachments = append(attachments, attachment)
		}
	}
	for _, wanted := range f.networks.Value() {
		added, err := resolveNetworks(ctx, n, []opts.NetworkAttachmentOpts{wanted})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(attachments, func(a swarm.NetworkAttachmentConfig) bool { return a.Target == added[0].Target }) {
			return fmt.Errorf("service is already attached to network %s", wanted.Target)
		}
		attachments = append(attachments, added...)
	}
	sortNetworks(attachments)
	task.Networks = attachments
	return nil
}

func (f *Service) applyPorts(endpoint *swarm.EndpointSpec) {
	or := func(value, standard string) string { return cmp.Or(strings.ToLower(value), standard) }
	same := func(a, b swarm.PortConfig) bool {
		return a.TargetPort == b.TargetPort &&
			or(string(a.Protocol), string(network.TCP)) == or(string(b.Protocol), string(network.TCP)) &&
			or(string(a.PublishMode), "ingress") == or(string(b.PublishMode), "ingress")
	}
	known := map[swarm.PortConfig]bool{}
	ports := []swarm.PortConfig{}
	keep := func(p swarm.PortConfig) {
		key := p
		key.Name = ""
		if !known[key] {
			ports = append(ports, p)
		}
		known[key] = true
	}
	for _, p := range endpoint.Ports {
		if !slices.ContainsFunc(f.portsRemoved.Value(), func(r swarm.PortConfig) bool { return same(p, r) }) {
			keep(p)
		}
	}
	for _, p := range f.ports.Value() {
		keep(p)
	}
	slices.SortFunc(ports, swarm.PortConfig.Compare)
	endpoint.Ports = ports
}

func (f *Service) applyDNS(run *swarm.ContainerSpec) error {
	if !f.Changed("dns-add", "dns-rm", "dns-option-add", "dns-option-rm", "dns-search-add", "dns-search-rm") {
		return nil
	}
	old := swarm.DNSConfig{}
	if run.DNSConfig != nil {
		old = *run.DNSConfig
	}
	added, err := addresses(f.dns)
	if err != nil {
		return err
	}
	dns := &swarm.DNSConfig{
		Search:  slices.Sorted(slices.Values(unique(f.merged("dns-search", old.Search, f.dnsSearch)))),
		Options: slices.Sorted(slices.Values(unique(f.merged("dns-option", old.Options, f.dnsOptions)))),
	}
	for _, server := range unique(slices.Concat(old.Nameservers, added)) {
		if !f.dropped("dns-rm", server.String()) {
			dns.Nameservers = append(dns.Nameservers, server)
		}
	}
	slices.SortFunc(dns.Nameservers, netip.Addr.Compare)
	run.DNSConfig = dns
	return nil
}

// applyCapabilities has three states: adding a dropped capability makes it an
// ordinary one again, and so does dropping an added one.
func (f *Service) applyCapabilities(run *swarm.ContainerSpec) {
	added, dropped := opts.CapabilitiesMap(run.CapabilityAdd), opts.CapabilitiesMap(run.CapabilityDrop)
	add, drop := opts.CapabilitiesMap(f.capAdd), opts.CapabilitiesMap(f.capDrop)
	if add[opts.ResetCapabilities] {
		clear(added)
		delete(add, opts.ResetCapabilities)
	}
	if drop[opts.ResetCapabilities] {
		clear(dropped)
		delete(drop, opts.ResetCapabilities)
	}
	for capability := range drop {
		switch {
		case add[capability]: // adding wins
		case added[capability]:
			delete(added, capability)
		default:
			dropped[capability] = true
		}
	}
	for capability := range add {
		if dropped[capability] {
			delete(dropped, capability)
		} else {
			added[capability] = true
		}
	}
	run.CapabilityAdd, run.CapabilityDrop = capabilities(added), capabilities(dropped)
}

func capabilities(set map[string]bool) []string {
	if set[opts.AllCapabilities] {
		return []string{opts.AllCapabilities}
	}
	return slices.Sorted(maps.Keys(set))
}

func (f *Service) applySecrets(ctx context.Context, n Names, run *swarm.ContainerSpec) error {
	added, err := resolveSecrets(ctx, n, f.secrets.Value())
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(run.Secrets, func(ref *swarm.SecretReference) bool { return f.dropped("secret-rm", ref.SecretName) })
	run.Secrets = append(kept, added...)
	return nil
}

// applyConfigs also keeps the config of a credential specification as long as
// that is in use, and no longer.
func (f *Service) applyConfigs(ctx context.Context, n Names, run *swarm.ContainerSpec) error {
	name, id := "", ""
	switch {
	case f.Changed("credential-spec"):
		name = f.credentials.value.Config
	case run.Privileges != nil && run.Privileges.CredentialSpec != nil:
		id = run.Privileges.CredentialSpec.Config
	}
	wanted := f.configs.Value()
	if name != "" {
		wanted = append(wanted, &swarm.ConfigReference{ConfigName: name, Runtime: &swarm.ConfigReferenceRuntimeTarget{}})
	}
	added, err := resolveConfigs(ctx, n, wanted)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(run.Configs, func(ref *swarm.ConfigReference) bool {
		if ref.Runtime != nil {
			return ref.ConfigName == name || ref.ConfigID != id
		}
		return f.dropped("config-rm", ref.ConfigName)
	})
	run.Configs = append(kept, added...)
	return nil
}
