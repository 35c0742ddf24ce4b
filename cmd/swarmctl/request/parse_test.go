package request_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

// nobody knows no names.
type nobody struct{}

var errNobody = errors.New("nobody knows")

func (nobody) Network(context.Context, string) (string, error) { return "", errNobody }
func (nobody) Secrets(context.Context, []string) (map[string]string, error) {
	return nil, errNobody
}

func (nobody) Configs(context.Context, []string) (map[string]string, error) {
	return nil, errNobody
}

// What a command line asks for can be told without a daemon.
func TestParse(t *testing.T) {
	commands, err := request.Parse(strings.Fields("service create --name web --replicas 3 --publish 80:80 -d nginx:alpine sleep 9"), nobody{})
	if err != nil || len(commands) != 1 {
		t.Fatalf("%v, %v", commands, err)
	}
	spec := commands[0].(request.CreateService).Spec
	run := spec.TaskTemplate.ContainerSpec
	if spec.Name != "web" || *spec.Mode.Replicated.Replicas != 3 || run.Image != "nginx:alpine" || len(run.Args) != 2 || spec.EndpointSpec.Ports[0].PublishedPort != 80 {
		t.Errorf("the service is %+v", spec)
	}
	commands, err = request.Parse(strings.Fields("service scale web=5 other=2"), nobody{})
	if err != nil || len(commands) != 2 {
		t.Fatalf("%v, %v", commands, err)
	}
	if err := commands[0].(request.ChangeService).Change(nobody{}, &spec); err != nil || *spec.Mode.Replicated.Replicas != 5 {
		t.Errorf("scaled to %d, %v", *spec.Mode.Replicated.Replicas, err)
	}
	commands, err = request.Parse(strings.Fields("network create -d overlay --subnet 10.9.0.0/24 --gateway 10.9.0.1 front"), nobody{})
	if err != nil {
		t.Fatal(err)
	}
	made := commands[0].(request.CreateNetwork).Spec
	if made.Name != "front" || made.DriverConfiguration.Name != "overlay" || made.IPAMOptions.Configs[0].Gateway.String() != "10.9.0.1" {
		t.Errorf("the network is %+v", made)
	}
	commands, err = request.Parse(strings.Fields("service update --network-add front --network-rm back web"), nobody{})
	if err != nil {
		t.Fatal(err)
	}
	change := commands[0].(request.ChangeService)
	if strings.Join(change.Networks, " ") != "back front" {
		t.Errorf("the change is said to speak of %v", change.Networks)
	}
	if err := change.Change(nobody{}, &spec); !errors.Is(err, errNobody) {
		t.Errorf("of networks that nobody knows: %v", err)
	}
	commands, err = request.Parse(strings.Fields("network rm -f front back"), nobody{})
	if err != nil || len(commands) != 2 || commands[1] != (request.RemoveNetwork{Name: "back", Force: true}) {
		t.Errorf("%v, %v", commands, err)
	}
	commands, err = request.Parse(strings.Fields("node update --availability drain --label-add zone=a w1"), nobody{})
	if err != nil {
		t.Fatal(err)
	}
	node := swarm.NodeSpec{}
	if err := commands[0].(request.ChangeNode).Change(&node); err != nil || node.Availability != swarm.NodeAvailabilityDrain || node.Labels["zone"] != "a" {
		t.Errorf("the node is %+v, %v", node, err)
	}
}

// What cannot be understood is refused.
func TestParseRefuses(t *testing.T) {
	for line, words := range map[string]string{
		"service":                              "no command that changes the swarm",
		"service ls":                           "no command that changes the swarm",
		"service create":                       "requires at least 1 argument",
		"service create --replica 3 nginx":     "unknown flag: --replica",
		"service create --network net nginx":   "nobody knows",
		"network create -d overlay":            "requires at least 1 argument",
		"network create --gateway 10.0.0.1 n":  "must have a corresponding subnet",
		"network create --config-only n":       "has no --config-only",
		"network prune":                        "no command that changes the swarm",
		"service scale web":                    "invalid scale specifier 'web'",
		"service scale web=many":               "invalid replicas value many",
		"service update --rollback --force w":  "other flags may not be combined with --rollback",
		"service rollback a b":                 "requires 1 argument(s), not 2",
		"node update --availability drain a b": "requires 1 argument(s), not 2",
		"swarm update":                         "says nothing that should change",
	} {
		if _, err := request.Parse(strings.Fields(line), nobody{}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", line, err, words)
		}
	}
}
