//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
)

// soakPatience is how long a client waits for an answer.
const soakPatience = 12 * time.Second

// client does one thing after another, by managers that are drawn, until ctx ends.
// The last is waited for: parent is the run's.
func (s *soak) client(ctx, parent context.Context, number int) {
	draws := rand.New(rand.NewPCG(s.f.seed, uint64(number))) //nolint:gosec // nor are they secret
	kinds := []sim.OperationKind{}
	for kind, weight := range map[sim.OperationKind]int{sim.Create: 6, sim.Inspect: 8, sim.Update: 6, sim.Scale: 4, sim.Remove: 4, sim.List: 1} {
		for range weight {
			kinds = append(kinds, kind)
		}
	}
	read := map[string]*state.Service{}
	for ctx.Err() == nil {
		epoch := time.Since(s.began) / soakEpoch
		op := &sim.Operation{Client: number, Kind: kinds[draws.IntN(len(kinds))], Name: fmt.Sprintf("service-%d-%d", epoch, draws.IntN(soakNames))}
		if (op.Kind == sim.Update || op.Kind == sim.Scale) && read[op.Name] == nil {
			op.Kind = sim.Inspect
		}
		h := s.cluster.Hosts[draws.IntN(s.f.managers)]
		s.perform(parent, h, op, func(number string) control.Call { return soakCall(op, number, read[op.Name], uint64(draws.IntN(2))) })
		if a, ok := op.Answer.(control.Services); ok && op.Kind == sim.Inspect && len(a.Services) == 1 {
			read[op.Name] = a.Services[0]
		}
		pause(ctx, time.Duration(draws.Int64N(int64(2*soakThink))))
	}
}

func listCall() func(string) control.Call {
	return func(string) control.Call { return control.ServiceList{} }
}

// soakCall is what is said to the swarm. No container is asked for: who wins is
// decided without any.
func soakCall(op *sim.Operation, number string, last *state.Service, some uint64) control.Call {
	none := uint64(0)
	switch op.Kind {
	case sim.Create:
		return control.ServiceCreate{Spec: swarm.ServiceSpec{
			Annotations:  swarm.Annotations{Name: op.Name, Labels: map[string]string{sim.OperationLabel: number}},
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx:alpine"}},
			Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &none}},
		}}
	case sim.Update, sim.Scale:
		op.Version = last.SpecVersion
		spec := last.Spec
		spec.Labels = map[string]string{sim.OperationLabel: number}
		if op.Kind == sim.Scale && some == 1 && spec.TaskTemplate.ContainerSpec != nil {
			copied := *spec.TaskTemplate.ContainerSpec
			copied.Env = []string{"OPERATION=" + number}
			spec.TaskTemplate.ContainerSpec = &copied
		}
		return control.ServiceUpdate{Ref: op.Name, Version: op.Version, Spec: spec}
	case sim.Remove:
		return control.ServiceRemove{Ref: op.Name}
	case sim.List:
		op.Name = ""
		return control.ServiceList{}
	default:
		return control.ServiceInspect{Ref: op.Name}
	}
}

// perform makes a call and notes what came of it.
func (s *soak) perform(ctx context.Context, h *lab.Host, op *sim.Operation, call func(number string) control.Call) {
	s.mu.Lock()
	op.Number = uint64(len(s.operations) + 1)
	s.operations = append(s.operations, op)
	s.mu.Unlock()
	made := call(strconv.FormatUint(op.Number, 10))
	ctx, cancel := context.WithTimeout(ctx, soakPatience)
	defer cancel()
	called := time.Since(s.began)
	answer := askSoaked(ctx, h, made)
	returned := time.Since(s.began)

	s.mu.Lock()
	defer s.mu.Unlock()
	op.Called, op.Returned, op.Answer = called, returned, answer
	if outcome(op) == "done" {
		s.acked++
		s.longest = max(s.longest, returned-s.lastAck)
		s.lastAck = returned
	}
}

func askSoaked(ctx context.Context, h *lab.Host, call control.Call) control.Answer {
	c, err := apiOf(h)
	if err != nil {
		return failedOf(err)
	}
	defer c.Close() //nolint:errcheck // it has answered, or not
	var answer control.Answer
	if _, ok := call.(control.ServiceList); ok {
		answer, err = listServices(ctx, c)
	} else {
		answer, err = makeCall(ctx, c, call)
	}
	if err != nil {
		return failedOf(err)
	}
	return answer
}

func listServices(ctx context.Context, c *client.Client) (control.Answer, error) {
	found, err := c.ServiceList(ctx, client.ServiceListOptions{})
	var all []*state.Service
	for _, of := range found.Items {
		all = append(all, &state.Service{ID: state.ServiceID(of.ID), SpecVersion: of.Version.Index, Spec: of.Spec})
	}
	return control.Services{Services: all}, err
}

// outcome is what an operation came to, in a word.
func outcome(op *sim.Operation) string {
	switch a := op.Answer.(type) {
	case control.Created, control.Done:
		return "done"
	case control.Services:
		return "answered"
	case control.Failed:
		known := a.Kind == control.NotFound || a.Kind == control.Conflict || a.Kind == control.Invalid
		if known || strings.Contains(a.Message, "update out of sequence") {
			return "refused"
		}
		return "unknown"
	default:
		return "unknown"
	}
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
