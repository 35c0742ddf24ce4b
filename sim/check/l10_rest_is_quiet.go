package check

import (
	"time"

	"github.com/swarmd/swarmd/sim"
)

// Bounds of what happens in a swarm at rest: a heartbeat each second from every
// host, the answer to none, and calls of nodes that are away.
const (
	restPeriod            = 2 * time.Minute // ten periods of any timer that reconciles, and more
	stepsPerHostSecondMax = 12
	// restlessEntriesMax is how many entries a wanted task may cause in a second
	// though it fails again and again: the last wait of the back-off is minutes,
	// but not for those that run for a while, or end well.
	restlessEntriesMax = 2
)

// restQuiet watches a swarm at rest for a while longer.
type restQuiet struct{}

// Sentence implements [Oracle].
func (*restQuiet) Sentence() string {
	return "L10 a swarm at rest is quiet: nothing is written, and little is said"
}

// Resting implements [Watcher].
func (o *restQuiet) Resting(c *Checker, pass func()) {
	index, steps, began := c.Store.Index(), c.World.Steps(), c.World.Now()
	containers := started(c.World.Hosts, c)
	pass()
	if c.anyRestless() {
		most := restlessEntriesMax * (1 + c.wanted()) * (c.World.Now() - began).Seconds()
		if n := c.Store.Index() - index; float64(n) > most {
			c.Violate(o, "%d entries were written in %v of rest by services that restart; %.0f is the most", n, c.World.Now()-began, most)
		}
		return
	}
	if n := c.Store.Index() - index; n > 0 {
		c.Violate(o, "%d entries were written in %v of rest", n, c.World.Now()-began)
	}
	if n := started(c.World.Hosts, c); n != containers {
		c.Violate(o, "%d containers were begun in %v of rest", n-containers, c.World.Now()-began)
	}
	rate := float64(c.World.Steps()-steps) / (c.World.Now() - began).Seconds()
	if most := float64(stepsPerHostSecondMax * len(c.World.Hosts)); rate > most {
		c.Violate(o, "engines were stepped %.0f times a second at rest; %.0f is the most", rate, most)
	}
}

// wanted is how many tasks are to run.
func (c *Checker) wanted() (n float64) {
	for t := range c.View().Tasks() {
		if alive(t) {
			n++
		}
	}
	return n
}

// started is how many containers have been begun on the core.
func started(hosts []*sim.Host, c *Checker) (n int) {
	for _, h := range hosts {
		if !c.core(h) {
			continue
		}
		for _, x := range h.Containers() {
			if x.Started > 0 {
				n++
			}
		}
	}
	return n
}
