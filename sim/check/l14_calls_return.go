package check

import (
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
)

// callMost is how long a daemon that runs may take to answer: five seconds without
// a leader, ten for one that was asked and does not answer, and a disk that is slow.
const callMost = time.Minute

// callsReturn keeps the calls that have not been answered, the oldest first.
type callsReturn struct {
	out  map[request]bool
	ages []age
}

type age struct {
	request request
	life    uint64
	began   time.Duration
	call    control.Call
}

// Sentence implements [Oracle].
func (*callsReturn) Sentence() string { return "L14 every API call is answered by its deadline" }

// Called implements [Caller].
func (o *callsReturn) Called(c *Checker, h *sim.Host, call engine.Called) {
	r := request{h, call.Request}
	o.out[r] = true
	o.ages = append(o.ages, age{r, h.Life(), c.World.Now(), call.Call})
}

// Replied implements [Caller].
func (o *callsReturn) Replied(c *Checker, h *sim.Host, _ engine.Event, reply engine.Reply) {
	r := request{h, reply.Request}
	if !o.out[r] {
		c.Violate(o, "%s answers call %d, which nobody waits for", h.Name, reply.Request)
	}
	delete(o.out, r)
}

// Sampled implements [Sampler].
func (o *callsReturn) Sampled(c *Checker) {
	for len(o.ages) > 0 && c.World.Now()-o.ages[0].began > callMost {
		a := o.ages[0]
		o.ages = o.ages[1:]
		if !o.out[a.request] {
			continue
		}
		h := a.request.host
		switch {
		case !h.Running() || h.Life() != a.life: // who would have answered is dead
			delete(o.out, a.request)
		case !h.Up() || h.UpSince() > a.began: // it has not had the time
			a.began = c.World.Now()
			o.ages = append(o.ages, a)
		default:
			delete(o.out, a.request)
			c.Violate(o, "%s has not answered %T within %v", h.Name, a.call, callMost)
		}
	}
}
