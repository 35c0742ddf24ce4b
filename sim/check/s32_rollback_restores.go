package check

import (
	"reflect"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// rollbackRestores looks at services that begin to roll back.
type rollbackRestores struct{}

// Sentence implements [Oracle].
func (*rollbackRestores) Sentence() string {
	return "S32 a rollback restores the previous spec, and none follows from another"
}

// Committed implements [Committer].
func (o *rollbackRestores) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Services {
		if d.Before == nil || d.After == nil || d.After.Update == nil || d.After.Update.State != swarm.UpdateStateRollbackStarted {
			continue
		}
		before, after := d.Before, d.After
		if before.SpecVersion == after.SpecVersion {
			if u := before.Update; u == nil || u.State != swarm.UpdateStateRollbackStarted {
				c.Violate(o, "entry %d rolls %s back, and its spec keeps version %d", index, after.Spec.Name, after.SpecVersion)
			}
			continue
		}
		switch {
		case before.Previous == nil:
			c.Violate(o, "entry %d rolls %s back, which has no previous spec", index, after.Spec.Name)
		case !reflect.DeepEqual(*before.Previous, after.Spec):
			c.Violate(o, "entry %d rolls %s back to %+v; it was %+v", index, after.Spec.Name, after.Spec, *before.Previous)
		case after.Previous != nil && !reflect.DeepEqual(*after.Previous, before.Spec):
			c.Violate(o, "entry %d rolls %s back, and what it was before is lost", index, after.Spec.Name)
		case after.Previous == nil && rollingBack(before.Update):
			c.Violate(o, "entry %d rolls %s back because a rollback failed", index, after.Spec.Name)
		}
	}
}
