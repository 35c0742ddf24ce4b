package check

import "github.com/swarmd/swarmd/engine/state"

// removalRemoves looks at rest for what is left of services that were removed.
type removalRemoves struct{}

// Sentence implements [Oracle].
func (*removalRemoves) Sentence() string { return "L15 nothing is left of a service that was removed" }

// AtRest implements [Rester].
func (o *removalRemoves) AtRest(c *Checker) {
	d := c.View()
	for _, id := range d.ServicesWithTasks() {
		if d.Service(id) != nil {
			continue
		}
		for t := range d.TasksOf(id) {
			if n := d.Node(t.Node); n == nil || n.State != state.NodeDown { // there it may still run
				c.Violate(o, "task %s of a service that was removed is left at rest: %s, to be %s", t.ID, t.Status.State, t.Desired)
			}
		}
	}
	for _, id := range d.ServicesWithTemplates() {
		s := d.Service(id)
		for _, made := range d.Templates(id) {
			used := s != nil && (s.Template == made.Version || s.PreviousTemplate == made.Version)
			for t := range d.TasksOf(id) {
				used = used || t.Template == made.Version
			}
			if !used {
				c.Violate(o, "template %d of service %s is left at rest, and of no use", made.Version, id)
			}
		}
	}
}
