package main

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
	"github.com/swarmd/swarmd/sim/script"
)

// A parser reads the swarm's own commands in scenarios, with the flags of
// swarmctl.
type parser struct{}

// Parse implements [script.Parser].
func (parser) Parse(args []string) ([]script.Request, error) {
	commands, err := request.Parse(args, names{})
	if err != nil {
		return nil, err
	}
	list := make([]script.Request, 0, len(commands))
	for _, c := range commands {
		switch c := c.(type) {
		case request.CreateService:
			list = append(list, script.CreateService{Spec: c.Spec})
		case request.ChangeService:
			list = append(list, script.ChangeService{Name: c.Name, Networks: c.Networks, Change: func(networks map[string]string, spec *swarm.ServiceSpec) error {
				return c.Change(names{networks}, spec)
			}})
		case request.RollbackService:
			list = append(list, script.RollbackService{Name: c.Name})
		case request.RemoveService:
			list = append(list, script.RemoveService{Name: c.Name})
		case request.CreateNetwork:
			list = append(list, script.CreateNetwork{Spec: c.Spec})
		case request.RemoveNetwork:
			list = append(list, script.RemoveNetwork{Name: c.Name, Force: c.Force})
		case request.ChangeNode:
			list = append(list, script.ChangeNode{Name: c.Name, Change: c.Change})
		case request.RemoveNode:
			list = append(list, script.RemoveNode{Name: c.Name, Force: c.Force})
		case request.ChangeSwarm:
			list = append(list, script.ChangeSwarm{Change: func(s *swarm.Spec) error {
				c.Change(s)
				return nil
			}})
		}
	}
	return list, nil
}

// names knows the IDs of networks, by name; while nothing is looked up, where networks
// is nil, a network goes by its name, which managers take too. Secrets and configs there
// are none.
type names struct{ networks map[string]string }

func (n names) Network(_ context.Context, name string) (string, error) {
	if n.networks == nil {
		return name, nil
	}
	id, ok := n.networks[name]
	if !ok {
		return "", fmt.Errorf("network %s not found", name)
	}
	return id, nil
}

func (names) Secrets(_ context.Context, wanted []string) (map[string]string, error) {
	return nil, fmt.Errorf("secrets %v: there are no secrets in the simulator", wanted)
}

func (names) Configs(_ context.Context, wanted []string) (map[string]string, error) {
	return nil, fmt.Errorf("configs %v: there are no configs in the simulator", wanted)
}
