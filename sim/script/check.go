package script

import (
	"errors"
	"time"
)

// How long rest is waited for, unless a scenario says otherwise.
const (
	restPatience   = 10 * time.Minute
	settlePatience = time.Hour
)

// check reads what must hold of the swarm as it is: nothing is healed.
func (p *parsing) check(r *reader) (action, error) {
	converged, linearizable := false, false
	patience := span{restPatience, restPatience}
	for r.more() || !converged && !linearizable {
		switch r.peek() {
		case "converged":
			converged = true
		case "linearizable":
			linearizable = true
			p.need("check linearizable", 0)
		case "within":
			r.at++
			d, err := r.duration()
			if err != nil {
				return nil, err
			}
			patience = d
			continue
		default:
			return nil, r.want("converged or linearizable, and within and a duration if you like")
		}
		r.at++
	}
	return func(p *player) error {
		if converged {
			if err := p.stage.Rest(p.duration(patience), nil); err != nil {
				return errors.New(err.Error() + p.why())
			}
		}
		if linearizable {
			return p.stage.Linearizable()
		}
		return nil
	}, nil
}

// settle reads the beginning of the second phase: all but some hosts are healed,
// those are broken for good, and the rest must come to do all it was asked to.
func (p *parsing) settle(r *reader) (action, error) {
	patience := span{settlePatience, settlePatience}
	if r.more() && r.peek()[0] != '-' {
		d, err := r.duration()
		if err != nil {
			return nil, err
		}
		patience = d
	}
	var broken target
	if r.accept("--broken") {
		t, err := r.targets()
		if err != nil {
			return nil, err
		}
		broken = t
	}
	if r.more() {
		return nil, r.want("--broken and hosts")
	}
	return func(p *player) error {
		for _, s := range p.storms {
			s.over = true
		}
		var names []string
		if broken != nil {
			hosts, err := p.resolve(broken)
			if err != nil {
				return err
			}
			names = hosts
		}
		p.suspended = map[string]bool{}
		if err := p.stage.Settle(p.duration(patience), names); err != nil {
			return errors.New(err.Error() + p.why())
		}
		return nil
	}, nil
}
