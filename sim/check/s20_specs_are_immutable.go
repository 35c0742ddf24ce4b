package check

import (
	"reflect"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// immutable looks at what tasks are made of, and at what nodes make of them.
type immutable struct{}

// Sentence implements [Oracle].
func (*immutable) Sentence() string {
	return "S20 what a task is made of does not change, nor does its node"
}

// Committed implements [Committer].
func (o *immutable) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, t := range delta.Tasks {
		if t.Before == nil || t.After == nil {
			continue
		}
		a, b := t.Before, t.After
		if a.Service != b.Service || a.Slot != b.Slot || a.Global != b.Global || a.Template != b.Template ||
			a.Job != b.Job || a.JobIteration != b.JobIteration || a.Rollout != b.Rollout {
			c.Violate(o, "entry %d makes another task of %s", index, b.ID)
		}
		if a.Node != "" && a.Node != b.Node {
			c.Violate(o, "entry %d moves task %s from node %s to %s", index, b.ID, a.Node, b.Node)
		}
	}
	for _, t := range delta.Templates {
		if t.Before == nil || t.After == nil {
			continue
		}
		a := *t.Before
		a.RegistryAuth = t.After.RegistryAuth // credentials are no part of what a task is
		if !reflect.DeepEqual(&a, t.After) {
			c.Violate(o, "entry %d changes template %d of service %s", index, a.Version, a.Service)
		}
	}
}

// Stepped implements [Stepper]: what is created is what the template says.
func (o *immutable) Stepped(c *Checker, h *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		create, ok := f.(engine.CreateContainer)
		if !ok {
			continue
		}
		if t := c.View().Task(create.Container.Task); t != nil {
			o.created(c, h.ID, t, create.Container.Spec.Image)
		}
	}
}

func (o *immutable) created(c *Checker, node state.NodeID, t *state.Task, image string) {
	made := c.template(t)
	switch {
	case t.Node != node:
		c.Violate(o, "node %s makes a container of task %s, which is node %s's", node, t.ID, t.Node)
	case made != nil && made.Spec.ContainerSpec != nil && made.Spec.ContainerSpec.Image != image:
		c.Violate(o, "the container of task %s is made from %s, not from %s", t.ID, image, made.Spec.ContainerSpec.Image)
	}
}
