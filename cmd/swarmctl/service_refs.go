package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// networkID asks for the ID of a swarm-wide network.
func (s *session) networkID(ctx context.Context, name string) (string, error) {
	found, err := s.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{Scope: "swarm"})
	return found.Network.ID, err
}

// resolveNetworks turns --network flags into attachments by ID.
func (s *session) resolveNetworks(ctx context.Context, wanted []opts.NetworkAttachmentOpts) ([]swarm.NetworkAttachmentConfig, error) {
	attachments := make([]swarm.NetworkAttachmentConfig, 0, len(wanted))
	for _, network := range wanted {
		id, err := s.networkID(ctx, network.Target)
		if err != nil {
			return nil, err
		}
		attachments = append(attachments, swarm.NetworkAttachmentConfig{Target: id, Aliases: network.Aliases, DriverOpts: network.DriverOpts})
	}
	sortNetworks(attachments)
	return attachments, nil
}

func sortNetworks(attachments []swarm.NetworkAttachmentConfig) {
	slices.SortFunc(attachments, func(a, b swarm.NetworkAttachmentConfig) int { return cmp.Compare(a.Target, b.Target) })
}

// resolveSecrets writes the IDs of secrets into references by name.
func (s *session) resolveSecrets(ctx context.Context, wanted []*swarm.SecretReference) ([]*swarm.SecretReference, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	filters, targets := client.Filters{}, map[string]bool{}
	for _, ref := range wanted {
		if targets[ref.File.Name] {
			return nil, fmt.Errorf("duplicate secret target for %s not allowed", ref.SecretName)
		}
		targets[ref.File.Name] = true
		filters.Add("name", ref.SecretName)
	}
	found, err := s.client.SecretList(ctx, client.SecretListOptions{Filters: filters})
	if err != nil {
		return nil, err
	}
	ids := map[string]string{} // the filter matches prefixes: names must be equal
	for _, secret := range found.Items {
		ids[secret.Spec.Name] = secret.ID
	}
	resolved := make([]*swarm.SecretReference, 0, len(wanted))
	for _, ref := range wanted {
		id, ok := ids[ref.SecretName]
		if !ok {
			return nil, fmt.Errorf("secret not found: %s", ref.SecretName)
		}
		copied := *ref
		copied.SecretID = id
		resolved = append(resolved, &copied)
	}
	return resolved, nil
}

// resolveConfigs writes the IDs of configs into references by name.
func (s *session) resolveConfigs(ctx context.Context, wanted []*swarm.ConfigReference) ([]*swarm.ConfigReference, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	filters, targets := client.Filters{}, map[string]bool{}
	for _, ref := range wanted {
		if ref.File != nil && targets[ref.File.Name] {
			return nil, fmt.Errorf("duplicate config target for %s not allowed", ref.ConfigName)
		}
		if ref.File != nil {
			targets[ref.File.Name] = true
		}
		filters.Add("name", ref.ConfigName)
	}
	found, err := s.client.ConfigList(ctx, client.ConfigListOptions{Filters: filters})
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, config := range found.Items {
		ids[config.Spec.Name] = config.ID
	}
	resolved := make([]*swarm.ConfigReference, 0, len(wanted))
	for _, ref := range wanted {
		id, ok := ids[ref.ConfigName]
		if !ok {
			return nil, fmt.Errorf("config not found: %s", ref.ConfigName)
		}
		copied := *ref
		copied.ConfigID = id
		resolved = append(resolved, &copied)
	}
	return resolved, nil
}
