package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/templates"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// parseTemplate reads what --format says of one object; json is the object.
func parseTemplate(format string) (*template.Template, error) {
	if format == "json" {
		format = "{{json .}}"
	}
	tmpl, err := templates.Parse(format)
	if err != nil {
		return nil, exitError{exitTemplate, "template parsing error: " + err.Error()}
	}
	return tmpl, nil
}

// printTemplate prints one object through a template, and ends the line.
func (s *session) printTemplate(format string, object any) error {
	tmpl, err := parseTemplate(format)
	if err != nil {
		return err
	}
	if err := tmpl.Execute(s.out, object); err != nil {
		return exitError{exitTemplate, "template parsing error: " + err.Error()}
	}
	s.print("\n")
	return nil
}

// versions is what version's templates are about.
type versions struct {
	Client clientVersion
	Server *client.ServerVersionResult
}

type clientVersion struct {
	Version    string
	APIVersion string `json:"ApiVersion"`
	GoVersion  string
	Os, Arch   string
}

func newVersion(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the version information",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			server, failed := s.client.ServerVersion(c.Context(), client.ServerVersionOptions{})
			found := versions{Client: clientVersion{
				Version: version, APIVersion: s.client.ClientVersion(), GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH,
			}}
			if failed == nil {
				found.Server = &server
			}
			if format != "" {
				return errors.Join(s.printTemplate(format, found), failed)
			}
			s.print("%s", prettyVersion(found))
			return failed
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	return c
}

func prettyVersion(found versions) string {
	const column = 19 // where docker's values begin
	p := &page{}
	field := func(indent, name, value string) { p.line("%-*s%s", column, indent+name+":", value) }
	p.line("Client: swarmctl")
	field(" ", "Version", found.Client.Version)
	field(" ", "API version", found.Client.APIVersion)
	field(" ", "Go version", found.Client.GoVersion)
	field(" ", "OS/Arch", found.Client.Os+"/"+found.Client.Arch)
	if found.Server == nil {
		return p.String()
	}
	p.line("\n%s", strings.TrimRight("Server: "+found.Server.Platform.Name, " "))
	for _, component := range found.Server.Components {
		p.line(" %s:", component.Name)
		field("  ", "Version", component.Version)
		if component.Name != "Engine" {
			for _, key := range slices.Sorted(maps.Keys(component.Details)) {
				field("  ", key, component.Details[key])
			}
			continue
		}
		detail := func(name string) string { return component.Details[name] }
		field("  ", "API version", fmt.Sprintf("%s (minimum version %s)", detail("ApiVersion"), detail("MinAPIVersion")))
		field("  ", "Go version", detail("GoVersion"))
		field("  ", "Git commit", detail("GitCommit"))
		built := detail("BuildTime")
		if at, err := time.Parse(time.RFC3339Nano, built); err == nil {
			built = at.Format(time.ANSIC)
		}
		field("  ", "Built", built)
		field("  ", "OS/Arch", detail("Os")+"/"+detail("Arch"))
		field("  ", "Experimental", detail("Experimental"))
	}
	return p.String()
}

func newEvents(s *session) *cobra.Command {
	var (
		options client.EventsListOptions
		filters filterFlag
		format  string
	)
	c := &cobra.Command{
		Use:   "events [OPTIONS]",
		Short: "Get real time events from the server",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			show := func(e events.Message) error { s.print("%s\n", eventLine(e)); return nil }
			if format != "" {
				tmpl, err := parseTemplate(format)
				if err != nil {
					return err
				}
				show = func(e events.Message) error {
					err := tmpl.Execute(s.out, e)
					s.print("\n")
					return err
				}
			}
			options.Filters = filters.filters
			ctx, stop := context.WithCancel(c.Context())
			defer stop()
			stream := s.client.Events(ctx, options)
			for {
				select {
				case e := <-stream.Messages:
					if err := show(e); err != nil {
						return err
					}
				case err := <-stream.Err:
					if errors.Is(err, io.EOF) || c.Context().Err() != nil {
						return nil
					}
					return err
				}
			}
		},
	}
	c.Flags().StringVar(&options.Since, "since", "", "Show all events created since timestamp")
	c.Flags().StringVar(&options.Until, "until", "", "Stream events until this timestamp")
	c.Flags().VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	c.Flags().StringVar(&format, "format", "", inspectFormatUsage)
	return c
}

func eventLine(e events.Message) string {
	const stamp = "2006-01-02T15:04:05.000000000Z07:00"
	line := fmt.Sprintf("%s %s %s", e.Type, e.Action, e.Actor.ID)
	switch {
	case e.TimeNano != 0:
		line = time.Unix(0, e.TimeNano).Format(stamp) + " " + line
	case e.Time != 0:
		line = time.Unix(e.Time, 0).Format(stamp) + " " + line
	}
	var attributes []string
	for _, key := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
		attributes = append(attributes, key+"="+e.Actor.Attributes[key])
	}
	if len(attributes) > 0 {
		line += " (" + strings.Join(attributes, ", ") + ")"
	}
	return line
}

func newInspect(s *session) *cobra.Command {
	var (
		format, kind string
		size         bool
	)
	kinds := []string{"container", "image", "network", "volume", "service", "task", "node", "plugin", "secret", "config"}
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] NAME|ID [NAME|ID...]",
		Short:             "Return low-level information on objects",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeContainers(true),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("type") && !slices.Contains(kinds, kind) {
				slices.Sort(kinds)
				return fmt.Errorf(`unknown type: "%s": must be one of "%s"`, kind, strings.Join(kinds, `", "`))
			}
			getters := s.getters(c.Context(), size)
			if kind != "" {
				return inspect(s, args, format, getters[kind])
			}
			return inspect(s, args, format, func(name string) (any, []byte, error) {
				return s.findObject(c.Context(), kinds, getters, name)
			})
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	c.Flags().StringVar(&kind, "type", "", "Only inspect objects of the given type")
	c.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes if the type is container")
	_ = c.RegisterFlagCompletionFunc("type", oneOf(kinds...))
	return c
}

// findObject asks for an object of each kind in turn. The swarm's are only asked
// for on a manager.
func (s *session) findObject(ctx context.Context, kinds []string, getters map[string]getter, name string) (any, []byte, error) {
	ofSwarm := []string{"service", "task", "node", "secret", "config"}
	asked, manager := false, false
	for _, kind := range kinds {
		if slices.Contains(ofSwarm, kind) {
			if !asked {
				info, err := s.client.Info(ctx, client.InfoOptions{})
				if err != nil {
					s.warn("%s\n", err)
				}
				asked, manager = true, info.Info.Swarm.ControlAvailable
			}
			if !manager {
				continue
			}
		}
		value, raw, err := getters[kind](name)
		if err == nil {
			return value, raw, nil
		}
		if !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "not supported") && !strings.Contains(err.Error(), "invalid reference format") {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("Error: No such object: %s", name)
}

func (s *session) getters(ctx context.Context, size bool) map[string]getter {
	return map[string]getter{
		"container": s.container(ctx, size),
		"image":     s.image(ctx),
		"network":   s.network(ctx, false),
		"volume": func(name string) (any, []byte, error) {
			found, err := s.client.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
			return found.Volume, found.Raw, err
		},
		"service": func(name string) (any, []byte, error) {
			found, err := s.client.ServiceInspect(ctx, name, client.ServiceInspectOptions{InsertDefaults: true})
			return found.Service, found.Raw, err
		},
		"task": func(name string) (any, []byte, error) {
			found, err := s.client.TaskInspect(ctx, name, client.TaskInspectOptions{})
			return found.Task, found.Raw, err
		},
		"node": func(name string) (any, []byte, error) {
			found, err := s.client.NodeInspect(ctx, name, client.NodeInspectOptions{})
			return found.Node, found.Raw, err
		},
		"plugin": func(name string) (any, []byte, error) {
			found, err := s.client.PluginInspect(ctx, name, client.PluginInspectOptions{})
			return found.Plugin, found.Raw, err
		},
		"secret": func(name string) (any, []byte, error) {
			found, err := s.client.SecretInspect(ctx, name, client.SecretInspectOptions{})
			return found.Secret, found.Raw, err
		},
		"config": func(name string) (any, []byte, error) {
			found, err := s.client.ConfigInspect(ctx, name, client.ConfigInspectOptions{})
			return found.Config, found.Raw, err
		},
	}
}
