package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
)

// A listed network is one as the API shows it.
type listed struct {
	network.Inspect
	used bool // a service is on it, or it is there without anybody's creating it
}

// networks lists what a node has without anybody's creating it, in Docker's terms
// the bridge that containers are on, host and none; and on a manager the swarm's.
func (s *Server) networks(ctx context.Context) ([]listed, error) {
	all := []listed{
		{s.localNetwork("bridge", "bridge"), true},
		{s.localNetwork("host", "host"), true},
		{s.localNetwork("none", "null"), true},
	}
	bridge := &all[0]
	bridge.EnableIPv4 = true
	if s.host.Bridge.Subnet.IsValid() {
		bridge.IPAM.Config = []network.IPAMConfig{{Subnet: s.host.Bridge.Subnet, Gateway: s.host.Bridge.Gateway}}
		bridge.Options["com.docker.network.bridge.name"] = s.host.Bridge.Interface
	}
	info, err := call[control.NodeInfo](ctx, s.engine, control.Info{})
	if err != nil {
		return nil, err
	}
	if info.State == swarm.LocalNodeStateActive && info.Manager {
		answer, err := call[control.Networks](ctx, s.engine, control.NetworkList{})
		if err != nil {
			return nil, err
		}
		for i, n := range answer.Networks {
			all = append(all, listed{renderNetwork(n), i < len(answer.Used) && answer.Used[i]})
		}
	}
	return all, nil
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
	kept := slices.DeleteFunc(all, func(n listed) bool { return !n.matches(filters) })
	writeList(w, kept, func(_ int, n listed) network.Network { return n.Network })
	return nil
}

// builtin reports whether the network is there without anybody's creating it.
func (n *listed) builtin() bool { return n.Scope == "local" || n.Ingress }

func (n *listed) matches(filters control.Filters) bool {
	return anyOf(filters["driver"], func(want string) bool { return n.Driver == want }) &&
		anyOf(filters["id"], func(want string) bool { return strings.HasPrefix(n.ID, want) }) &&
		anyOf(filters["name"], func(want string) bool { return strings.Contains(n.Name, want) }) &&
		anyOf(filters["scope"], func(want string) bool { return n.Scope == want }) &&
		anyOf(filters["type"], func(want string) bool { return want == "builtin" && n.builtin() || want == "custom" && !n.builtin() }) &&
		anyOf(filters["dangling"], func(want string) bool { return truth(want) != n.used }) &&
		labelled(n.Labels, filters["label"])
}

// findNetwork looks for an ID, a name, or the only ID with a prefix.
func (s *Server) findNetwork(r *http.Request) (listed, error) {
	all, err := s.networks(r.Context())
	if err != nil {
		return listed{}, err
	}
	ref, scope := r.PathValue("ref"), queryOf(r).Get("scope")
	if scope != "" {
		all = slices.DeleteFunc(all, func(n listed) bool { return n.Scope != scope })
	}
	rules := []func(listed) bool{
		func(n listed) bool { return n.ID == ref },
		func(n listed) bool { return n.Name == ref },
		func(n listed) bool { return strings.HasPrefix(n.ID, ref) },
	}
	for _, matches := range rules {
		if i := slices.IndexFunc(all, matches); i >= 0 {
			return all[i], nil
		}
	}
	return listed{}, fail(http.StatusNotFound, "network %s not found", ref)
}

func (s *Server) inspectNetwork(w http.ResponseWriter, r *http.Request) error {
	if _, err := strict(queryOf(r), "verbose"); err != nil {
		return err
	}
	found, err := s.findNetwork(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, found.Inspect)
	return nil
}

func (s *Server) removeNetwork(w http.ResponseWriter, r *http.Request) error {
	found, err := s.findNetwork(r)
	if err != nil {
		return err
	}
	if found.Scope == "local" {
		return fail(http.StatusForbidden, "%s is a pre-defined network and cannot be removed", found.Name)
	}
	if _, err := call[control.Done](r.Context(), s.engine, control.NetworkRemove{Ref: found.ID}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) createNetwork(w http.ResponseWriter, r *http.Request) error {
	var request network.CreateRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	spec, err := networkSpecOf(request)
	if err != nil {
		return err
	}
	if err := s.onNetworkManager(r.Context()); err != nil {
		return err
	}
	answer, err := call[control.Created](r.Context(), s.engine, control.NetworkCreate{Spec: spec})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, network.CreateResponse{ID: answer.ID})
	return nil
}

// onNetworkManager refuses what only a manager can do, as Docker refuses it for
// networks.
func (s *Server) onNetworkManager(ctx context.Context) error {
	info, err := call[control.NodeInfo](ctx, s.engine, control.Info{})
	if err == nil && !info.Manager {
		err = fail(http.StatusForbidden, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	}
	return err
}

// networkSpecOf is the spec that a request to create a network stands for. What the
// swarm's specs have no place for is refused.
func networkSpecOf(request network.CreateRequest) (swarm.NetworkSpec, error) {
	spec := swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: request.Name, Labels: request.Labels},
		DriverConfiguration: &swarm.Driver{Name: request.Driver, Options: request.Options},
		IPv6Enabled:         request.EnableIPv6 != nil && *request.EnableIPv6,
		Internal:            request.Internal,
		Attachable:          request.Attachable,
		Ingress:             request.Ingress,
		ConfigFrom:          request.ConfigFrom,
		Scope:               request.Scope,
	}
	switch {
	case request.ConfigOnly:
		return spec, fail(http.StatusNotImplemented, "networks that are only a configuration: not served yet; leave --config-only out")
	case request.EnableIPv4 != nil && !*request.EnableIPv4:
		return spec, fail(http.StatusNotImplemented, "networks without IPv4: not served yet; leave --ipv4=false out")
	case request.IPAM == nil:
		return spec, nil
	}
	options := &swarm.IPAMOptions{Driver: swarm.Driver{Name: request.IPAM.Driver, Options: request.IPAM.Options}}
	for _, c := range request.IPAM.Config {
		if len(c.AuxAddress) > 0 {
			return spec, fail(http.StatusNotImplemented, "auxiliary addresses: not served yet; leave --aux-address out")
		}
		options.Configs = append(options.Configs, swarm.IPAMConfig{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway})
	}
	spec.IPAMOptions = options
	return spec, nil
}

// pruneNetworks removes the networks that no service is on.
func (s *Server) pruneNetworks(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "label", "label!", "until"); err != nil {
		return err
	}
	if len(filters["until"]) > 0 || len(filters["label!"]) > 0 {
		return fail(http.StatusNotImplemented, "pruning networks by age, or by a label that they lack: not served yet; prune by label, or leave the filter out")
	}
	all, err := s.networks(r.Context())
	if err != nil {
		return err
	}
	report := network.PruneReport{}
	for _, n := range all {
		if n.used || n.builtin() || !labelled(n.Labels, filters["label"]) {
			continue
		}
		if _, err := call[control.Done](r.Context(), s.engine, control.NetworkRemove{Ref: n.ID}); err == nil {
			report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
		}
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}
