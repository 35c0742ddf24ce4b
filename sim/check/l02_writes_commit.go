package check

import (
	"time"

	"github.com/swarmd/swarmd/engine/control"
)

// writeMost is how long a leader takes to commit a write, and probeTries how often
// a user must look again because something else changed the swarm meanwhile.
const (
	writeMost  = 2 * time.Second
	probeTries = 5
)

// writesCommit writes the swarm's spec as it is.
type writesCommit struct{}

// Sentence implements [Oracle].
func (*writesCommit) Sentence() string {
	return "L2 a leader with a quorum commits what it is asked to"
}

// Healed implements [Healer].
func (o *writesCommit) Healed(c *Checker) {
	last := "nothing"
	for range probeTries {
		leader := c.leading()
		if leader == nil || c.View().Cluster() == nil {
			return // L1
		}
		cluster := leader.Store().Draft().Cluster()
		if cluster == nil {
			return
		}
		var answer control.Answer
		began := c.World.Now()
		c.World.Call(leader, control.SwarmUpdate{Version: cluster.SpecVersion, Spec: cluster.Spec}, func(a control.Answer) { answer = a })
		c.World.Until(writeMost, func() bool { return answer != nil })
		switch a := answer.(type) {
		case control.Done:
			return
		case control.Failed:
			last = a.Message
		case nil:
			if leader == c.leading() && c.World.Now()-began >= writeMost {
				c.Violate(o, "%s leads, and has not answered a write within %v", leader.Name, writeMost)
				return
			}
		default:
		}
		c.World.Run(c.World.Now() + writeMost)
	}
	c.Violate(o, "no write was accepted in %d tries; the last was answered %q", probeTries, last)
}
