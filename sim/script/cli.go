package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
)

// A Parser reads the docker CLI's own commands about the swarm: what follows
// `docker` on a command line.
type Parser interface {
	Parse(args []string) ([]Request, error)
}

// A Request is one thing that a user asks of the swarm.
//
//sumtype:decl
type Request interface{ isRequest() }

// Requests. Those that change something are given what is there, and change it;
// they may be asked to do so more than once.
type (
	// CreateService makes a service.
	CreateService struct{ Spec swarm.ServiceSpec }
	// ChangeService changes a service's spec. Networks are the names of those that the
	// change speaks of; it is given their IDs, by name.
	ChangeService struct {
		Name     string
		Networks []string
		Change   func(networks map[string]string, spec *swarm.ServiceSpec) error
	}
	// RollbackService returns a service to its previous spec.
	RollbackService struct{ Name string }
	// RemoveService removes a service.
	RemoveService struct{ Name string }
	// CreateNetwork makes a network.
	CreateNetwork struct{ Spec swarm.NetworkSpec }
	// RemoveNetwork removes a network. With Force it may be gone already.
	RemoveNetwork struct {
		Name  string
		Force bool
	}
	// ChangeNode changes a node's spec.
	ChangeNode struct {
		Name   string
		Change func(*swarm.NodeSpec) error
	}
	// RemoveNode forgets a node.
	RemoveNode struct {
		Name  string
		Force bool
	}
	// ChangeSwarm changes the swarm's spec.
	ChangeSwarm struct{ Change func(*swarm.Spec) error }
)

func (CreateService) isRequest()   {}
func (ChangeService) isRequest()   {}
func (RollbackService) isRequest() {}
func (RemoveService) isRequest()   {}
func (CreateNetwork) isRequest()   {}
func (RemoveNetwork) isRequest()   {}
func (ChangeNode) isRequest()      {}
func (RemoveNode) isRequest()      {}
func (ChangeSwarm) isRequest()     {}

// onHost reads a command of the swarm's that is given to one host.
func (p *parsing) onHost(r *reader) (deed, error) {
	when, err := r.before("on m2: service scale website=8")
	if err != nil {
		return nil, err
	}
	host, err := when.target()
	if err == nil {
		err = when.end()
	}
	if err != nil {
		return nil, err
	}
	switch r.peek() {
	case "service", "network", "node", "swarm", "docker":
		return p.ask(r, host, "")
	}
	return nil, r.want("a colon, and one of the swarm's own commands, such as on m2: service scale website=8")
}

// cli reads a command of the swarm's, given to any manager that runs.
func (p *parsing) cli(r *reader) (deed, error) { return p.ask(r, nil, "") }

// ask reads a command of the swarm's. If fails is not "", it must be refused with
// a text that has that in it.
func (p *parsing) ask(r *reader, host target, fails string) (deed, error) {
	words := r.rest()
	if words[0] == "docker" {
		words = words[1:]
	}
	if p.parser == nil {
		return nil, errors.New("the swarm's own commands cannot be read here")
	}
	text := strings.Join(words, " ")
	requests, err := p.parser.Parse(words)
	if err != nil && fails == "" {
		return nil, errors.New(err.Error())
	}
	if err != nil && !strings.Contains(err.Error(), fails) { // the CLI itself refuses
		return nil, expected(fmt.Sprintf("%q", err.Error()), "it to fail with %q", fails)
	}
	for _, request := range requests {
		switch f := request.(type) {
		case CreateService:
			p.makes(f.Spec.Name)
		case CreateNetwork:
			p.networks[f.Spec.Name] = true
		default:
		}
		if image := imageOf(request); image != "" && !slices.Contains(p.script.Images, image) {
			p.script.Images = append(p.script.Images, image)
		}
	}
	return func(p *player, done func(error)) {
		p.askAll(requests, host, func(err error) {
			switch {
			case fails == "":
			case err == nil && len(requests) > 0:
				err = errors.New("it did not fail")
			case err != nil && !strings.Contains(err.Error(), fails):
				err = fmt.Errorf("it failed with: %w", err)
			default:
				err = nil
			}
			if err == nil {
				p.stage.Note("done:", text)
			}
			done(err)
		})
	}, nil
}

// imageOf is the image that a request asks for, "" if none.
func imageOf(r Request) string {
	var spec swarm.ServiceSpec
	switch r := r.(type) {
	case CreateService:
		spec = r.Spec
	case ChangeService:
		// What it makes of a service that is hardly one.
		spec = swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}}}
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
		if r.Change(nil, &spec) != nil {
			return ""
		}
	default:
		return ""
	}
	if spec.TaskTemplate.ContainerSpec == nil {
		return ""
	}
	return spec.TaskTemplate.ContainerSpec.Image
}

// askAll asks one thing after another, up to the first that is refused.
func (p *player) askAll(requests []Request, host target, done func(error)) {
	if len(requests) == 0 {
		done(nil)
		return
	}
	a := &asking{p: p, request: requests[0], host: host, until: p.stage.Now() + askPatience}
	a.done = func(err error) {
		if err != nil {
			done(err)
			return
		}
		p.askAll(requests[1:], host, done)
	}
	a.try()
}

// What a user does who gets no answer, or is told that there is no leader.
const (
	askPatience   = 45 * time.Second       // for how long it is tried again
	replyPatience = 12 * time.Second       // for one answer
	askAgain      = 500 * time.Millisecond // until the next try
)

// An asking is one request on its way. Like a careful user it tries again when no
// manager could take it, and looks whether it took effect when nobody knows.
type asking struct {
	p       *player
	request Request
	host    target // nil: any manager that runs
	until   time.Duration
	done    func(error)

	at, last string // the host that is asked, and the one that was before

	unknown bool   // an earlier try may have taken effect
	version uint64 // that an earlier try presented
	tries   int
}

// try makes a call on a manager. The answer that comes too late is of an earlier
// try, and says nothing.
func (a *asking) try() {
	a.tries++
	switch f := a.request.(type) {
	case CreateService:
		a.call(control.ServiceCreate{Spec: f.Spec}, a.end)
	case RemoveService:
		a.call(control.ServiceRemove{Ref: f.Name}, a.end)
	case RemoveNode:
		a.call(control.NodeRemove{Ref: f.Name, Force: f.Force}, a.end)
	case CreateNetwork:
		a.call(control.NetworkCreate{Spec: f.Spec}, a.end)
	case RemoveNetwork:
		a.call(control.NetworkRemove{Ref: f.Name}, a.end)
	case ChangeService:
		a.resolve(f.Networks, func(networks map[string]string) {
			a.call(control.ServiceInspect{Ref: f.Name}, func(answer control.Answer) { a.changeService(f, networks, answer) })
		})
	case RollbackService:
		a.call(control.ServiceInspect{Ref: f.Name}, func(answer control.Answer) { a.rollback(answer) })
	case ChangeNode:
		a.call(control.NodeInspect{Ref: f.Name}, func(answer control.Answer) { a.changeNode(f, answer) })
	case ChangeSwarm:
		a.call(control.SwarmInspect{}, func(answer control.Answer) { a.changeSwarm(f, answer) })
	}
}

// resolve looks networks up by name, if there are any to be looked up.
func (a *asking) resolve(names []string, next func(networks map[string]string)) {
	if len(names) == 0 {
		next(nil)
		return
	}
	a.call(control.NetworkList{}, func(answer control.Answer) {
		found, ok := answer.(control.Networks)
		if !ok {
			a.end(answer)
			return
		}
		ids := map[string]string{}
		for _, n := range found.Networks {
			ids[n.Spec.Name] = string(n.ID)
		}
		next(ids)
	})
}

// call makes a call on one of the hosts, and hands on what it comes to, if that
// is known.
func (a *asking) call(call control.Call, next func(control.Answer)) {
	stage := a.p.stage
	host, err := a.choose()
	if err != nil {
		if stage.Now() >= a.until {
			a.done(err)
			return
		}
		stage.At(stage.Now()+askAgain, a.try)
		return
	}
	try := a.tries
	over := false
	finish := func(answer control.Answer) {
		if over || try != a.tries {
			return
		}
		over = true
		failed, refused := answer.(control.Failed)
		switch {
		case answer == nil:
			a.again("nothing was heard of "+host, true)
		case refused && nobodyKnows(failed):
			a.again(failed.Message, true)
		case refused && a.host == nil && demoted(failed):
			a.again(failed.Message, false)
		case refused && (noLeader(failed) || strings.Contains(failed.Message, "update out of sequence")):
			a.again(failed.Message, false) // in the second case, with what another user has made of it
		default:
			next(answer)
		}
	}
	stage.At(stage.Now()+replyPatience, func() { finish(nil) })
	stage.Call(host, call, finish)
}

// choose draws which of the hosts is asked. One try is made on one host, the next
// on another, if there is one.
func (a *asking) choose() (string, error) {
	if a.at != "" {
		return a.at, nil
	}
	var hosts []string
	if a.host == nil {
		hosts = named(a.p.stage.Hosts(), func(h Host) bool { return h.Manager && h.Running && !h.Paused })
	} else if names, err := a.p.resolve(a.host); err == nil {
		hosts = names
	}
	if len(hosts) == 0 {
		return "", nobody("no manager is up that could be asked")
	}
	if len(hosts) > 1 {
		hosts = slices.DeleteFunc(hosts, func(h string) bool { return h == a.last })
	}
	a.at = sim.Pick(a.p.draws, hosts)
	return a.at, nil
}

// again tries once more before long, if there is time.
func (a *asking) again(why string, unknown bool) {
	a.last, a.at = a.at, ""
	a.unknown = a.unknown || unknown
	stage := a.p.stage
	if stage.Now() >= a.until {
		a.done(errors.New(why))
		return
	}
	stage.Probe("user had to ask again")
	stage.At(stage.Now()+askAgain, a.try)
}

// demoted reports whether who was asked has just lost its place as a manager, as it
// says itself, or as the leader says to it.
func demoted(f control.Failed) bool {
	return strings.Contains(f.Message, "is not a swarm manager") || strings.Contains(f.Message, "is not a manager of the swarm any more")
}

func nobodyKnows(f control.Failed) bool {
	return strings.Contains(f.Message, "may or may not take effect")
}

func noLeader(f control.Failed) bool {
	return strings.Contains(f.Message, "does not have a leader") || f.Kind == control.Unavailable && strings.Contains(f.Message, "try again")
}

// end takes the last answer.
func (a *asking) end(answer control.Answer) {
	f, refused := answer.(control.Failed)
	creates, forced := false, false
	switch r := a.request.(type) {
	case CreateService, CreateNetwork:
		creates = true
	case RemoveNetwork:
		forced = r.Force
	default:
	}
	switch {
	case !refused:
		a.done(nil)
	case a.unknown && creates && f.Kind == control.Conflict: // an earlier try took effect
		a.done(nil)
	case (a.unknown || forced) && !creates && f.Kind == control.NotFound:
		a.done(nil)
	default:
		a.done(errors.New(f.Message))
	}
}

// took reports whether an earlier try has taken effect: the version is another.
func (a *asking) took(version uint64) bool {
	if a.unknown && a.version != 0 && version != a.version {
		a.done(nil)
		return true
	}
	a.version = version
	return false
}

func (a *asking) changeService(f ChangeService, networks map[string]string, answer control.Answer) {
	found, ok := answer.(control.Services)
	if !ok || len(found.Services) != 1 {
		a.end(answer)
		return
	}
	s := found.Services[0]
	if a.took(s.SpecVersion) {
		return
	}
	spec, err := changed(s.Spec, func(spec *swarm.ServiceSpec) error { return f.Change(networks, spec) })
	if err != nil {
		a.done(err)
		return
	}
	a.call(control.ServiceUpdate{Ref: string(s.ID), Version: s.SpecVersion, Spec: spec, AuthFrom: "spec"}, a.end)
}

func (a *asking) rollback(answer control.Answer) {
	found, ok := answer.(control.Services)
	if !ok || len(found.Services) != 1 {
		a.end(answer)
		return
	}
	s := found.Services[0]
	if a.took(s.SpecVersion) {
		return
	}
	a.call(control.ServiceUpdate{Ref: string(s.ID), Version: s.SpecVersion, Spec: s.Spec, Rollback: "previous"}, a.end)
}

func (a *asking) changeNode(f ChangeNode, answer control.Answer) {
	found, ok := answer.(control.Nodes)
	if !ok || len(found.Nodes) != 1 {
		a.end(answer)
		return
	}
	n := found.Nodes[0]
	if a.took(n.SpecVersion) {
		return
	}
	spec, err := changed(n.Spec, f.Change)
	if err != nil {
		a.done(err)
		return
	}
	a.call(control.NodeUpdate{Ref: string(n.ID), Version: n.SpecVersion, Spec: spec}, a.end)
}

func (a *asking) changeSwarm(f ChangeSwarm, answer control.Answer) {
	found, ok := answer.(control.Swarm)
	if !ok {
		a.end(answer)
		return
	}
	if a.took(found.Cluster.SpecVersion) {
		return
	}
	spec, err := changed(found.Cluster.Spec, f.Change)
	if err != nil {
		a.done(err)
		return
	}
	a.call(control.SwarmUpdate{Version: found.Cluster.SpecVersion, Spec: spec}, a.end)
}

// changed is a changed copy of a spec, made as the API would: what is in the store
// is frozen.
func changed[T any](spec T, change func(*T) error) (T, error) {
	var fresh T
	data, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(data, &fresh)
	}
	if err == nil {
		err = change(&fresh)
	}
	return fresh, err
}
