package check

import (
	"reflect"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// versionsOnce remembers with which versions updates have succeeded.
type versionsOnce struct {
	asked map[request]version
	won   map[version]bool
}

// A version is one that a client has presented for an object.
type version struct {
	id     string
	number uint64
}

// Sentence implements [Oracle].
func (*versionsOnce) Sentence() string {
	return "S15 of two updates with the same version one succeeds at most"
}

// Called implements [Caller].
func (o *versionsOnce) Called(c *Checker, h *sim.Host, call engine.Called) {
	var v version
	switch x := call.Call.(type) {
	case control.ServiceUpdate:
		v.number = x.Version
		if s := c.View().Service(state.ServiceID(x.Ref)); s != nil {
			v.id = string(s.ID)
		} else if s := c.View().ServiceByName(x.Ref); s != nil {
			v.id = string(s.ID)
		}
	case control.NodeUpdate:
		v.number = x.Version
		if n := c.View().Node(state.NodeID(x.Ref)); n != nil {
			v.id = string(n.ID)
		}
	default:
	}
	if v.id != "" {
		o.asked[request{h, call.Request}] = v
	}
}

// Replied implements [Caller].
func (o *versionsOnce) Replied(c *Checker, h *sim.Host, event engine.Event, reply engine.Reply) {
	r := request{h, reply.Request}
	v, ok := o.asked[r]
	if !ok {
		return
	}
	delete(o.asked, r)
	_, passed := event.(engine.ForwardReturned)
	if _, done := reply.Answer.(control.Done); !done || passed {
		return
	}
	if o.won[v] {
		c.Violate(o, "two updates of %s with version %d have succeeded", v.id, v.number)
	}
	o.won[v] = true
}

// Committed implements [Committer]: what a client must present changes with what
// it has read, and only then.
func (o *versionsOnce) Committed(c *Checker, index uint64, _ state.Entry, delta *state.Delta) {
	for _, s := range delta.Services {
		if s.Before == nil || s.After == nil {
			continue
		}
		changed := !reflect.DeepEqual(s.Before.Spec, s.After.Spec)
		switch {
		case s.After.SpecVersion < s.Before.SpecVersion:
			c.Violate(o, "entry %d takes the version of service %s back from %d to %d", index, s.After.Spec.Name, s.Before.SpecVersion, s.After.SpecVersion)
		case changed && s.After.SpecVersion == s.Before.SpecVersion:
			c.Violate(o, "entry %d changes the spec of service %s, and not its version", index, s.After.Spec.Name)
		}
	}
	for _, n := range delta.Nodes {
		if n.Before != nil && n.After != nil && n.Before.SpecVersion == n.After.SpecVersion && !reflect.DeepEqual(n.Before.Spec, n.After.Spec) {
			c.Violate(o, "entry %d changes the spec of node %s, and not its version", index, n.After.ID)
		}
	}
}
