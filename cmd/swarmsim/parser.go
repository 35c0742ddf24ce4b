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
	commands, err := request.Parse(args, noNames{})
	if err != nil {
		return nil, err
	}
	list := make([]script.Request, 0, len(commands))
	for _, c := range commands {
		switch c := c.(type) {
		case request.CreateService:
			list = append(list, script.CreateService{Spec: c.Spec})
		case request.ChangeService:
			list = append(list, script.ChangeService{Name: c.Name, Change: c.Change})
		case request.RollbackService:
			list = append(list, script.RollbackService{Name: c.Name})
		case request.RemoveService:
			list = append(list, script.RemoveService{Name: c.Name})
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

// noNames has no networks, secrets or configs: the simulator has none of them.
type noNames struct{}

func (noNames) Network(_ context.Context, name string) (string, error) {
	return "", fmt.Errorf("network %s: there are no networks in the simulator", name)
}

func (noNames) Secrets(_ context.Context, names []string) (map[string]string, error) {
	return nil, fmt.Errorf("secrets %v: there are no secrets in the simulator", names)
}

func (noNames) Configs(_ context.Context, names []string) (map[string]string, error) {
	return nil, fmt.Errorf("configs %v: there are no configs in the simulator", names)
}
