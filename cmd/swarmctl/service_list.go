package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func newServiceList(s *session) *cobra.Command {
	l := &listing{
		columns: []column{{"ID", "ID"}, {"Name", "NAME"}, {"Mode", "MODE"}, {"Replicas", "REPLICAS"}, {"Image", "IMAGE"}, {"Ports", "PORTS"}},
		shown:   "table {{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
	}
	c := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List services",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := s.client.ServiceList(c.Context(), client.ServiceListOptions{Filters: l.query(), Status: !l.quiet})
			if err != nil {
				return err
			}
			slices.SortFunc(found.Items, func(a, b swarm.Service) int { return compareNatural(a.Spec.Name, b.Spec.Name) })
			rows := make([]row, 0, len(found.Items))
			for _, service := range found.Items {
				rows = append(rows, serviceRow(service))
			}
			return l.write(s, rows)
		},
	}
	l.flags(c, "Only display IDs")
	return c
}

func serviceRow(service swarm.Service) row {
	image := ""
	if service.Spec.TaskTemplate.ContainerSpec != nil {
		image = familiar(service.Spec.TaskTemplate.ContainerSpec.Image)
	}
	return row{
		"ID": short(service.ID), "Name": service.Spec.Name, "Mode": serviceMode(service.Spec.Mode),
		"Replicas": serviceReplicas(service), "Image": image, "Ports": servicePorts(service.Endpoint.Ports),
	}
}

func serviceMode(mode swarm.ServiceMode) string {
	switch {
	case mode.Global != nil:
		return "global"
	case mode.Replicated != nil:
		return "replicated"
	case mode.ReplicatedJob != nil:
		return "replicated job"
	case mode.GlobalJob != nil:
		return "global job"
	}
	return ""
}

func serviceReplicas(service swarm.Service) string {
	status := swarm.ServiceStatus{}
	if service.ServiceStatus != nil {
		status = *service.ServiceStatus
	}
	running := fmt.Sprintf("%d/%d", status.RunningTasks, status.DesiredTasks)
	switch mode := service.Spec.Mode; {
	case mode.ReplicatedJob != nil:
		total := uint64(0)
		if mode.ReplicatedJob.TotalCompletions != nil {
			total = *mode.ReplicatedJob.TotalCompletions
		}
		return fmt.Sprintf("%s (%d/%d completed)", running, status.CompletedTasks, total)
	case mode.GlobalJob != nil:
		// Desired are the tasks that have still to complete.
		return fmt.Sprintf("%s (%d/%d completed)", running, status.CompletedTasks, status.DesiredTasks+status.CompletedTasks)
	case mode.Replicated != nil && service.Spec.TaskTemplate.Placement != nil && service.Spec.TaskTemplate.Placement.MaxReplicas > 0:
		return fmt.Sprintf("%s (max %d per node)", running, service.Spec.TaskTemplate.Placement.MaxReplicas)
	}
	return running
}

// servicePorts shows the ports of the mesh. Consecutive ones are a range: *:80-82->80-82/tcp
// when the targets follow each other, *:80-82->80/tcp when they are one.
func servicePorts(ports []swarm.PortConfig) string {
	type span struct{ first, last swarm.PortConfig }
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b swarm.PortConfig) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PublishedPort, b.PublishedPort))
	})
	var spans []span
	for _, p := range sorted {
		if p.PublishMode != swarm.PortConfigPublishModeIngress {
			continue
		}
		if n := len(spans) - 1; n >= 0 {
			open := &spans[n]
			widened := open.last.TargetPort != open.first.TargetPort
			near := p.PublishedPort-open.last.PublishedPort <= 1 && p.TargetPort-open.last.TargetPort <= 1
			if p.Protocol == open.last.Protocol && near && (!widened || p.TargetPort > open.last.TargetPort) {
				open.last = p
				continue
			}
		}
		spans = append(spans, span{p, p})
	}
	between := func(a, b uint32) string {
		if b > a {
			return fmt.Sprintf("%d-%d", a, b)
		}
		return fmt.Sprint(a)
	}
	shown := make([]string, 0, len(spans))
	for _, sp := range spans {
		shown = append(shown, fmt.Sprintf("*:%s->%s/%s", between(sp.first.PublishedPort, sp.last.PublishedPort),
			between(sp.first.TargetPort, sp.last.TargetPort), sp.first.Protocol))
	}
	return strings.Join(shown, ", ")
}

func newServicePs(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "ps [OPTIONS] SERVICE [SERVICE...]",
		Short:             "List the tasks of one or more services",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	l := newTaskListing(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		ids, missing, err := s.findServices(ctx, args)
		if err != nil {
			return err
		}
		absent := errors.New(strings.Join(missing, "\n"))
		if len(ids) == 0 {
			return absent
		}
		filters := l.query()
		filters.Add("service", ids...)
		if err := s.resolveSelf(ctx, filters); err != nil {
			return err
		}
		tasks, err := s.client.TaskList(ctx, client.TaskListOptions{Filters: filters})
		if err != nil {
			return err
		}
		if err := l.show(ctx, s, tasks.Items); err != nil || len(missing) == 0 {
			return err
		}
		return absent
	}
	return c
}

// findServices turns names, IDs and beginnings of IDs into IDs, and says which
// it did not find.
func (s *session) findServices(ctx context.Context, names []string) (ids, missing []string, err error) {
	byID, err := s.client.ServiceList(ctx, client.ServiceListOptions{Filters: client.Filters{}.Add("id", names...)})
	if err != nil {
		return nil, nil, err
	}
	byName, err := s.client.ServiceList(ctx, client.ServiceListOptions{Filters: client.Filters{}.Add("name", names...)})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		exact := slices.IndexFunc(byID.Items, func(f swarm.Service) bool { return f.ID == name })
		named := slices.IndexFunc(byName.Items, func(f swarm.Service) bool { return f.Spec.Name == name })
		if exact >= 0 {
			ids = append(ids, name)
			continue
		}
		if named >= 0 {
			ids = append(ids, byName.Items[named].ID)
			continue
		}
		var begin []string
		for _, found := range byID.Items {
			if strings.HasPrefix(found.ID, name) {
				begin = append(begin, found.ID)
			}
		}
		switch len(begin) {
		case 0:
			missing = append(missing, "no such service: "+name)
		case 1:
			ids = append(ids, begin[0])
		default:
			return nil, nil, errors.New("multiple services found with provided prefix: " + name)
		}
	}
	return ids, missing, nil
}

// resolveSelf writes this node's ID where a node filter says self.
func (s *session) resolveSelf(ctx context.Context, filters client.Filters) error {
	if !filters["node"]["self"] {
		return nil
	}
	id, err := s.nodeRef(ctx, "self")
	if err != nil {
		return err
	}
	delete(filters["node"], "self")
	filters.Add("node", id)
	return nil
}
