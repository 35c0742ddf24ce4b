package main

import (
	"context"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newServiceCreate(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:             "Create a new service",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeImages(1),
	}
	f := request.NewServiceCreate(c.Flags())
	s.completeServiceFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		f.Image = args[0]
		if len(args) > 1 {
			f.Args = args[1:]
		}
		return serviceCreate(c.Context(), s, f)
	}
	return c
}

func serviceCreate(ctx context.Context, s *session, f *request.Service) error {
	spec, err := f.Spec(ctx, s)
	if err != nil {
		return err
	}
	auth := ""
	if f.RegistryAuth {
		auth = registryAuth(ctx, s, f.Image)
	}
	made, err := s.client.ServiceCreate(ctx, client.ServiceCreateOptions{Spec: spec, EncodedRegistryAuth: auth, QueryRegistry: !f.NoResolveImage})
	if err != nil {
		return err
	}
	for _, warning := range made.Warnings {
		s.warn("%s\n", warning)
	}
	s.print("%s\n", made.ID)
	if f.Detach {
		return nil
	}
	return s.converge(ctx, made.ID, f.Quiet)
}
