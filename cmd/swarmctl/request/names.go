package request

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/swarm"
)

// Names turns names of objects of the swarm into their IDs.
type Names interface {
	// Network is the ID of a swarm-wide network.
	Network(ctx context.Context, name string) (string, error)
	// Secrets and Configs are the IDs of those that there are, by name.
	Secrets(ctx context.Context, names []string) (map[string]string, error)
	Configs(ctx context.Context, names []string) (map[string]string, error)
}

// resolveNetworks turns --network flags into attachments by ID.
func resolveNetworks(ctx context.Context, n Names, wanted []opts.NetworkAttachmentOpts) ([]swarm.NetworkAttachmentConfig, error) {
	attachments := make([]swarm.NetworkAttachmentConfig, 0, len(wanted))
	for _, network := range wanted {
		id, err := n.Network(ctx, network.Target)
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
func resolveSecrets(ctx context.Context, n Names, wanted []*swarm.SecretReference) ([]*swarm.SecretReference, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	names, targets := []string{}, map[string]bool{}
	for _, ref := range wanted {
		if targets[ref.File.Name] {
			return nil, fmt.Errorf("duplicate secret target for %s not allowed", ref.SecretName)
		}
		targets[ref.File.Name] = true
		names = append(names, ref.SecretName)
	}
	ids, err := n.Secrets(ctx, names)
	if err != nil {
		return nil, err
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
func resolveConfigs(ctx context.Context, n Names, wanted []*swarm.ConfigReference) ([]*swarm.ConfigReference, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	names, targets := []string{}, map[string]bool{}
	for _, ref := range wanted {
		if ref.File != nil && targets[ref.File.Name] {
			return nil, fmt.Errorf("duplicate config target for %s not allowed", ref.ConfigName)
		}
		if ref.File != nil {
			targets[ref.File.Name] = true
		}
		names = append(names, ref.ConfigName)
	}
	ids, err := n.Configs(ctx, names)
	if err != nil {
		return nil, err
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
