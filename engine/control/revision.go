package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// Messages of an update's status that begin here.
const (
	messageUpdating = "update in progress"
	messageRollback = "manually requested rollback"
)

// revise returns the service as it is with a new spec. Only a change of what
// tasks are made of makes a new template; going back finds the old one again, so
// that tasks which still run from it stay.
func (a *admission) revise(old *state.Service, spec *swarm.ServiceSpec, auth string, back bool) (*state.Service, []string) {
	next := *old
	next.Meta, next.SpecVersion = a.touched(old.Meta), a.d.Version()
	previous := old.Spec
	next.Spec, next.Previous = *spec, &previous
	next.RegistryAuth, next.PreviousAuth = auth, old.RegistryAuth
	next.PreviousTemplate = old.Template
	ports, warnings := publish(spec.EndpointSpec, old.Ports)
	next.Ports = ports
	wanted := content(&spec.TaskTemplate, spec.EndpointSpec)
	switch {
	case a.reuse(&next, old.Template, wanted):
		next.Ports = old.Ports
	case a.reuse(&next, old.PreviousTemplate, wanted) && a.portsFree(&next):
	default:
		next.Template, next.Ports = a.d.Version(), ports
		a.d.PutTemplate(makeTemplate(&next))
	}
	if job(spec) {
		next.JobIteration++
		next.JobExecution = a.wall
	}
	next.Update = a.progress(old, &next, back)
	return &next, warnings
}

// makeTemplate freezes what tasks of the service are made of.
func makeTemplate(s *state.Service) *state.Template {
	return &state.Template{
		Service: s.ID, Version: s.Template,
		ServiceName: s.Spec.Name, ServiceLabels: s.Spec.Labels,
		Spec: s.Spec.TaskTemplate, Endpoint: s.Spec.EndpointSpec,
		Ports: s.Ports, RegistryAuth: s.RegistryAuth,
	}
}

// reuse makes the service run an earlier template, if that one is still there and
// has the wanted content. Credentials are no part of what a task is: new ones go
// into the template as it stands.
func (a *admission) reuse(s *state.Service, version uint64, wanted []byte) bool {
	t := a.d.Template(s.ID, version)
	if t == nil || !bytes.Equal(content(&t.Spec, t.Endpoint), wanted) {
		return false
	}
	s.Template, s.Ports = version, t.Ports
	if t.RegistryAuth != s.RegistryAuth {
		renewed := *t
		renewed.RegistryAuth = s.RegistryAuth
		a.d.PutTemplate(&renewed)
	}
	return true
}

// portsFree reports whether the service may publish all of its ports.
func (a *admission) portsFree(s *state.Service) bool {
	for _, p := range s.Ports {
		if p.PublishedPort == 0 {
			continue
		}
		if owner, _ := portTaken(a.d, s.ID, p); owner != "" {
			return false
		}
	}
	return true
}

// progress is what the service's update status is when an update begins: an
// update under way, or paused, goes on with what is wanted now.
func (a *admission) progress(old, next *state.Service, back bool) *state.Update {
	begin := func(s swarm.UpdateState, message string) *state.Update {
		return &state.Update{State: s, Started: a.wall, Message: message}
	}
	switch {
	case job(&next.Spec):
		return nil
	case back:
		return begin(swarm.UpdateStateRollbackStarted, messageRollback)
	case next.Template != old.Template && a.hasTasks(old.ID):
		return begin(swarm.UpdateStateUpdating, messageUpdating)
	case old.Update != nil && unfinished(old.Update.State):
		return begin(swarm.UpdateStateUpdating, messageUpdating)
	default:
		return nil
	}
}

func (a *admission) hasTasks(s state.ServiceID) bool {
	for range a.d.TasksOf(s) {
		return true
	}
	return false
}

func unfinished(s swarm.UpdateState) bool {
	return s != swarm.UpdateStateCompleted && s != swarm.UpdateStateRollbackCompleted
}

// content is what tasks are made of, in a form that is equal when it means the
// same: what is empty is as what is absent, and lists whose order says nothing
// are sorted. Clients send such lists in the order of their own maps, and a
// deployment without a change must not restart anything.
func content(task *swarm.TaskSpec, endpoint *swarm.EndpointSpec) []byte {
	e := swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}
	if endpoint != nil {
		e = *endpoint
	}
	data, err := json.Marshal(struct {
		Task     *swarm.TaskSpec
		Endpoint swarm.EndpointSpec
	}{task, e})
	if err != nil {
		return nil // cannot be: it has been through JSON once
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(&tree) != nil {
		return nil
	}
	out, _ := json.Marshal(canonical("", tree))
	return out
}

// canonical returns the value found under name without what is empty, or nil.
func canonical(name string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if c := canonical(k, v[k]); c != nil {
				out[k] = c
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		var out []any
		for _, element := range v {
			out = append(out, canonical("", element)) // in a list even the empty counts
		}
		if len(out) == 0 {
			return nil
		}
		arrange(name, out)
		return out
	default:
		return v
	}
}

// arrange sorts a list whose order says nothing. Of environment variables with
// the same name the last one counts, so their order among each other stays.
func arrange(name string, list []any) {
	switch name {
	case "Env":
		slices.SortStableFunc(list, func(a, b any) int { return cmp.Compare(variable(a), variable(b)) })
	case "Mounts", "Secrets", "Configs", "Hosts", "Groups", "CapabilityAdd", "CapabilityDrop", "Ulimits",
		"Constraints", "Platforms", "Networks", "Aliases", "Ports":
		slices.SortStableFunc(list, func(a, b any) int { return bytes.Compare(text(a), text(b)) })
	}
}

// variable is the name of an environment entry.
func variable(entry any) string {
	s, _ := entry.(string)
	name, _, _ := strings.Cut(s, "=")
	return name
}

func text(value any) []byte {
	data, _ := json.Marshal(value)
	return data
}
