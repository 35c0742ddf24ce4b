package api

import (
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// A serviceBody is a service as clients send it: a spec, in which clients of
// API 1.24 and before put networks outside of the task template.
type serviceBody struct {
	swarm.ServiceSpec
	Networks []swarm.NetworkAttachmentConfig
}

// UnmarshalJSON reads the two apart, so that errors name the fields of a spec.
func (b *serviceBody) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &b.ServiceSpec); err != nil {
		return err
	}
	var old struct {
		Networks []swarm.NetworkAttachmentConfig
	}
	err := json.Unmarshal(data, &old)
	b.Networks = old.Networks
	return err
}

func readService(w http.ResponseWriter, r *http.Request) (swarm.ServiceSpec, error) {
	var body serviceBody
	if err := readJSON(w, r, &body); err != nil {
		return swarm.ServiceSpec{}, err
	}
	if len(body.TaskTemplate.Networks) == 0 {
		body.TaskTemplate.Networks = body.Networks
	}
	return body.ServiceSpec, nil
}

func (s *Server) listServices(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	filters, err := filtersOf(query)
	if err != nil {
		return err
	}
	status, err := strict(query, "status")
	if err != nil {
		return err
	}
	status = status && versionOf(r.Context()).atLeast(41)
	answer, err := call[control.Services](r.Context(), s.engine, control.ServiceList{Filters: filters, Status: status})
	if err != nil {
		return err
	}
	writeList(w, answer.Services, func(i int, service *state.Service) swarm.Service {
		rendered := renderService(service)
		if status && i < len(answer.Counts) {
			rendered.ServiceStatus = &answer.Counts[i]
		}
		return rendered
	})
	return nil
}

func (s *Server) createService(w http.ResponseWriter, r *http.Request) error {
	spec, err := readService(w, r)
	if err != nil {
		return err
	}
	create := control.ServiceCreate{Spec: spec, RegistryAuth: r.Header.Get(registry.AuthHeader)}
	answer, err := call[control.Created](r.Context(), s.engine, create)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, swarm.ServiceCreateResponse{ID: answer.ID, Warnings: answer.Warnings})
	return nil
}

func (s *Server) inspectService(w http.ResponseWriter, r *http.Request) error {
	defaults, err := strict(queryOf(r), "insertDefaults")
	if err != nil {
		return err
	}
	ref := r.PathValue("ref")
	answer, err := call[control.Services](r.Context(), s.engine, control.ServiceInspect{Ref: ref})
	if err != nil {
		return err
	}
	service, err := one("service", ref, answer.Services)
	if err != nil {
		return err
	}
	rendered := renderService(service)
	if defaults {
		rendered.Spec = insertDefaults(rendered.Spec)
	}
	writeJSON(w, http.StatusOK, rendered)
	return nil
}

func (s *Server) updateService(w http.ResponseWriter, r *http.Request) error {
	spec, err := readService(w, r)
	if err != nil {
		return err
	}
	query := queryOf(r)
	index, err := indexOf(query, "service")
	if err != nil {
		return err
	}
	update := control.ServiceUpdate{
		Ref:          r.PathValue("ref"),
		Version:      index,
		Spec:         spec,
		RegistryAuth: r.Header.Get(registry.AuthHeader),
		AuthFrom:     query.Get("registryAuthFrom"),
		Rollback:     query.Get("rollback"),
	}
	switch update.AuthFrom {
	case "", string(swarm.RegistryAuthFromSpec), string(swarm.RegistryAuthFromPreviousSpec):
	default:
		return fail(http.StatusInternalServerError, "unsupported registryAuthFrom value")
	}
	switch update.Rollback {
	case "", "previous":
	case "none":
		update.Rollback = ""
	default:
		return fail(http.StatusInternalServerError, "unrecognized rollback option %s", update.Rollback)
	}
	answer, err := call[control.Done](r.Context(), s.engine, update)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, swarm.ServiceUpdateResponse{Warnings: answer.Warnings})
	return nil
}

func (s *Server) removeService(w http.ResponseWriter, r *http.Request) error {
	if _, err := call[control.Done](r.Context(), s.engine, control.ServiceRemove{Ref: r.PathValue("ref")}); err != nil {
		return err
	}
	done(w)
	return nil
}

func (s *Server) listTasks(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	answer, err := call[control.Tasks](r.Context(), s.engine, control.TaskList{Filters: filters})
	if err != nil {
		return err
	}
	writeList(w, answer.Tasks, func(i int, task *state.Task) swarm.Task {
		return renderTask(task, templateAt(answer.Templates, i), answer.Networks)
	})
	return nil
}

func (s *Server) inspectTask(w http.ResponseWriter, r *http.Request) error {
	ref := r.PathValue("ref")
	answer, err := call[control.Tasks](r.Context(), s.engine, control.TaskInspect{Ref: ref})
	if err != nil {
		return err
	}
	task, err := one("task", ref, answer.Tasks)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, renderTask(task, templateAt(answer.Templates, 0), answer.Networks))
	return nil
}

func templateAt(templates []*state.Template, i int) *state.Template {
	if i >= len(templates) {
		return nil
	}
	return templates[i]
}

// listNone lists objects that no swarm of this version has: to a manager there
// are none, others are told what they are told about every listing.
func (s *Server) listNone(w http.ResponseWriter, r *http.Request) error {
	if err := s.onManager(r); err != nil {
		return err
	}
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "id", "name", "names", "label"); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, []struct{}{})
	return nil
}

// inspectNone looks for one of them.
func (s *Server) inspectNone(kind string) handler {
	return func(_ http.ResponseWriter, r *http.Request) error {
		if err := s.onManager(r); err != nil {
			return err
		}
		return fail(http.StatusNotFound, "%s %s not found", kind, r.PathValue("ref"))
	}
}

// onManager refuses what only a manager can answer, in the engine's words.
func (s *Server) onManager(r *http.Request) error {
	_, err := call[control.Swarm](r.Context(), s.engine, control.SwarmInspect{})
	return err
}
