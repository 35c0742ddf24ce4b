package main

import (
	"context"

	"github.com/moby/moby/client"
)

// Network implements [request.Names]: it asks for the ID of a swarm-wide network.
func (s *session) Network(ctx context.Context, name string) (string, error) {
	found, err := s.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{Scope: "swarm"})
	return found.Network.ID, err
}

// Secrets implements [request.Names]. The filter matches prefixes: there may be
// more than was asked for.
func (s *session) Secrets(ctx context.Context, names []string) (map[string]string, error) {
	found, err := s.client.SecretList(ctx, client.SecretListOptions{Filters: client.Filters{}.Add("name", names...)})
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, secret := range found.Items {
		ids[secret.Spec.Name] = secret.ID
	}
	return ids, nil
}

// Configs implements [request.Names]; it is as Secrets.
func (s *session) Configs(ctx context.Context, names []string) (map[string]string, error) {
	found, err := s.client.ConfigList(ctx, client.ConfigListOptions{Filters: client.Filters{}.Add("name", names...)})
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, config := range found.Items {
		ids[config.Spec.Name] = config.ID
	}
	return ids, nil
}
