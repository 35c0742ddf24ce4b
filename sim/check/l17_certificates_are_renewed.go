package check

import (
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// certificatesFresh looks at rest at the certificates of nodes that are well.
type certificatesFresh struct{}

// Sentence implements [Oracle].
func (*certificatesFresh) Sentence() string {
	return "L17 a certificate is renewed before its life is over, whatever clocks are set to"
}

// AtRest implements [Rester].
func (o *certificatesFresh) AtRest(c *Checker) {
	for n := range c.View().Nodes() {
		h := c.host(n.ID)
		if h == nil || !c.core(h) || n.State != state.NodeReady {
			continue
		}
		age, life := h.CertificateAge()
		o.judge(c, h.Name, age, life)
	}
}

func (o *certificatesFresh) judge(c *Checker, name string, age, life time.Duration) {
	if age > life {
		c.Violate(o, "%s is well, and has a certificate of %v that is %v old", name, life, age)
	}
}
