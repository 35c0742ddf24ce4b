package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/cli/cli/command/swarm/progress"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

// caFlags are the flags of swarm ca.
type caFlags struct {
	rotate, detach, quiet bool
	certificate, key      pemFile
	expiry                time.Duration
	external              request.ExternalCAs
}

func newSwarmCA(s *session) *cobra.Command {
	f := &caFlags{}
	c := &cobra.Command{
		Use:   "ca [OPTIONS]",
		Short: "Display and rotate the root CA",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return swarmCA(c, s, f) },
	}
	flags := c.Flags()
	flags.BoolVar(&f.rotate, "rotate", false, "Rotate the swarm CA - if no certificate or key are provided, new ones will be generated")
	flags.Var(&f.certificate, "ca-cert", "Path to the PEM-formatted root CA certificate to use for the new cluster")
	flags.Var(&f.key, "ca-key", "Path to the PEM-formatted root CA key to use for the new cluster")
	flags.DurationVar(&f.expiry, "cert-expiry", 90*24*time.Hour, "Validity period for node certificates (ns|us|ms|s|m|h)")
	flags.Var(&f.external, "external-ca", "Specifications of one or more certificate signing endpoints")
	flags.BoolVarP(&f.detach, "detach", "d", false, "Exit immediately instead of waiting for the root rotation to converge")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Suppress progress output")
	return c
}

func swarmCA(c *cobra.Command, s *session, f *caFlags) error {
	ctx := c.Context()
	cluster, err := s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	if !f.rotate {
		for _, name := range []string{"ca-cert", "ca-key", "cert-expiry", "external-ca"} {
			if c.Flags().Changed(name) {
				return fmt.Errorf("`--%s` flag requires the `--rotate` flag to update the CA", name)
			}
		}
		return s.printRoot(cluster.Swarm)
	}
	switch certificate := c.Flags().Changed("ca-cert"); {
	case len(f.external) > 0 && !certificate:
		return errors.New("rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - " +
			"to add an external CA with the current root CA certificate, use the `update` command instead")
	case certificate && len(f.external) == 0 && !c.Flags().Changed("ca-key"):
		return errors.New("the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well")
	}
	spec := cluster.Swarm.Spec
	if c.Flags().Changed("cert-expiry") {
		spec.CAConfig.NodeCertExpiry = f.expiry
	}
	if c.Flags().Changed("external-ca") {
		spec.CAConfig.ExternalCAs = f.external
		for _, ca := range spec.CAConfig.ExternalCAs {
			ca.CACert = f.certificate.content
		}
	}
	spec.CAConfig.SigningCACert, spec.CAConfig.SigningCAKey = f.certificate.content, f.key.content
	if f.certificate.content == "" && f.key.content == "" {
		spec.CAConfig.ForceRotate++
	}
	if _, err := s.client.SwarmUpdate(ctx, client.SwarmUpdateOptions{Version: cluster.Swarm.Version, Spec: spec}); err != nil || f.detach {
		return err
	}
	return s.followRotation(ctx, f.quiet)
}

// followRotation shows how the nodes get new certificates until all have.
func (s *session) followRotation(ctx context.Context, quiet bool) error {
	messages, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- progress.RootRotationProgress(ctx, s.client, writer) }()
	out := s.out
	if quiet {
		out = io.Discard
	}
	shown := showMessages(messages, out)
	_ = messages.CloseWithError(shown)
	if err := errors.Join(<-done, shown); err != nil || quiet {
		return err
	}
	cluster, err := s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	return s.printRoot(cluster.Swarm)
}

func (s *session) printRoot(cluster swarm.Swarm) error {
	root := strings.TrimSpace(cluster.TLSInfo.TrustRoot)
	if root == "" {
		return errors.New("no CA information available")
	}
	s.print("%s\n", root)
	return nil
}

// A pemFile is the content of a file that must be PEM.
type pemFile struct{ path, content string }

func (p *pemFile) Set(path string) error {
	content, err := request.ReadPEM(path)
	p.path, p.content = path, content
	return err
}

func (p *pemFile) Type() string   { return "pem-file" }
func (p *pemFile) String() string { return p.path }

func newSwarmUnlockKey(s *session) *cobra.Command {
	var quiet, rotate bool
	c := &cobra.Command{
		Use:   "unlock-key [OPTIONS]",
		Short: "Manage the unlock key",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rotate {
				if err := s.rotateUnlockKey(c.Context(), quiet); err != nil {
					return err
				}
			}
			key, err := s.client.SwarmGetUnlockKey(c.Context())
			switch {
			case err != nil:
				return fmt.Errorf("could not fetch unlock key: %w", err)
			case key.Key == "":
				return errors.New("no unlock key is set")
			case quiet:
				s.print("%s\n", key.Key)
			default:
				s.printUnlock(key.Key)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display token")
	c.Flags().BoolVar(&rotate, "rotate", false, "Rotate unlock key")
	return c
}

func (s *session) rotateUnlockKey(ctx context.Context, quiet bool) error {
	cluster, err := s.client.SwarmInspect(ctx, client.SwarmInspectOptions{})
	if err != nil {
		return err
	}
	if !cluster.Swarm.Spec.EncryptionConfig.AutoLockManagers {
		return errors.New("cannot rotate because autolock is not turned on")
	}
	_, err = s.client.SwarmUpdate(ctx, client.SwarmUpdateOptions{Version: cluster.Swarm.Version, Spec: cluster.Swarm.Spec, RotateManagerUnlockKey: true})
	if err == nil && !quiet {
		s.print("Successfully rotated manager unlock key.\n")
	}
	return err
}

// showUnlockKey asks for the key and says what it is for.
func (s *session) showUnlockKey(ctx context.Context) error {
	key, err := s.client.SwarmGetUnlockKey(ctx)
	if err != nil {
		return fmt.Errorf("could not fetch unlock key: %w", err)
	}
	s.printUnlock(key.Key)
	return nil
}

func (s *session) printUnlock(key string) {
	if key == "" {
		return
	}
	s.print("To unlock a swarm manager after it restarts, run the `swarmctl swarm unlock`\ncommand and provide the following key:\n\n    %s\n\n"+
		"Remember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n", key)
}
