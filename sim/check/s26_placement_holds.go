package check

import "github.com/swarmd/swarmd/engine/state"

// placementHolds looks at every task when it is placed.
type placementHolds struct{}

// Sentence implements [Oracle].
func (*placementHolds) Sentence() string {
	return "S26 constraints, platform and replicas per node hold where a task is placed, and constraints as long as it is there"
}

// Committed implements [Committer].
func (o *placementHolds) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, d := range delta.Tasks {
		if !placed(d) {
			continue
		}
		t, n, made := d.After, c.View().Node(d.After.Node), c.template(d.After)
		if n == nil || made == nil || made.Spec.Placement == nil {
			continue
		}
		if !state.Eligible(n, constraints(made)) {
			c.Violate(o, "entry %d places task %s on %s, which does not satisfy %q", index, t.ID, n.Description.Hostname, made.Spec.Placement.Constraints)
		}
		if !platformFits(n, made) {
			c.Violate(o, "entry %d places task %s on %s, whose platform is %v", index, t.ID, n.Description.Hostname, n.Description.Platform)
		}
		limit := made.Spec.Placement.MaxReplicas
		if limit == 0 {
			continue
		}
		have := uint64(0)
		for x := range c.View().TasksOn(n.ID) {
			// One of another template may have been placed after it, in this very entry.
			if x.Service == t.Service && alive(x) && holding(x) && (x.Template == t.Template || x.Status.State > state.TaskAssigned) {
				have++
			}
		}
		if have > limit {
			c.Violate(o, "entry %d places task %s on %s, where its service then has %d tasks of %d", index, t.ID, n.Description.Hostname, have, limit)
		}
	}
}

// AtRest implements [Rester]: who no longer satisfies a constraint has lost the task.
func (o *placementHolds) AtRest(c *Checker) {
	for n := range c.View().Nodes() {
		if n.State != state.NodeReady {
			continue
		}
		for t := range c.View().TasksOn(n.ID) {
			if alive(t) && holding(t) && !state.Eligible(n, constraints(c.template(t))) && !c.restless(c.View().Service(t.Service)) {
				c.Violate(o, "task %s is on %s at rest, which does not satisfy %q", t.ID, n.Description.Hostname, c.template(t).Spec.Placement.Constraints)
			}
		}
	}
}
