package check_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"testing"
)

var until = flag.Duration("until", 0, "look at the run of the seed at this virtual time")

// TestDump shows what the swarm holds at a moment of a random run.
func TestDump(t *testing.T) {
	if *until == 0 {
		t.Skip("no moment was given")
	}
	s := newStorm(t, *first)
	done := false
	s.w.At(*until, func() {
		if done {
			return
		}
		done = true
		d := s.c.View()
		for n := range d.Nodes() {
			t.Logf("node %s %s state %d avail %s labels %v since %d %s", n.ID, n.Description.Hostname, n.State, n.Spec.Availability, n.Spec.Labels, n.Since, n.Message)
		}
		for v := range d.Services() {
			spec, _ := json.Marshal(v.Spec)
			up, _ := json.Marshal(v.Update)
			t.Logf("service %s %s template %d prev %d v%d\n  %s\n  update %s", v.ID, v.Spec.Name, v.Template, v.PreviousTemplate, v.SpecVersion, spec, up)
		}
		for x := range d.Tasks() {
			t.Logf("task %s of %s slot %v t%d node %s %s->%s failures %d rollout %v ran %d created %d start %d %q %q", x.ID, x.Service, x.SlotKey(), x.Template, x.Node, x.Status.State, x.Desired, x.Failures, x.Rollout, x.Ran, x.Created, x.Start, x.Status.Message, x.Status.Err)
		}
		s.w.Violate("dump", "%s", fmt.Sprint(s.w.Now()))
	})
	s.run()
}
