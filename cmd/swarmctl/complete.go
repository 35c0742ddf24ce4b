package main

import (
	"os"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// candidates is how cobra asks what could be written next.
type candidates = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// oneOf completes one of some words.
func oneOf(words ...string) candidates {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// ask connects, which the shell's completion has not done, and completes what the
// daemon answers. A daemon that does not answer completes nothing.
func (s *session) ask(c *cobra.Command, find func() ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if s.client == nil && s.connect(c, nil) != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := find()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *session) completeServices(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(c, func() ([]string, error) {
		found, err := s.client.ServiceList(c.Context(), client.ServiceListOptions{})
		names := make([]string, 0, len(found.Items))
		for _, service := range found.Items {
			names = append(names, service.Spec.Name)
		}
		return names, err
	})
}

func (s *session) completeScale(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names, directive := s.completeServices(c, args, typed)
	for i := range names {
		names[i] += "="
	}
	return names, directive | cobra.ShellCompDirectiveNoSpace
}

func (s *session) completeNodes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(c, func() ([]string, error) {
		found, err := s.client.NodeList(c.Context(), client.NodeListOptions{})
		names := []string{"self"}
		for _, node := range found.Items {
			names = append(names, node.Description.Hostname)
		}
		return names, err
	})
}

// completeContainers completes the names of containers: running ones, or all.
func (s *session) completeContainers(all bool) candidates {
	return func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return s.ask(c, func() ([]string, error) {
			found, err := s.client.ContainerList(c.Context(), client.ContainerListOptions{All: all})
			var names []string
			for _, container := range found.Items {
				for _, name := range container.Names {
					names = append(names, strings.TrimPrefix(name, "/"))
				}
			}
			return names, err
		})
	}
}

// completeImages completes the names of images for the first so many arguments;
// 0 is all.
func (s *session) completeImages(limit int) candidates {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.ask(c, func() ([]string, error) {
			found, err := s.client.ImageList(c.Context(), client.ImageListOptions{})
			var names []string
			for _, image := range found.Items {
				names = append(names, image.RepoTags...)
			}
			return names, err
		})
	}
}

func (s *session) completeNetworks(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(c, func() ([]string, error) {
		found, err := s.client.NetworkList(c.Context(), client.NetworkListOptions{})
		var names []string
		for _, network := range found.Items {
			names = append(names, network.Name)
		}
		return names, err
	})
}

// completeServiceFlags says what the values of service flags can be.
func (s *session) completeServiceFlags(c *cobra.Command) {
	variables := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, variable := range os.Environ() {
			name, _, _ := strings.Cut(variable, "=")
			names = append(names, name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	orders := oneOf("start-first", "stop-first")
	for flag, values := range map[string]candidates{
		"mode":                    oneOf("replicated", "global", "replicated-job", "global-job"),
		"endpoint-mode":           oneOf("vip", "dnsrr"),
		"restart-condition":       oneOf("none", "on-failure", "any"),
		"update-order":            orders,
		"rollback-order":          orders,
		"update-failure-action":   oneOf("pause", "continue", "rollback"),
		"rollback-failure-action": oneOf("pause", "continue"),
		"env":                     variables,
		"env-add":                 variables,
		"network":                 s.completeNetworks,
		"network-add":             s.completeNetworks,
		"image":                   s.completeImages(0),
	} {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, values)
		}
	}
}
