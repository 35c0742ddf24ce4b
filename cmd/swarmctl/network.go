package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newNetwork(s *session) *cobra.Command {
	return group("network", "Manage networks",
		newNetworkCreate(s), newNetworkInspect(s), newNetworkList(s), newNetworkPrune(s), newNetworkRemove(s))
}

func newNetworkCreate(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "create [OPTIONS] NETWORK",
		Short:             "Create a network",
		Args:              exactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := request.NewNetwork(c.Flags())
	_ = c.RegisterFlagCompletionFunc("driver", oneOf("overlay"))
	c.RunE = func(c *cobra.Command, args []string) error {
		wanted, err := f.Request(args[0])
		if err != nil {
			return err
		}
		made, err := s.client.NetworkCreate(c.Context(), wanted.Name, networkOptions(wanted))
		if err != nil {
			return err
		}
		s.print("%s\n", made.ID)
		return nil
	}
	return c
}

// networkOptions is a request as the client takes it.
func networkOptions(wanted network.CreateRequest) client.NetworkCreateOptions {
	options := client.NetworkCreateOptions{
		Driver: wanted.Driver, Scope: wanted.Scope, EnableIPv4: wanted.EnableIPv4, EnableIPv6: wanted.EnableIPv6,
		IPAM: wanted.IPAM, Internal: wanted.Internal, Attachable: wanted.Attachable, Ingress: wanted.Ingress,
		ConfigOnly: wanted.ConfigOnly, Options: wanted.Options, Labels: wanted.Labels,
	}
	if wanted.ConfigFrom != nil {
		options.ConfigFrom = wanted.ConfigFrom.Network
	}
	return options
}

func newNetworkList(s *session) *cobra.Command {
	l := &listing{
		columns: []column{
			{"ID", "NETWORK ID"},
			{"Name", "NAME"},
			{"Driver", "DRIVER"},
			{"Scope", "SCOPE"},
			{"IPv4", "IPV4"},
			{"IPv6", "IPV6"},
			{"Internal", "INTERNAL"},
			{"Labels", "LABELS"},
			{"CreatedAt", "CREATED AT"},
		},
		shown: "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
	}
	c := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List networks",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			found, err := s.client.NetworkList(c.Context(), client.NetworkListOptions{Filters: l.query()})
			if err != nil {
				return err
			}
			slices.SortFunc(found.Items, func(a, b network.Summary) int { return compareNatural(a.Name, b.Name) })
			rows := make([]row, 0, len(found.Items))
			for _, n := range found.Items {
				rows = append(rows, row{
					"ID": l.short(n.ID), "Name": n.Name, "Driver": n.Driver, "Scope": n.Scope,
					"IPv4": strconv.FormatBool(n.EnableIPv4), "IPv6": strconv.FormatBool(n.EnableIPv6), "Internal": strconv.FormatBool(n.Internal),
					"Labels": labelList(n.Labels), "CreatedAt": n.Created.String(),
				})
			}
			return l.write(s, rows)
		},
	}
	l.flags(c, "Only display network IDs")
	c.Flags().BoolVar(&l.noTrunc, "no-trunc", false, "Do not truncate the output")
	c.Flags().Lookup("filter").Usage = `Provide filter values (e.g. "driver=bridge")`
	return c
}

// labelList is labels as listings show them.
func labelList(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, ",")
}

func newNetworkInspect(s *session) *cobra.Command {
	var (
		format  string
		verbose bool
	)
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short:             "Display detailed information on one or more networks",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeNetworks,
		RunE: func(c *cobra.Command, args []string) error {
			return inspect(s, args, format, s.network(c.Context(), verbose))
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "Verbose output for diagnostics")
	return c
}

func (s *session) network(ctx context.Context, verbose bool) getter {
	return func(name string) (any, []byte, error) {
		found, err := s.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{Verbose: verbose})
		return found.Network, found.Raw, err
	}
}

const ingressWarning = "WARNING! Before removing the routing-mesh network, " +
	"make sure all the nodes in your swarm run the same docker engine version. " +
	"Otherwise, removal may not be effective and functionality of newly create " +
	"ingress networks will be impaired.\nAre you sure you want to continue?"

func newNetworkRemove(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:               "rm NETWORK [NETWORK...]",
		Aliases:           []string{"remove"},
		Short:             "Remove one or more networks",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeNetworks,
		RunE: func(c *cobra.Command, args []string) error {
			failed := false
			for _, name := range args {
				found, err := s.client.NetworkInspect(c.Context(), name, client.NetworkInspectOptions{})
				if err == nil && found.Network.Ingress && !s.confirm(ingressWarning) {
					continue
				}
				_, err = s.client.NetworkRemove(c.Context(), name, client.NetworkRemoveOptions{})
				switch {
				case err == nil:
					s.print("%s\n", name)
				case !force || !errdefs.IsNotFound(err):
					s.warn("%s\n", err)
					failed = true
				}
			}
			if failed {
				return exitError{code: 1, text: "exit status 1"}
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Do not error if the network does not exist")
	return c
}

func newNetworkPrune(s *session) *cobra.Command {
	var (
		force   bool
		filters filterFlag
	)
	c := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove all unused networks",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !force && !s.confirm("WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?") {
				return nil
			}
			pruned, err := s.client.NetworkPrune(c.Context(), client.NetworkPruneOptions{Filters: filters.filters})
			if err != nil || len(pruned.Report.NetworksDeleted) == 0 {
				return err
			}
			s.print("Deleted Networks:\n%s\n\n", strings.Join(pruned.Report.NetworksDeleted, "\n"))
			return nil
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	c.Flags().Var(&filters, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	return c
}
