package script

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/check"
)

// This file has the conditions that count.

// replicas reads 5/5: tasks that run of those that should; of a job, tasks that
// have completed.
func (r *reader) replicas() (condition, error) {
	name, _ := r.serviceName("")
	running, desired, _ := strings.Cut(r.next(), "/")
	n, err1 := strconv.Atoi(running)
	m, err2 := strconv.Atoi(desired)
	if err := errors.Join(err1, err2); err != nil {
		r.at--
		return condition{}, r.want("tasks that run and tasks that should, such as 5/5")
	}
	return condition{holds: func(p *player) (bool, string) {
		s := p.stage.View().service(name)
		if s == nil {
			return false, "there is no service " + name
		}
		return s.Running == n && s.Desired == m, fmt.Sprintf("it is %d/%d", s.Running, s.Desired)
	}}, nil
}

// on reads which hosts a count is about, if it says so.
func (r *reader) on() (target, error) {
	if !r.accept("on") {
		return nil, nil
	}
	return r.target()
}

// among reports which hosts count.
func (p *player) among(t target) func(host string) bool {
	if t == nil {
		return func(string) bool { return true }
	}
	hosts, _ := p.resolve(t) // nobody is nobody
	return func(host string) bool { return slices.Contains(hosts, host) }
}

func (r *reader) tasks() (condition, error) {
	name, err := r.serviceName("the name of a service")
	if err != nil {
		return condition{}, err
	}
	wanted, state := false, ""
	switch word := r.peek(); {
	case taskStates()[word]:
		state = r.next()
	case word == "wanted": // those that the swarm wants to run
		wanted = r.accept("wanted")
	case word != "on" && !slices.Contains(comparisons(), word):
		return condition{}, r.want("a comparison such as = 5, or before it a state (%s) or wanted", strings.Join(slices.Sorted(maps.Keys(taskStates())), ", "))
	}
	where, err := r.on()
	if err != nil {
		return condition{}, err
	}
	fits, err := r.compare()
	return condition{holds: func(p *player) (bool, string) {
		v := p.stage.View()
		in := p.among(where)
		n := 0
		for _, t := range v.Tasks {
			if v.name(t.Service) == name && in(t.Host) && (state == "" || t.State.String() == state) && (!wanted || t.wanted()) {
				n++
			}
		}
		return fits(n), fmt.Sprintf("there are %d", n)
	}}, err
}

// taskStates are the words for the states of a task.
func taskStates() map[string]bool {
	known := map[string]bool{}
	for _, s := range []state.TaskState{
		state.TaskNew, state.TaskPending, state.TaskAssigned, state.TaskAccepted, state.TaskPreparing, state.TaskReady, state.TaskStarting,
		state.TaskRunning, state.TaskComplete, state.TaskShutdown, state.TaskFailed, state.TaskRejected, state.TaskRemove, state.TaskOrphaned,
	} {
		known[s.String()] = true
	}
	return known
}

// wanted reports whether the swarm wants the task to run.
func (t *Task) wanted() bool { return t.Desired <= state.TaskComplete }

func (r *reader) containers() (condition, error) {
	name, err := r.serviceName("the name of a service")
	if err != nil {
		return condition{}, err
	}
	image := ""
	if r.accept("image") {
		if image, err = r.word("the name of an image"); err != nil {
			return condition{}, err
		}
	}
	where, err := r.on()
	if err != nil {
		return condition{}, err
	}
	fits, err := r.compare()
	return condition{holds: func(p *player) (bool, string) {
		v := p.stage.View()
		in := p.among(where)
		n := 0
		for _, c := range v.Containers {
			if p.serviceName(c.Service) == name && in(c.Host) && (image == "" || c.Image == image) {
				n++
			}
		}
		return fits(n), fmt.Sprintf("there are %d", n)
	}}, err
}

// probe takes the name of something rare.
func (r *reader) probe() (string, error) {
	known := slices.Sorted(maps.Keys(check.Probes()))
	if !slices.Contains(known, r.peek()) {
		if near := nearest(r.peek(), known...); near != "" {
			return "", r.want("a known probe: perhaps %q", near)
		}
		return "", r.want("a known probe, in quotes, such as \"message lost\": swarmsim run -v names them all")
	}
	return r.next(), nil
}

// counters reads a condition about something that is counted since the start.
func (r *reader) counters(word string) (condition, error) {
	r.p.need(word, 0)
	argument, err := "", error(nil)
	switch word {
	case "starts":
		argument, err = r.serviceName("the name of a service")
	case "probe":
		argument, err = r.probe()
	}
	if err != nil {
		return condition{}, err
	}
	fits := func(n int) bool { return n > 0 }
	if word != "probe" || r.more() && r.peek() != "and" {
		if fits, err = r.compare(); err != nil {
			return condition{}, err
		}
	}
	return condition{volatile: word == "probe", holds: func(p *player) (bool, string) {
		v := p.stage.View()
		n := 0
		switch word {
		case "starts":
			for id, starts := range v.Starts {
				if p.serviceName(id) == argument {
					n += int(starts)
				}
			}
		case "elections":
			n = int(v.Elections)
		case "writes":
			n = int(v.Writes)
		default:
			n = int(p.stage.Probes()[argument])
		}
		return fits(n), fmt.Sprintf("it is %d", n)
	}}, nil
}
