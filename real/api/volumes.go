package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
)

func (s *Server) listVolumes(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "driver", "label", "name"); err != nil {
		return err
	}
	all, err := s.runtime.Volumes(r.Context())
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(v volume.Volume) bool {
		return !anyOf(filters["driver"], func(want string) bool { return v.Driver == want }) ||
			!anyOf(filters["name"], func(want string) bool { return strings.Contains(v.Name, want) }) ||
			!labelled(v.Labels, filters["label"])
	})
	writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: append([]volume.Volume{}, kept...)})
	return nil
}

func (s *Server) inspectVolume(w http.ResponseWriter, r *http.Request) error {
	all, err := s.runtime.Volumes(r.Context())
	if err != nil {
		return err
	}
	name := r.PathValue("ref")
	i := slices.IndexFunc(all, func(v volume.Volume) bool { return v.Name == name })
	if i < 0 {
		return fail(http.StatusNotFound, "get %s: no such volume", name)
	}
	writeJSON(w, http.StatusOK, all[i])
	return nil
}

func (s *Server) removeVolume(w http.ResponseWriter, r *http.Request) error {
	if err := s.runtime.RemoveVolume(r.Context(), r.PathValue("ref"), loose(queryOf(r), "force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
