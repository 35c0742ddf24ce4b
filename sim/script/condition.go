package script

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// A condition is something that holds, or does not.
type condition struct {
	text string
	// holds looks; the text says what is there instead of what is asked for.
	holds func(p *player) (bool, string)
	// volatile says that it may change with nothing of the view changing.
	volatile bool
}

// condition reads conditions with and between them, up to the end of the line.
func (r *reader) condition() (condition, error) {
	begun := r.at
	r.words = slices.Concat(r.words[:begun], separate(r.words[begun:]))
	var all []condition
	for {
		c, err := r.term()
		if err != nil {
			return condition{}, err
		}
		all = append(all, c)
		if !r.accept("and") {
			break
		}
	}
	if r.more() {
		return condition{}, r.want("and, or the end of the condition (words with blanks need quotes)")
	}
	whole := condition{text: strings.Join(r.words[begun:r.at], " ")}
	for _, c := range all {
		whole.volatile = whole.volatile || c.volatile
	}
	whole.holds = func(p *player) (bool, string) {
		for _, c := range all {
			if ok, is := c.holds(p); !ok {
				return false, is
			}
		}
		return true, ""
	}
	return whole, nil
}

// separate parts comparisons from what they are glued to: failed>=3.
func separate(words []string) []string {
	glued := regexp.MustCompile(`^([^<>=!]*)(>=|<=|!=|=|<|>)([0-9]*)$`)
	var parted []string
	for _, w := range words {
		m := glued.FindStringSubmatch(w)
		if m == nil {
			parted = append(parted, w)
			continue
		}
		for _, part := range m[1:] {
			if part != "" {
				parted = append(parted, part)
			}
		}
	}
	return parted
}

func (r *reader) term() (condition, error) {
	if r.accept("not") {
		c, err := r.term()
		inner := c.holds
		c.holds = func(p *player) (bool, string) {
			ok, _ := inner(p)
			return !ok, "it holds"
		}
		return c, err
	}
	word := r.next()
	switch word {
	case "leader":
		return r.leader()
	case "no":
		if !r.accept("leader") {
			return condition{}, r.want("leader")
		}
		return condition{volatile: true, holds: func(p *player) (bool, string) {
			l := p.stage.Leader()
			return l == "", l + " leads"
		}}, nil
	case "quiet":
		r.p.need(word, 0)
		return condition{volatile: true, holds: func(p *player) (bool, string) { return p.stage.Quiet(), "something is under way" }}, nil
	case "node":
		return r.node()
	case "host":
		return r.host()
	case "update":
		return r.update()
	case "service":
		return r.service()
	case "network":
		return r.network()
	case "networked":
		return r.networked()
	case "reach":
		return r.reach()
	case "tasks":
		return r.tasks()
	case "containers":
		return r.containers()
	case "starts", "elections", "writes", "probe":
		return r.counters(word)
	}
	r.at--
	if r.at+1 < len(r.words) && strings.Contains(r.words[r.at+1], "/") {
		return r.replicas()
	}
	if r.p.created[word] {
		r.at++
		return condition{}, r.want("after the name of a service tasks that run and tasks that should, such as %s 5/5", word)
	}
	if near := nearest(word, "leader", "quiet", "node", "host", "update", "service", "network", "networked", "reach", "tasks", "containers", "starts", "elections", "writes", "probe"); near != "" {
		return condition{}, r.want("a condition: perhaps %s", near)
	}
	return condition{}, r.want("a condition: SERVICE 5/5, tasks SERVICE STATE >= N, containers SERVICE = N, starts SERVICE = N, " +
		"service NAME gone, update SERVICE completed, network NAME gone, networked NAME = N, reach SERVICE from HOSTS = N, node NAME ready, host NAME up, leader, no leader, quiet, elections <= N, writes = N or probe TEXT")
}

// compare reads a comparison such as >= 3.
func (r *reader) compare() (func(n int) bool, error) {
	op := r.next()
	if !slices.Contains(comparisons(), op) {
		r.at--
		return nil, r.want("a comparison such as = 5 or >= 3")
	}
	want, err := r.number()
	return func(n int) bool {
		switch op {
		case "=":
			return n == want
		case "!=":
			return n != want
		case "<":
			return n < want
		case "<=":
			return n <= want
		case ">":
			return n > want
		default:
			return n >= want
		}
	}, err
}

// comparisons are all there are.
func comparisons() []string { return []string{"=", "!=", "<", "<=", ">", ">="} }

// word takes one word.
func (r *reader) word(what string) (string, error) {
	if !r.more() {
		return "", r.want("%s", what)
	}
	return r.next(), nil
}

func (r *reader) known(known ...string) (string, error) {
	if !slices.Contains(known, r.peek()) {
		return "", r.want("one of %s", strings.Join(known, ", "))
	}
	return r.next(), nil
}

// serviceName takes the name of a service that the story creates, sooner or later.
func (r *reader) serviceName(what string) (string, error) {
	name, err := r.word(what)
	if err == nil {
		r.p.mentions = append(r.p.mentions, mention{r.p.line, name})
	}
	return name, err
}

// hostName takes the name of one host, or what pick has named so.
func (r *reader) hostName() (target, error) {
	if !r.p.names[r.peek()] {
		return nil, r.want("a host of the swarm, or what pick has named")
	}
	return target{r.next()}, nil
}

func (r *reader) leader() (condition, error) {
	if !r.more() || r.peek() == "and" {
		return condition{volatile: true, holds: func(p *player) (bool, string) { return p.stage.Leader() != "", "there is no leader" }}, nil
	}
	t, err := r.hostName()
	return condition{volatile: true, holds: func(p *player) (bool, string) {
		leader := p.stage.Leader()
		name, err := p.one(t)
		return err == nil && leader == name, "the leader is " + strconv.Quote(leader)
	}}, err
}

func (r *reader) node() (condition, error) {
	t, err := r.hostName()
	if err != nil {
		return condition{}, err
	}
	want, err := r.known("ready", "down", "active", "pause", "drain", "gone", "manager", "worker")
	return condition{holds: func(p *player) (bool, string) {
		name, err := p.one(t)
		if err != nil {
			return false, err.Error()
		}
		n := p.stage.View().node(name)
		if n == nil {
			return want == "gone", "there is no such node"
		}
		is := []string{nodeState(n.State), string(n.Availability), string(n.Role)}
		return slices.Contains(is, want), name + " is " + strings.Join(is, ", ")
	}}, err
}

func nodeState(s state.NodeState) string {
	return [...]string{"unknown", "down", "ready", "disconnected"}[s]
}

func (r *reader) host() (condition, error) {
	t, err := r.hostName()
	if err != nil {
		return condition{}, err
	}
	want, err := r.known("up", "down", "paused")
	return condition{holds: func(p *player) (bool, string) {
		name, err := p.one(t)
		if err != nil {
			return false, err.Error()
		}
		hosts := p.stage.Hosts()
		h := hosts[slices.IndexFunc(hosts, func(h Host) bool { return h.Name == name })]
		is := "down"
		switch {
		case h.Paused:
			is = "paused"
		case h.Running:
			is = "up"
		}
		return is == want, name + " is " + is
	}}, err
}

func (r *reader) update() (condition, error) {
	name, err := r.serviceName("the name of a service")
	if err != nil {
		return condition{}, err
	}
	if r.accept("rolled-back") {
		r.at--
		r.words[r.at] = string(swarm.UpdateStateRollbackCompleted)
	}
	if !slices.Contains(updateWords(), r.peek()) && r.peek() != string(swarm.UpdateStateRollbackCompleted) {
		return condition{}, r.want("one of %s", strings.Join(updateWords(), ", "))
	}
	want := r.next()
	return condition{holds: func(p *player) (bool, string) {
		s := p.stage.View().service(name)
		if s == nil {
			return false, "there is no service " + name
		}
		is := string(s.Update)
		if is == "" {
			is = "none"
		}
		return is == want, fmt.Sprintf("the update is %s (%s)", is, s.Message)
	}}, nil
}

// updateWords say how an update is getting on.
func updateWords() []string {
	return []string{"updating", "paused", "completed", "rolled-back", "rollback_started", "rollback_paused", "none"}
}

func (r *reader) service() (condition, error) {
	name, err := r.serviceName("the name of a service")
	if err != nil {
		return condition{}, err
	}
	what, err := r.known("exists", "gone", "image", "says", "replicas", "label")
	if err != nil {
		return condition{}, err
	}
	argument := ""
	if what != "exists" && what != "gone" {
		if argument, err = r.word("what it is to be"); err != nil {
			return condition{}, err
		}
	}
	return condition{holds: func(p *player) (bool, string) {
		v := p.stage.View()
		s := v.service(name)
		switch {
		case what == "gone":
			return s == nil, "it is there"
		case s == nil:
			return false, "there is no service " + name
		case what == "image":
			return s.Spec.TaskTemplate.ContainerSpec.Image == argument, "its image is " + s.Spec.TaskTemplate.ContainerSpec.Image
		case what == "label":
			key, value, _ := strings.Cut(argument, "=")
			return s.Spec.Labels[key] == value, "the label is " + strconv.Quote(s.Spec.Labels[key])
		case what == "replicas":
			return strconv.Itoa(s.Desired) == argument, "it has " + strconv.Itoa(s.Desired)
		case what == "says":
			return v.says(s, argument)
		default:
			return true, ""
		}
	}}, nil
}

// says reports whether the swarm says something of a service's tasks or update.
func (v *View) says(s *Service, text string) (bool, string) {
	heard := []string{}
	if s.Message != "" {
		heard = append(heard, s.Message)
	}
	for _, t := range v.Tasks {
		for _, m := range []string{t.Err, t.Message} {
			if t.Service == s.ID && m != "" && !slices.Contains(heard, m) {
				heard = append(heard, m)
			}
		}
	}
	const heardMax = 8
	found := slices.ContainsFunc(heard, func(m string) bool { return strings.Contains(m, text) })
	return found, fmt.Sprintf("it says %q", heard[:min(heardMax, len(heard))])
}
