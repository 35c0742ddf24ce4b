package main

import (
	"context"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newServiceUpdate(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "update [OPTIONS] SERVICE",
		Short:             "Update a service",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	f := request.NewServiceUpdate(c.Flags())
	s.completeServiceFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error { return serviceUpdate(c.Context(), s, f, args[0]) }
	return c
}

func serviceUpdate(ctx context.Context, s *session, f *request.Service, name string) error {
	found, err := s.client.ServiceInspect(ctx, name, client.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	spec := found.Service.Spec
	options := client.ServiceUpdateOptions{Version: found.Service.Version}
	if f.Rollback {
		if err := f.OnlyRollback(); err != nil {
			return err
		}
		options.Rollback = "previous"
	} else if err := f.Change(ctx, s, &spec); err != nil {
		return err
	}
	options.QueryRegistry = f.Changed("image") && !f.NoResolveImage
	if f.RegistryAuth {
		options.EncodedRegistryAuth = registryAuth(ctx, s, spec.TaskTemplate.ContainerSpec.Image)
	} else {
		options.RegistryAuthFrom = swarm.RegistryAuthFromSpec
	}
	options.Spec = spec
	return s.sendUpdate(ctx, found.Service.ID, name, options, f.Detach, f.Quiet)
}

// sendUpdate updates a service, names it and waits.
func (s *session) sendUpdate(ctx context.Context, id, name string, options client.ServiceUpdateOptions, detach, quiet bool) error {
	updated, err := s.client.ServiceUpdate(ctx, id, options)
	if err != nil {
		return err
	}
	for _, warning := range updated.Warnings {
		s.warn("%s\n", warning)
	}
	s.print("%s\n", name)
	if detach {
		return nil
	}
	return s.converge(ctx, name, quiet)
}
