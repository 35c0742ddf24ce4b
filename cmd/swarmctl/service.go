package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newService(s *session) *cobra.Command {
	return group("service", "Manage Swarm services",
		newServiceCreate(s), newServiceInspect(s), newServiceLogs(s), newServiceList(s), newServicePs(s),
		newServiceRemove(s), newServiceRollback(s), newServiceScale(s), newServiceUpdate(s))
}

func newServiceRemove(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "rm SERVICE [SERVICE...]",
		Aliases:           []string{"remove"},
		Short:             "Remove one or more services",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			return each(args, func(name string) error {
				if _, err := s.client.ServiceRemove(c.Context(), name, client.ServiceRemoveOptions{}); err != nil {
					return err
				}
				s.print("%s\n", name)
				return nil
			})
		},
	}
}

func newServiceRollback(s *session) *cobra.Command {
	var detach, quiet bool
	c := &cobra.Command{
		Use:               "rollback [OPTIONS] SERVICE",
		Short:             "Revert changes to a service's configuration",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE: func(c *cobra.Command, args []string) error {
			found, err := s.client.ServiceInspect(c.Context(), args[0], client.ServiceInspectOptions{})
			if err != nil {
				return err
			}
			return s.sendUpdate(c.Context(), found.Service.ID, args[0], client.ServiceUpdateOptions{
				Version: found.Service.Version, Spec: found.Service.Spec, Rollback: "previous",
			}, detach, quiet)
		},
	}
	request.DetachFlag(c.Flags(), &detach)
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress progress output")
	return c
}

func newServiceScale(s *session) *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use:               "scale SERVICE=REPLICAS [SERVICE=REPLICAS...]",
		Short:             "Scale one or multiple replicated services",
		Args:              scaleArgs,
		ValidArgsFunction: s.completeScale,
		RunE: func(c *cobra.Command, args []string) error {
			var scaled []string
			failed := each(args, func(arg string) error {
				name, number, _ := strings.Cut(arg, "=")
				if err := s.scale(c.Context(), name, number); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				scaled = append(scaled, name)
				return nil
			})
			if detach {
				return failed
			}
			return errors.Join(failed, each(scaled, func(name string) error {
				if err := s.converge(c.Context(), name, false); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				return nil
			}))
		},
	}
	request.DetachFlag(c.Flags(), &detach)
	return c
}

func scaleArgs(c *cobra.Command, args []string) error {
	if err := minArgs(1)(c, args); err != nil {
		return err
	}
	for _, arg := range args {
		if name, number, ok := strings.Cut(arg, "="); !ok || name == "" || number == "" {
			return fmt.Errorf("invalid scale specifier '%s'.\nSee '%s --help'.\n\nUsage:  %s\n\n%s", arg, c.CommandPath(), c.UseLine(), c.Short)
		}
	}
	return nil
}

func (s *session) scale(ctx context.Context, name, number string) error {
	replicas, err := request.Replicas(number)
	if err != nil {
		return err
	}
	found, err := s.client.ServiceInspect(ctx, name, client.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	service := found.Service
	if err := request.Scale(&service.Spec, replicas); err != nil {
		return err
	}
	updated, err := s.client.ServiceUpdate(ctx, service.ID, client.ServiceUpdateOptions{Version: service.Version, Spec: service.Spec})
	if err != nil {
		return err
	}
	for _, warning := range updated.Warnings {
		s.warn("%s\n", warning)
	}
	s.print("%s scaled to %d\n", name, replicas)
	return nil
}
