package request

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// Node is what the flags of node update say.
type Node struct {
	flags              *pflag.FlagSet
	role, availability string
	add, remove        []string
}

// NewNode adds the flags.
func NewNode(flags *pflag.FlagSet) *Node {
	f := &Node{flags: flags}
	flags.StringVar(&f.role, "role", "", `Role of the node ("worker", "manager")`)
	flags.StringVar(&f.availability, "availability", "", `Availability of the node ("active", "pause", "drain")`)
	List(flags, &f.add, "label-add", "", `Add or update a node label ("key=value")`, nil)
	List(flags, &f.remove, "label-rm", "", "Remove a node label if exists", nil)
	return f
}

// Change makes the changes that the flags describe.
func (f *Node) Change(spec *swarm.NodeSpec) error {
	if f.flags.Changed("role") {
		spec.Role = swarm.NodeRole(f.role)
	}
	if f.flags.Changed("availability") {
		spec.Availability = swarm.NodeAvailability(f.availability)
	}
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	for _, label := range f.add {
		key, value, _ := strings.Cut(label, "=")
		spec.Labels[key] = value
	}
	for _, key := range f.remove {
		if _, ok := spec.Labels[key]; !ok {
			return fmt.Errorf("key %s doesn't exist in node's labels", key)
		}
		delete(spec.Labels, key)
	}
	return nil
}
