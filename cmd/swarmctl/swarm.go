package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newSwarm(s *session) *cobra.Command {
	return group("swarm", "Manage the swarm",
		newSwarmInit(s), newSwarmJoin(s), newSwarmJoinToken(s), newSwarmLeave(s),
		newSwarmUpdate(s), newSwarmUnlockKey(s), newSwarmUnlock(s), newSwarmCA(s))
}

func newSwarmInit(s *session) *cobra.Command {
	var (
		options      client.SwarmInitOptions
		settings     *request.Swarm
		availability string
		pools        []string
	)
	c := &cobra.Command{
		Use:   "init [OPTIONS]",
		Short: "Initialize a swarm",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			options.DefaultAddrPool = []netip.Prefix{}
			for _, p := range pools {
				prefix, err := netip.ParsePrefix(p)
				if err != nil {
					return fmt.Errorf("invalid argument %q for --default-addr-pool: write it as CIDR, such as 10.20.0.0/16: %w", p, err)
				}
				options.DefaultAddrPool = append(options.DefaultAddrPool, prefix)
			}
			var err error
			if options.Availability, err = givenAvailability(c.Flags(), availability); err != nil {
				return err
			}
			if options.ListenAddr, err = withPort(options.ListenAddr); err != nil {
				return err
			}
			settings.Change(&options.Spec)
			options.AutoLockManagers = settings.Autolock
			return swarmInit(c.Context(), s, options)
		},
	}
	f := c.Flags()
	f.StringVar(&options.ListenAddr, "listen-addr", "0.0.0.0:2377", `Listen address (format: "<ip|interface>[:port]")`)
	f.StringVar(&options.AdvertiseAddr, "advertise-addr", "", `Advertised address (format: "<ip|interface>[:port]")`)
	f.StringVar(&options.DataPathAddr, "data-path-addr", "", `Address or interface to use for data path traffic (format: "<ip|interface>")`)
	f.Uint32Var(&options.DataPathPort, "data-path-port", 0, "Port number to use for data path traffic (1024 - 49151); 0 is 4789")
	f.BoolVar(&options.ForceNewCluster, "force-new-cluster", false, "Force create a new cluster from current state")
	f.StringVar(&availability, "availability", "active", `Availability of the node ("active", "pause", "drain")`)
	f.StringSliceVar(&pools, "default-addr-pool", nil, "default address pool in CIDR format")
	f.Uint32Var(&options.SubnetSize, "default-addr-pool-mask-length", 24, "default address pool subnet mask length")
	settings = request.NewSwarm(f, "Enable manager autolocking (requiring an unlock key to start a stopped manager)")
	return c
}

// givenAvailability is what --availability says; empty if it was not given.
func givenAvailability(flags *pflag.FlagSet, word string) (swarm.NodeAvailability, error) {
	if !flags.Changed("availability") {
		return "", nil
	}
	return parseAvailability(word)
}

// withPort adds the swarm's port to an address without one.
func withPort(address string) (string, error) {
	const port = "2377"
	switch _, _, err := net.SplitHostPort(address); {
	case address == "":
		return "", errors.New("invalid listen address: write it as <ip|interface>[:port]")
	case err == nil:
		return address, nil
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port), nil
}

func parseAvailability(word string) (swarm.NodeAvailability, error) {
	switch a := swarm.NodeAvailability(word); a {
	case swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
		return a, nil
	}
	return "", fmt.Errorf("invalid availability %q, only active, pause and drain are supported", word)
}

func swarmInit(ctx context.Context, s *session, options client.SwarmInitOptions) error {
	made, err := s.client.SwarmInit(ctx, options)
	if err != nil {
		return err
	}
	s.print("Swarm initialized: current node (%s) is now a manager.\n\n", made.NodeID)
	if err := printJoin(ctx, s, made.NodeID, true, false); err != nil {
		return err
	}
	s.print("To add a manager to this swarm, run 'swarmctl swarm join-token manager' and follow the instructions.\n")
	if options.AutoLockManagers {
		return s.showUnlockKey(ctx)
	}
	return nil
}

// printJoin prints the command that joins a node to the swarm.
func printJoin(ctx context.Context, s *session, self string, worker, manager bool) error {
	node, err := s.client.NodeInspect(ctx, self, client.NodeInspectOptions{})
	if err != nil {
		return err
	}
	cluster, err := s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	if node.Node.ManagerStatus == nil {
		return errors.New("this node's address as a manager is not known: is it still a manager?")
	}
	show := func(role, token string) {
		s.print("To add a %s to this swarm, run the following command:\n\n    swarmctl swarm join --token %s %s\n\n", role, token, node.Node.ManagerStatus.Addr)
	}
	if worker {
		show("worker", cluster.Swarm.JoinTokens.Worker)
	}
	if manager {
		show("manager", cluster.Swarm.JoinTokens.Manager)
	}
	return nil
}

func newSwarmJoin(s *session) *cobra.Command {
	var (
		options             client.SwarmJoinOptions
		availability, token string
	)
	c := &cobra.Command{
		Use:   "join [OPTIONS] HOST:PORT",
		Short: "Join a swarm as a node and/or manager",
		Args:  exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if options.Availability, err = givenAvailability(c.Flags(), availability); err != nil {
				return err
			}
			if options.ListenAddr, err = withPort(options.ListenAddr); err != nil {
				return err
			}
			options.RemoteAddrs, options.JoinToken = args, token
			if _, err := s.client.SwarmJoin(c.Context(), options); err != nil {
				return err
			}
			info, err := s.client.Info(c.Context(), client.InfoOptions{})
			if err != nil {
				return err
			}
			role := "worker"
			if info.Info.Swarm.ControlAvailable {
				role = "manager"
			}
			s.print("This node joined a swarm as a %s.\n", role)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&options.ListenAddr, "listen-addr", "0.0.0.0:2377", `Listen address (format: "<ip|interface>[:port]")`)
	f.StringVar(&options.AdvertiseAddr, "advertise-addr", "", `Advertised address (format: "<ip|interface>[:port]")`)
	f.StringVar(&options.DataPathAddr, "data-path-addr", "", `Address or interface to use for data path traffic (format: "<ip|interface>")`)
	f.StringVar(&token, "token", "", "Token for entry into the swarm")
	f.StringVar(&availability, "availability", "active", `Availability of the node ("active", "pause", "drain")`)
	return c
}

func newSwarmJoinToken(s *session) *cobra.Command {
	var rotate, quiet bool
	c := &cobra.Command{
		Use:       "join-token [OPTIONS] (worker|manager)",
		Short:     "Manage join tokens",
		Args:      exactArgs(1),
		ValidArgs: []string{"worker", "manager"},
		RunE: func(c *cobra.Command, args []string) error {
			worker, manager := args[0] == "worker", args[0] == "manager"
			if !worker && !manager {
				return fmt.Errorf("unknown role %s", args[0])
			}
			ctx := c.Context()
			cluster, err := s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
			if err != nil {
				return err
			}
			if rotate {
				if cluster, err = rotateToken(ctx, s, cluster, worker, manager, quiet, args[0]); err != nil {
					return err
				}
			}
			if !quiet {
				info, err := s.client.Info(ctx, client.InfoOptions{})
				if err != nil {
					return err
				}
				return printJoin(ctx, s, info.Info.Swarm.NodeID, worker, manager)
			}
			token := cluster.Swarm.JoinTokens.Worker
			if manager {
				token = cluster.Swarm.JoinTokens.Manager
			}
			s.print("%s\n", token)
			return nil
		},
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "Rotate join token")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display token")
	return c
}

func rotateToken(ctx context.Context, s *session, cluster client.SwarmInspectResult, worker, manager, quiet bool, role string) (client.SwarmInspectResult, error) {
	_, err := s.client.SwarmUpdate(ctx, client.SwarmUpdateOptions{
		Version: cluster.Swarm.Version, Spec: cluster.Swarm.Spec, RotateWorkerToken: worker, RotateManagerToken: manager,
	})
	if err != nil {
		return cluster, err
	}
	if !quiet {
		s.print("Successfully rotated %s join token.\n\n", role)
	}
	return s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
}

func newSwarmLeave(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "leave [OPTIONS]",
		Short: "Leave the swarm",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := s.client.SwarmLeave(c.Context(), client.SwarmLeaveOptions{Force: force}); err != nil {
				return err
			}
			s.print("Node left the swarm.\n")
			return nil
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Force this node to leave the swarm, ignoring warnings")
	return c
}

func newSwarmUpdate(s *session) *cobra.Command {
	var settings *request.Swarm
	c := &cobra.Command{
		Use:   "update [OPTIONS]",
		Short: "Update the swarm",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().NFlag() == 0 {
				return c.Help()
			}
			cluster, err := s.client.SwarmInspect(c.Context(), client.SwarmInspectOptions{})
			if err != nil {
				return err
			}
			spec := cluster.Swarm.Spec
			locked := spec.EncryptionConfig.AutoLockManagers
			settings.Change(&spec)
			if _, err := s.client.SwarmUpdate(c.Context(), client.SwarmUpdateOptions{Version: cluster.Swarm.Version, Spec: spec}); err != nil {
				return err
			}
			s.print("Swarm updated.\n")
			if !locked && spec.EncryptionConfig.AutoLockManagers {
				return s.showUnlockKey(c.Context())
			}
			return nil
		},
	}
	settings = request.NewSwarm(c.Flags(), "Change manager autolocking setting (true|false)")
	return c
}

func newSwarmUnlock(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock",
		Short: "Unlock swarm",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			info, err := s.client.Info(c.Context(), client.InfoOptions{})
			switch {
			case err != nil:
				return err
			case info.Info.Swarm.LocalNodeState == swarm.LocalNodeStateInactive:
				return errors.New("Error: This node is not part of a swarm")
			case info.Info.Swarm.LocalNodeState != swarm.LocalNodeStateLocked:
				return errors.New("Error: swarm is not locked")
			}
			s.print("Enter unlock key: ")
			var key string
			if _, err := fmt.Fscanln(s.in, &key); err != nil {
				return fmt.Errorf("the unlock key could not be read from standard input: %w", err)
			}
			_, err = s.client.SwarmUnlock(c.Context(), client.SwarmUnlockOptions{Key: key})
			return err
		},
	}
}
