package request

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// A Command is one thing that a command line asks of the swarm.
//
//sumtype:decl
type Command interface{ isCommand() }

// Commands. A change may be made more than once, to copies of what is there.
type (
	// CreateService makes a service.
	CreateService struct{ Spec swarm.ServiceSpec }
	// ChangeService changes a service. Networks are the names of those that the change
	// speaks of: they are looked up when it is made.
	ChangeService struct {
		Name     string
		Networks []string
		Change   func(Names, *swarm.ServiceSpec) error
	}
	// RollbackService returns a service to its previous spec.
	RollbackService struct{ Name string }
	// RemoveService removes a service.
	RemoveService struct{ Name string }
	// CreateNetwork makes a network.
	CreateNetwork struct{ Spec swarm.NetworkSpec }
	// RemoveNetwork removes a network. With Force it may be gone already.
	RemoveNetwork struct {
		Name  string
		Force bool
	}
	// ChangeNode changes a node.
	ChangeNode struct {
		Name   string
		Change func(*swarm.NodeSpec) error
	}
	// RemoveNode forgets a node.
	RemoveNode struct {
		Name  string
		Force bool
	}
	// ChangeSwarm changes the swarm itself.
	ChangeSwarm struct{ Change func(*swarm.Spec) }
)

func (CreateService) isCommand()   {}
func (ChangeService) isCommand()   {}
func (RollbackService) isCommand() {}
func (RemoveService) isCommand()   {}
func (CreateNetwork) isCommand()   {}
func (RemoveNetwork) isCommand()   {}
func (ChangeNode) isCommand()      {}
func (RemoveNode) isCommand()      {}
func (ChangeSwarm) isCommand()     {}

// Parse reads a command line that changes the swarm: what follows `docker`. One
// line may ask for several things. Names are looked up for what is created; for what
// is changed, when it is.
func Parse(args []string, n Names) ([]Command, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("%q is no command that changes the swarm", strings.Join(args, " "))
	}
	p := &commandLine{name: args[0] + " " + args[1], args: args[2:], names: n}
	switch p.name {
	case "service create":
		return p.createService()
	case "service update":
		return p.updateService()
	case "service scale":
		return p.scale()
	case "service rollback":
		return p.rollback()
	case "service rm", "service remove":
		return p.each(nil, func(name string) Command { return RemoveService{name} })
	case "network create":
		return p.createNetwork()
	case "network rm", "network remove":
		force := false
		return p.each(func(f *pflag.FlagSet) { f.BoolVarP(&force, "force", "f", false, "") }, func(name string) Command { return RemoveNetwork{name, force} })
	case "node update":
		return p.updateNode()
	case "node promote":
		return p.role(swarm.NodeRoleManager)
	case "node demote":
		return p.role(swarm.NodeRoleWorker)
	case "node rm", "node remove":
		force := false
		return p.each(func(f *pflag.FlagSet) { f.BoolVarP(&force, "force", "f", false, "") }, func(name string) Command { return RemoveNode{name, force} })
	case "swarm update":
		return p.updateSwarm()
	}
	return nil, fmt.Errorf("%q is no command that changes the swarm: service create, update, scale, rollback, rm; network create, rm; node update, promote, demote, rm; swarm update", p.name)
}

type commandLine struct {
	name  string
	args  []string
	names Names
}

// parse reads flags and arguments, of which there are from least to most; most -1
// is any number.
func (p *commandLine) parse(flags *pflag.FlagSet, least, most int) ([]string, error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	if err := flags.Parse(p.args); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	n := flags.NArg()
	switch {
	case n < least || most < 0 && n < least:
		return nil, fmt.Errorf("%s: requires at least %d argument(s)", p.name, least)
	case most >= 0 && n > most:
		return nil, fmt.Errorf("%s: requires %d argument(s), not %d", p.name, most, n)
	}
	return flags.Args(), nil
}

func (p *commandLine) flags() *pflag.FlagSet { return pflag.NewFlagSet(p.name, pflag.ContinueOnError) }

func (p *commandLine) createService() ([]Command, error) {
	flags := p.flags()
	f := NewServiceCreate(flags)
	args, err := p.parse(flags, 1, -1)
	if err != nil {
		return nil, err
	}
	f.Image = args[0]
	if len(args) > 1 {
		f.Args = args[1:]
	}
	spec, err := f.Spec(context.Background(), p.names)
	return []Command{CreateService{spec}}, err
}

func (p *commandLine) updateService() ([]Command, error) {
	flags := p.flags()
	f := NewServiceUpdate(flags)
	args, err := p.parse(flags, 1, 1)
	if err != nil {
		return nil, err
	}
	if f.Rollback {
		return []Command{RollbackService{args[0]}}, f.OnlyRollback()
	}
	return []Command{ChangeService{args[0], f.networkNames(), func(n Names, spec *swarm.ServiceSpec) error {
		return f.Change(context.Background(), n, spec)
	}}}, nil
}

func (p *commandLine) createNetwork() ([]Command, error) {
	flags := p.flags()
	f := NewNetwork(flags)
	args, err := p.parse(flags, 1, 1)
	if err != nil {
		return nil, err
	}
	spec, err := f.Spec(args[0])
	return []Command{CreateNetwork{spec}}, err
}

func (p *commandLine) scale() ([]Command, error) {
	flags, detach := p.flags(), false
	DetachFlag(flags, &detach)
	args, err := p.parse(flags, 1, -1)
	if err != nil {
		return nil, err
	}
	var list []Command
	for _, arg := range args {
		name, number, ok := strings.Cut(arg, "=")
		if !ok || name == "" || number == "" {
			return nil, fmt.Errorf("invalid scale specifier '%s', expected SERVICE=REPLICAS", arg)
		}
		replicas, err := Replicas(number)
		if err != nil {
			return nil, err
		}
		list = append(list, ChangeService{name, nil, func(_ Names, spec *swarm.ServiceSpec) error { return Scale(spec, replicas) }})
	}
	return list, nil
}

func (p *commandLine) rollback() ([]Command, error) {
	flags, detach, quiet := p.flags(), false, false
	DetachFlag(flags, &detach)
	flags.BoolVarP(&quiet, "quiet", "q", false, "")
	args, err := p.parse(flags, 1, 1)
	if err != nil {
		return nil, err
	}
	return []Command{RollbackService{args[0]}}, nil
}

// each asks for the same of every argument.
func (p *commandLine) each(add func(*pflag.FlagSet), command func(name string) Command) ([]Command, error) {
	flags := p.flags()
	if add != nil {
		add(flags)
	}
	args, err := p.parse(flags, 1, -1)
	list := make([]Command, 0, len(args))
	for _, name := range args {
		list = append(list, command(name))
	}
	return list, err
}

func (p *commandLine) updateNode() ([]Command, error) {
	flags := p.flags()
	f := NewNode(flags)
	args, err := p.parse(flags, 1, 1)
	if err != nil {
		return nil, err
	}
	return []Command{ChangeNode{args[0], f.Change}}, nil
}

func (p *commandLine) role(role swarm.NodeRole) ([]Command, error) {
	return p.each(nil, func(name string) Command {
		return ChangeNode{name, func(spec *swarm.NodeSpec) error {
			spec.Role = role
			return nil
		}}
	})
}

func (p *commandLine) updateSwarm() ([]Command, error) {
	flags := p.flags()
	f := NewSwarm(flags, "")
	if _, err := p.parse(flags, 0, 0); err != nil {
		return nil, err
	}
	if flags.NFlag() == 0 {
		return nil, errors.New("swarm update: says nothing that should change")
	}
	return []Command{ChangeSwarm{f.Change}}, nil
}
