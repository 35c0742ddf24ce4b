package check

import (
	"time"

	"github.com/swarmd/swarmd/sim"
)

// addressesKept looks at what leaders remember of addresses.
type addressesKept struct{ looked time.Duration }

// addressesPeriod is how often leaders are looked at, at most: it costs all that
// there is.
const addressesPeriod = 30 * time.Second

// Sentence implements [Oracle].
func (*addressesKept) Sentence() string {
	return "S38 what a leader takes for used addresses is what the objects use"
}

// Sampled implements [Sampler].
func (o *addressesKept) Sampled(c *Checker) {
	if now := c.World.Now(); now-o.looked >= addressesPeriod {
		o.looked = now
		o.AtRest(c)
	}
}

// AtRest implements [Rester].
func (o *addressesKept) AtRest(c *Checker) {
	for _, h := range c.World.Hosts {
		if !h.Up() {
			continue
		}
		o.judge(c, h, h.AddressesDiffer())
	}
}

func (o *addressesKept) judge(c *Checker, h *sim.Host, difference string) {
	if difference != "" {
		c.Violate(o, "%s remembers something else than the store says: %s", h.Name, difference)
	}
}
