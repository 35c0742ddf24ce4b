package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/command/formatter"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func newContainer(s *session) *cobra.Command {
	list := newContainerList(s)
	list.Use, list.Aliases = "ls [OPTIONS]", []string{"list", "ps"}
	return group("container", "Manage this host's containers", append(containerCommands(s), list, newContainerInspect(s))...)
}

// newContainerShortcuts are the commands about containers without the noun.
func newContainerShortcuts(s *session) []*cobra.Command {
	return append(containerCommands(s), newContainerList(s))
}

// containerCommands have the same name with the noun and without.
func containerCommands(s *session) []*cobra.Command {
	return []*cobra.Command{
		newContainerExec(s), newContainerKill(s), newContainerLogs(s), newContainerRemove(s),
		newContainerStats(s), newContainerStop(s), newContainerTop(s), newContainerWait(s),
	}
}

func newContainerList(s *session) *cobra.Command {
	var (
		options      client.ContainerListOptions
		filters      filterFlag
		format       string
		quiet, whole bool
		latest       bool
	)
	c := &cobra.Command{
		Use:   "ps [OPTIONS]",
		Short: "List containers",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if format == "" {
				format = formatter.TableFormatKey
			}
			if latest {
				options.Limit = 1
			}
			if !c.Flags().Changed("size") {
				options.Size = strings.Contains(format, ".Size")
			}
			options.Filters = filters.filters
			found, err := s.client.ContainerList(c.Context(), options)
			if err != nil {
				return err
			}
			ctx := formatter.Context{Output: s.out, Format: formatter.NewContainerFormat(format, quiet, options.Size), Trunc: !whole}
			return formatter.ContainerWrite(ctx, found.Items)
		},
	}
	flags := c.Flags()
	flags.BoolVarP(&quiet, "quiet", "q", false, "Only display container IDs")
	flags.BoolVarP(&options.Size, "size", "s", false, "Display total file sizes")
	flags.BoolVarP(&options.All, "all", "a", false, "Show all containers (default shows just running)")
	flags.BoolVar(&whole, "no-trunc", false, "Don't truncate output")
	flags.BoolVarP(&latest, "latest", "l", false, "Show the latest created container (includes all states)")
	flags.IntVarP(&options.Limit, "last", "n", -1, "Show n last created containers (includes all states)")
	flags.StringVar(&format, "format", "", formatUsage)
	flags.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	return c
}

func newContainerInspect(s *session) *cobra.Command {
	var (
		format string
		size   bool
	)
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Display detailed information on one or more containers",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(true),
		RunE: func(c *cobra.Command, args []string) error {
			return inspect(s, args, format, s.container(c.Context(), size))
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	c.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes")
	return c
}

func (s *session) container(ctx context.Context, size bool) getter {
	return func(name string) (any, []byte, error) {
		found, err := s.client.ContainerInspect(ctx, name, client.ContainerInspectOptions{Size: size})
		return found.Container, found.Raw, err
	}
}

func newContainerLogs(s *session) *cobra.Command {
	f := &logFlags{}
	c := &cobra.Command{
		Use:               "logs [OPTIONS] CONTAINER",
		Short:             "Fetch the logs of a container",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeContainers(true),
		RunE: func(c *cobra.Command, args []string) error {
			found, err := s.client.ContainerInspect(c.Context(), args[0], client.ContainerInspectOptions{})
			if err != nil {
				return err
			}
			stream, err := s.client.ContainerLogs(c.Context(), found.Container.ID, client.ContainerLogsOptions{
				ShowStdout: true, ShowStderr: true, Since: f.since, Until: f.until, Timestamps: f.timestamps, Follow: f.follow, Tail: f.tail, Details: f.details,
			})
			if err != nil {
				return err
			}
			defer stream.Close()
			if found.Container.Config != nil && found.Container.Config.Tty {
				_, err = io.Copy(s.out, stream)
			} else {
				_, err = stdcopy.StdCopy(s.out, s.errs, stream)
			}
			return err
		},
	}
	f.common(c.Flags())
	c.Flags().StringVar(&f.until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	return c
}

func newContainerStop(s *session) *cobra.Command {
	var (
		options client.ContainerStopOptions
		timeout int
	)
	c := &cobra.Command{
		Use:               "stop [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Stop one or more running containers",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("timeout") || c.Flags().Changed("time") {
				options.Timeout = &timeout
			}
			return s.eachContainer(args, func(name string) error {
				_, err := s.client.ContainerStop(c.Context(), name, options)
				return err
			})
		},
	}
	c.Flags().StringVarP(&options.Signal, "signal", "s", "", "Signal to send to the container")
	c.Flags().IntVarP(&timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	c.Flags().IntVar(&timeout, "time", 0, "Seconds to wait before killing the container")
	_ = c.Flags().MarkHidden("time")
	return c
}

// errGone is about a container that is not named: there is none.
var errGone = errors.New("no such container")

// eachContainer names every container that f has dealt with.
func (s *session) eachContainer(names []string, f func(name string) error) error {
	return each(names, func(name string) error {
		if err := f(name); errors.Is(err, errGone) {
			return nil
		} else if err != nil {
			return err
		}
		s.print("%s\n", name)
		return nil
	})
}

func newContainerKill(s *session) *cobra.Command {
	var options client.ContainerKillOptions
	c := &cobra.Command{
		Use:               "kill [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Kill one or more running containers",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			return s.eachContainer(args, func(name string) error {
				_, err := s.client.ContainerKill(c.Context(), name, options)
				return err
			})
		},
	}
	c.Flags().StringVarP(&options.Signal, "signal", "s", "", "Signal to send to the container")
	return c
}

func newContainerRemove(s *session) *cobra.Command {
	var options client.ContainerRemoveOptions
	c := &cobra.Command{
		Use:               "rm [OPTIONS] CONTAINER [CONTAINER...]",
		Aliases:           []string{"remove"},
		Short:             "Remove one or more containers",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(true),
		RunE: func(c *cobra.Command, args []string) error {
			return s.eachContainer(args, func(name string) error {
				name = strings.Trim(name, "/")
				if name == "" {
					return errors.New("container name cannot be empty")
				}
				_, err := s.client.ContainerRemove(c.Context(), name, options)
				if options.Force && errdefs.IsNotFound(err) {
					s.warn("%s\n", err) // what should be gone is
					return errGone
				}
				return err
			})
		},
	}
	c.Flags().BoolVarP(&options.RemoveVolumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	c.Flags().BoolVarP(&options.RemoveLinks, "link", "l", false, "Remove the specified link")
	c.Flags().BoolVarP(&options.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	return c
}

func newContainerWait(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "wait CONTAINER [CONTAINER...]",
		Short:             "Block until one or more containers stop, then print their exit codes",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			return each(args, func(name string) error {
				waiting := s.client.ContainerWait(c.Context(), name, client.ContainerWaitOptions{})
				select {
				case end := <-waiting.Result:
					s.print("%d\n", end.StatusCode)
					return nil
				case err := <-waiting.Error:
					return err
				}
			})
		},
	}
}

func newContainerTop(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "top CONTAINER [ps OPTIONS]",
		Short:             "Display the running processes of a container",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			found, err := s.client.ContainerTop(c.Context(), args[0], client.ContainerTopOptions{Arguments: args[1:]})
			if err != nil {
				return err
			}
			const cell, tab, gap = 20, 1, 3 // docker's columns
			table := tabwriter.NewWriter(s.out, cell, tab, gap, ' ', 0)
			_, _ = fmt.Fprintln(table, strings.Join(found.Titles, "\t"))
			for _, process := range found.Processes {
				_, _ = fmt.Fprintln(table, strings.Join(process, "\t"))
			}
			return table.Flush()
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}
