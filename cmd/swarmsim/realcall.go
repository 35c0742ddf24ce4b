//go:build linux

package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/script"
)

// callPatience is with one call: whoever makes it has given up by then.
const callPatience = 30 * time.Second

// Call makes a call of a host's API.
func (s *realStage) Call(host string, call control.Call, done func(control.Answer)) {
	h := s.hosts[host]
	go func() {
		ctx, cancel := context.WithTimeout(s.ctx, callPatience)
		defer cancel()
		c, err := apiOf(h.Host)
		var answer control.Answer
		if err == nil {
			defer c.Close() //nolint:errcheck // its connections are idle
			answer, err = makeCall(ctx, c, call)
		}
		if err != nil {
			answer = failedOf(err)
		}
		s.later(func() {
			s.dirty = true
			if answer != nil {
				done(answer)
			}
		})
	}()
}

// Reach and Networked are of simulated worlds: what asks for them is refused before it
// is played.
func (s *realStage) Reach(string, *script.Service) int { return 0 }

// Networked is as Reach.
func (s *realStage) Networked(string) int { return 0 }

// makeCall makes those calls that scenarios make.
func makeCall(ctx context.Context, c *client.Client, call control.Call) (control.Answer, error) {
	switch call := call.(type) {
	case control.ServiceCreate:
		made, err := c.ServiceCreate(ctx, client.ServiceCreateOptions{Spec: call.Spec})
		return control.Created{ID: made.ID, Warnings: made.Warnings}, err
	case control.ServiceInspect:
		found, err := c.ServiceInspect(ctx, call.Ref, client.ServiceInspectOptions{})
		of := found.Service
		return control.Services{Services: []*state.Service{{ID: state.ServiceID(of.ID), SpecVersion: of.Version.Index, Spec: of.Spec}}}, err
	case control.ServiceUpdate:
		_, err := c.ServiceUpdate(ctx, call.Ref, client.ServiceUpdateOptions{
			Version: swarm.Version{Index: call.Version}, Spec: call.Spec, RegistryAuthFrom: swarm.RegistryAuthSource(call.AuthFrom), Rollback: call.Rollback,
		})
		return control.Done{}, err
	case control.ServiceRemove:
		_, err := c.ServiceRemove(ctx, call.Ref, client.ServiceRemoveOptions{})
		return control.Done{}, err
	case control.NetworkCreate:
		made, err := c.NetworkCreate(ctx, call.Spec.Name, networkOptions(call.Spec))
		return control.Created{ID: made.ID}, err
	case control.NetworkRemove:
		_, err := c.NetworkRemove(ctx, call.Ref, client.NetworkRemoveOptions{})
		return control.Done{}, err
	case control.NetworkList:
		found, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("scope", "swarm")})
		var list control.Networks
		for _, n := range found.Items {
			list.Networks = append(list.Networks, &state.Network{
				ID: state.NetworkID(n.ID), Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: n.Name}, Ingress: n.Ingress},
			})
		}
		return list, err
	case control.NodeInspect:
		found, err := c.NodeInspect(ctx, call.Ref, client.NodeInspectOptions{})
		of := found.Node
		return control.Nodes{Nodes: []*state.Node{{ID: state.NodeID(of.ID), SpecVersion: of.Version.Index, Spec: of.Spec}}}, err
	case control.NodeUpdate:
		_, err := c.NodeUpdate(ctx, call.Ref, client.NodeUpdateOptions{Version: swarm.Version{Index: call.Version}, Spec: call.Spec})
		return control.Done{}, err
	case control.NodeRemove:
		_, err := c.NodeRemove(ctx, call.Ref, client.NodeRemoveOptions{Force: call.Force})
		return control.Done{}, err
	case control.SwarmInspect:
		found, err := c.SwarmInspect(ctx, client.SwarmInspectOptions{})
		of := found.Swarm
		return control.Swarm{Cluster: &state.Cluster{SpecVersion: of.Version.Index, Spec: of.Spec}}, err
	case control.SwarmUpdate:
		_, err := c.SwarmUpdate(ctx, client.SwarmUpdateOptions{Version: swarm.Version{Index: call.Version}, Spec: call.Spec})
		return control.Done{}, err
	default:
		return nil, errors.New("scenarios do not make this call")
	}
}

// networkOptions is a spec as the client takes it.
func networkOptions(spec swarm.NetworkSpec) client.NetworkCreateOptions {
	options := client.NetworkCreateOptions{
		Driver: spec.DriverConfiguration.Name, Options: spec.DriverConfiguration.Options, Labels: spec.Labels, Scope: spec.Scope,
		Internal: spec.Internal, Attachable: spec.Attachable, Ingress: spec.Ingress,
	}
	if spec.IPv6Enabled {
		options.EnableIPv6 = &spec.IPv6Enabled
	}
	if o := spec.IPAMOptions; o != nil {
		options.IPAM = &network.IPAM{Driver: o.Driver.Name, Options: o.Driver.Options}
		for _, c := range o.Configs {
			options.IPAM.Config = append(options.IPAM.Config, network.IPAMConfig{Subnet: c.Subnet, IPRange: c.Range, Gateway: c.Gateway})
		}
	}
	return options
}

// failedOf is what a call came to that failed, nil if there was no answer.
func failedOf(err error) control.Answer {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	kinds := []struct {
		is   func(error) bool
		kind control.Kind
	}{
		{cerrdefs.IsInvalidArgument, control.Invalid},
		{cerrdefs.IsUnauthorized, control.Unauthorized},
		{cerrdefs.IsPermissionDenied, control.Forbidden},
		{cerrdefs.IsNotFound, control.NotFound},
		{cerrdefs.IsConflict, control.Conflict},
		{cerrdefs.IsNotImplemented, control.Unimplemented},
		{cerrdefs.IsUnavailable, control.Unavailable},
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // it was not asked
		return control.Failed{Kind: control.Unavailable, Message: text + ": try again"}
	case client.IsErrConnectionFailed(err): // it was asked, and has died over it
		return control.Failed{Kind: control.Unavailable, Message: text + ": it may or may not take effect"}
	}
	for _, k := range kinds {
		if k.is(err) {
			return control.Failed{Kind: k.kind, Message: text}
		}
	}
	return control.Failed{Kind: control.Internal, Message: text}
}
