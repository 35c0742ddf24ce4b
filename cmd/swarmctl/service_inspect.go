package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func newServiceInspect(s *session) *cobra.Command {
	var (
		format string
		pretty bool
	)
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] SERVICE [SERVICE...]",
		Short:             "Display detailed information on one or more services",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			if pretty && format != "" {
				return errors.New("--format is incompatible with human friendly format")
			}
			ctx := c.Context()
			get := func(name string) (any, []byte, error) {
				found, err := s.client.ServiceInspect(ctx, name, client.ServiceInspectOptions{InsertDefaults: true})
				if errdefs.IsNotFound(err) {
					err = fmt.Errorf("Error: no such service: %s", name)
				}
				return found.Service, found.Raw, err
			}
			if !pretty && format != "pretty" {
				return plainExit(inspect(s, args, format, get))
			}
			for _, name := range args {
				found, _, err := get(name)
				if err != nil {
					return err
				}
				service, _ := found.(swarm.Service)
				s.print("%s\n", prettyService(service, s.networkNames(ctx, service)))
			}
			return nil
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	c.Flags().BoolVar(&pretty, "pretty", false, "Print the information in a human friendly format")
	return c
}

// networkNames are the names of a service's networks; IDs where a network has gone.
func (s *session) networkNames(ctx context.Context, service swarm.Service) []string {
	var names []string
	for _, attachment := range service.Spec.TaskTemplate.Networks {
		name := attachment.Target
		if found, err := s.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{Scope: "swarm"}); err == nil {
			name = found.Network.Name
		}
		names = append(names, name)
	}
	return names
}

// A page is text that is written line by line.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { _, _ = fmt.Fprintf(p, format+"\n", args...) }

// lineIf writes a line if there is something to say.
func (p *page) lineIf(there bool, format string, args ...any) {
	if there {
		p.line(format, args...)
	}
}

// pairs writes a map, a line for each key.
func (p *page) pairs(pairs map[string]string, format, separator string) {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		value := pairs[key]
		if value != "" {
			value = separator + value
		}
		p.line(format, key, value)
	}
}

// prettyService describes a service for people, in docker's layout.
func prettyService(service swarm.Service, networks []string) string {
	p, spec := &page{}, service.Spec
	p.line("\nID:\t\t%s", service.ID)
	p.line("Name:\t\t%s", spec.Name)
	p.lineIf(len(spec.Labels) > 0, "Labels:")
	p.pairs(spec.Labels, " %s%s", "=")
	switch mode := spec.Mode; {
	case mode.Global != nil:
		p.line("Service Mode:\tGlobal")
	case mode.Replicated != nil:
		p.line("Service Mode:\tReplicated")
		if mode.Replicated.Replicas != nil {
			p.line(" Replicas:\t%d", *mode.Replicated.Replicas)
		}
	default:
		p.line("Service Mode:")
	}
	if status := service.UpdateStatus; status != nil && status.State != "" {
		p.line("UpdateStatus:\n State:\t\t%s", status.State)
		if status.StartedAt != nil {
			p.line(" Started:\t%s", ago(*status.StartedAt))
		}
		if status.State == swarm.UpdateStateCompleted && status.CompletedAt != nil {
			p.line(" Completed:\t%s", ago(*status.CompletedAt))
		}
		p.line(" Message:\t%s", status.Message)
	}
	p.placement(spec.TaskTemplate.Placement)
	p.pace("UpdateConfig", " Update order:      ", spec.UpdateConfig)
	p.pace("RollbackConfig", " Rollback order:    ", spec.RollbackConfig)
	if spec.TaskTemplate.ContainerSpec != nil {
		p.container(spec.TaskTemplate.ContainerSpec)
	}
	p.driver(spec.TaskTemplate.LogDriver)
	p.resources(spec.TaskTemplate.Resources)
	p.lineIf(len(networks) > 0, "Networks: %s ", strings.Join(networks, " "))
	p.endpoint(service)
	return p.String()
}

func (p *page) placement(placement *swarm.Placement) {
	p.line("Placement:")
	if placement == nil {
		return
	}
	p.lineIf(len(placement.Constraints) > 0, " Constraints:\t%s", placement.Constraints)
	var spread []string
	for _, preference := range placement.Preferences {
		if preference.Spread != nil {
			spread = append(spread, "spread="+preference.Spread.SpreadDescriptor)
		}
	}
	p.lineIf(len(spread) > 0, " Preferences:   %s", spread)
	p.lineIf(placement.MaxReplicas > 0, " Max Replicas Per Node:   %d", placement.MaxReplicas)
}

func (p *page) pace(heading, order string, config *swarm.UpdateConfig) {
	if config == nil {
		return
	}
	p.line("%s:\n Parallelism:\t%d", heading, config.Parallelism)
	p.lineIf(config.Delay > 0, " Delay:\t\t%s", config.Delay)
	p.line(" On failure:\t%s", config.FailureAction)
	p.lineIf(config.Monitor > 0, " Monitoring Period: %s", config.Monitor)
	p.line(" Max failure ratio: %v\n%s%s", config.MaxFailureRatio, order, config.Order)
}

func (p *page) container(run *swarm.ContainerSpec) {
	p.line("ContainerSpec:\n Image:\t\t%s", run.Image)
	p.lineIf(len(run.Args) > 0, " Args:\t\t%s ", strings.Join(run.Args, " "))
	p.lineIf(len(run.Env) > 0, " Env:\t\t%s ", strings.Join(run.Env, " "))
	p.lineIf(run.Dir != "", " Dir:\t\t%s", run.Dir)
	if run.Init != nil {
		p.line(" Init:\t\t%t", *run.Init)
	}
	p.lineIf(run.User != "", " User: %s", run.User)
	p.lineIf(len(run.CapabilityAdd)+len(run.CapabilityDrop) > 0, "Capabilities:")
	p.lineIf(len(run.CapabilityAdd) > 0, " Add: %s", strings.Join(run.CapabilityAdd, ", "))
	p.lineIf(len(run.CapabilityDrop) > 0, " Drop: %s", strings.Join(run.CapabilityDrop, ", "))
	p.lineIf(len(run.Sysctls) > 0, "SysCtls:")
	p.pairs(run.Sysctls, " %s%s", ": ")
	limits := map[string]string{}
	for _, limit := range run.Ulimits {
		limits[limit.Name] = fmt.Sprintf("%d:%d", limit.Soft, limit.Hard)
	}
	p.lineIf(len(limits) > 0, "Ulimits:")
	p.pairs(limits, " %s%s", ": ")
	p.lineIf(len(run.Mounts) > 0, "Mounts:")
	for _, m := range run.Mounts {
		p.line(" Target:\t%s\n  Source:\t%s\n  ReadOnly:\t%t\n  Type:\t\t%s", m.Target, m.Source, m.ReadOnly, m.Type)
	}
	p.lineIf(len(run.Configs) > 0, "Configs:")
	for _, config := range run.Configs {
		if config.File != nil {
			p.line(" Target:\t%s\n  Source:\t%s", config.File.Name, config.ConfigName)
		}
	}
	p.lineIf(len(run.Secrets) > 0, "Secrets:")
	for _, secret := range run.Secrets {
		if secret.File != nil {
			p.line(" Target:\t%s\n  Source:\t%s", secret.File.Name, secret.SecretName)
		}
	}
}

func (p *page) driver(driver *swarm.Driver) {
	if driver == nil {
		return
	}
	p.line("Log Driver:")
	p.lineIf(driver.Name != "", " Name:\t\t%s", driver.Name)
	p.lineIf(len(driver.Options) > 0, " LogOpts:")
	p.pairs(driver.Options, "  %s%s", ":       ")
	p.line("")
}

func (p *page) resources(resources *swarm.ResourceRequirements) {
	if resources == nil {
		return
	}
	const nano = 1e9
	p.line("Resources:")
	amounts := func(cpus, memory int64) {
		p.lineIf(cpus > 0, "  CPU:\t\t%v", float64(cpus)/nano)
		p.lineIf(memory != 0, "  Memory:\t%s", units.BytesSize(float64(memory)))
	}
	if r := resources.Reservations; r != nil && (r.NanoCPUs > 0 || r.MemoryBytes > 0) {
		p.line(" Reservations:")
		amounts(r.NanoCPUs, r.MemoryBytes)
	}
	if l := resources.Limits; l != nil && (l.NanoCPUs > 0 || l.MemoryBytes > 0 || l.Pids > 0) {
		p.line(" Limits:")
		amounts(l.NanoCPUs, l.MemoryBytes)
		p.lineIf(l.Pids > 0, "  PIDs:\t\t%d", l.Pids)
	}
}

func (p *page) endpoint(service swarm.Service) {
	mode := swarm.ResolutionMode("")
	if service.Spec.EndpointSpec != nil {
		mode = service.Spec.EndpointSpec.Mode
	}
	p.line("Endpoint Mode:\t%s", mode)
	ports := service.Endpoint.Ports
	p.lineIf(len(ports) > 0, "Ports:")
	for i, port := range ports {
		end := ""
		if i == len(ports)-1 {
			end = " "
		}
		p.line(" PublishedPort = %d\n  Protocol = %s\n  TargetPort = %d\n  PublishMode = %s%s", port.PublishedPort, port.Protocol, port.TargetPort, port.PublishMode, end)
	}
	if service.Spec.TaskTemplate.ContainerSpec == nil || service.Spec.TaskTemplate.ContainerSpec.Healthcheck == nil {
		return
	}
	health := service.Spec.TaskTemplate.ContainerSpec.Healthcheck
	p.line(" Healthcheck:\n  Interval = %s\n  Retries = %d\n  StartPeriod =\t%s\n  Timeout =\t%s",
		health.Interval, health.Retries, health.StartPeriod, health.Timeout)
	p.lineIf(len(health.Test) > 0, "  Tests:")
	for _, test := range health.Test {
		p.line("\t Test = %s", test)
	}
}
