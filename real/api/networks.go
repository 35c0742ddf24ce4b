package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
)

// networks lists what a node has without anybody's creating it, in Docker's
// terms: the bridge that containers are on, host, none, and in a swarm ingress,
// which is Docker's name for how published ports reach tasks.
func (s *Server) networks(ctx context.Context) ([]network.Inspect, error) {
	listed := []network.Inspect{
		s.localNetwork("bridge", "bridge"),
		s.localNetwork("host", "host"),
		s.localNetwork("none", "null"),
	}
	bridge := &listed[0]
	bridge.EnableIPv4 = true
	if s.host.Bridge.Subnet.IsValid() {
		bridge.IPAM.Config = []network.IPAMConfig{{Subnet: s.host.Bridge.Subnet, Gateway: s.host.Bridge.Gateway}}
		bridge.Options["com.docker.network.bridge.name"] = s.host.Bridge.Interface
	}
	info, err := call[control.NodeInfo](ctx, s.engine, control.Info{})
	if err != nil {
		return nil, err
	}
	if info.State == swarm.LocalNodeStateActive && info.Cluster != nil {
		ingress := s.localNetwork("ingress", "overlay")
		ingress.Scope, ingress.Ingress = "swarm", true
		ingress.Created = info.Cluster.Created.Time()
		ingress.ID = derivedID("ingress", string(info.Cluster.ID))
		listed = append(listed, ingress)
	}
	return listed, nil
}

// localNetwork is a network that is always there. Its ID is the same as long as
// the host's is.
func (s *Server) localNetwork(name, driver string) network.Inspect {
	sum := sha256.Sum256([]byte(s.host.ID + "/" + name))
	return network.Inspect{
		Network: network.Network{
			Name:    name,
			ID:      hex.EncodeToString(sum[:]),
			Scope:   "local",
			Driver:  driver,
			IPAM:    network.IPAM{Driver: "default", Config: []network.IPAMConfig{}},
			Options: map[string]string{},
			Labels:  map[string]string{},
		},
		Containers: map[string]network.EndpointResource{},
	}
}

// derivedID is an ID in the swarm's form that follows from others.
func derivedID(parts ...string) string {
	const bytes, width = 16, 25
	sum := sha256.Sum256([]byte(strings.Join(parts, "/")))
	text := new(big.Int).SetBytes(sum[:bytes]).Text(36)
	return strings.Repeat("0", width-len(text)) + text
}

func (s *Server) listNetworks(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return err
	}
	all, err := s.networks(r.Context())
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(all, func(n network.Inspect) bool { return !networkMatches(n.Network, filters) })
	writeList(w, kept, func(_ int, n network.Inspect) network.Network { return n.Network })
	return nil
}

func networkMatches(n network.Network, filters control.Filters) bool {
	return anyOf(filters["driver"], func(want string) bool { return n.Driver == want }) &&
		anyOf(filters["id"], func(want string) bool { return strings.HasPrefix(n.ID, want) }) &&
		anyOf(filters["name"], func(want string) bool { return strings.Contains(n.Name, want) }) &&
		anyOf(filters["scope"], func(want string) bool { return n.Scope == want }) &&
		anyOf(filters["type"], func(want string) bool { return want == "builtin" }) &&
		anyOf(filters["dangling"], func(want string) bool { return !truth(want) }) &&
		labelled(n.Labels, filters["label"])
}

// findNetwork looks for an ID, a name, or the only ID with a prefix.
func (s *Server) findNetwork(r *http.Request) (network.Inspect, error) {
	all, err := s.networks(r.Context())
	if err != nil {
		return network.Inspect{}, err
	}
	ref, scope := r.PathValue("ref"), queryOf(r).Get("scope")
	if scope != "" {
		all = slices.DeleteFunc(all, func(n network.Inspect) bool { return n.Scope != scope })
	}
	rules := []func(network.Inspect) bool{
		func(n network.Inspect) bool { return n.ID == ref },
		func(n network.Inspect) bool { return n.Name == ref },
		func(n network.Inspect) bool { return strings.HasPrefix(n.ID, ref) },
	}
	for _, matches := range rules {
		if i := slices.IndexFunc(all, matches); i >= 0 {
			return all[i], nil
		}
	}
	return network.Inspect{}, fail(http.StatusNotFound, "network %s not found", ref)
}

func (s *Server) inspectNetwork(w http.ResponseWriter, r *http.Request) error {
	if _, err := strict(queryOf(r), "verbose"); err != nil {
		return err
	}
	found, err := s.findNetwork(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

func (s *Server) removeNetwork(_ http.ResponseWriter, r *http.Request) error {
	found, err := s.findNetwork(r)
	if err != nil {
		return err
	}
	return fail(http.StatusForbidden, "%s is a pre-defined network and cannot be removed", found.Name)
}
