package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/swarmd/swarmd/engine/control"
)

// listContainers filters here: the runtime lists everything.
func (s *Server) listContainers(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	filters, err := filtersOf(query)
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "ancestor", "exited", "health", "id", "is-task", "label", "name", "network", "status", "volume"); err != nil {
		return err
	}
	for _, status := range filters["status"] {
		if err := container.ValidateContainerState(container.ContainerState(status)); err != nil {
			return badRequest("%s", err)
		}
	}
	limit, err := number(query, "limit")
	if err != nil {
		return err
	}
	all, err := s.runtime.Containers(r.Context())
	if err != nil {
		return err
	}
	running := !loose(query, "all") && limit == 0 && len(filters["status"]) == 0 && len(filters["exited"]) == 0
	kept := slices.DeleteFunc(slices.Clone(all), func(summary container.Summary) bool {
		return running && summary.State != container.StateRunning && summary.State != container.StatePaused ||
			!containerMatches(summary, filters)
	})
	slices.SortStableFunc(kept, func(a, b container.Summary) int { return int(b.Created - a.Created) })
	if limit > 0 && len(kept) > limit {
		kept = kept[:limit]
	}
	writeList(w, kept, func(_ int, summary container.Summary) container.Summary { return summary })
	return nil
}

// containerMatches applies the filters, each with the function beside it.
func containerMatches(summary container.Summary, filters control.Filters) bool {
	rules := map[string]func(string) bool{
		"id":     func(want string) bool { return strings.HasPrefix(summary.ID, want) },
		"name":   func(want string) bool { return named(summary.Names, want) },
		"status": func(want string) bool { return string(summary.State) == want },
		"ancestor": func(want string) bool {
			return summary.Image == want || withoutTag(summary.Image) == want || sameImage(summary.ImageID, want)
		},
		"is-task": func(want string) bool { return truth(want) == (summary.Labels["com.docker.swarm.task.id"] != "") },
		"exited": func(want string) bool {
			return summary.State == container.StateExited && strings.Contains(summary.Status, "("+want+")")
		},
		"health": func(want string) bool { return healthOf(summary) == want },
		"network": func(want string) bool {
			if summary.NetworkSettings == nil {
				return false
			}
			_, on := summary.NetworkSettings.Networks[want]
			return on
		},
		"volume": func(want string) bool {
			return slices.ContainsFunc(summary.Mounts, func(m container.MountPoint) bool { return m.Name == want || m.Destination == want || m.Source == want })
		},
	}
	for key, matches := range rules {
		if !anyOf(filters[key], matches) {
			return false
		}
	}
	return labelled(summary.Labels, filters["label"])
}

// healthOf is none, starting, healthy or unhealthy. Before API 1.52 only the
// status that users read has it.
func healthOf(summary container.Summary) string {
	if summary.Health != nil {
		return string(summary.Health.Status)
	}
	switch {
	case strings.Contains(summary.Status, "(healthy)"):
		return "healthy"
	case strings.Contains(summary.Status, "(unhealthy)"):
		return "unhealthy"
	case strings.Contains(summary.Status, "(health: starting)"):
		return "starting"
	}
	return "none"
}

// named reports whether a part of one of the names is wanted; Docker's names
// begin with a slash.
func named(names []string, want string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return strings.Contains(strings.TrimPrefix(name, "/"), strings.TrimPrefix(want, "/"))
	})
}

func sameImage(id, want string) bool {
	const shortest = 4
	want = strings.TrimPrefix(want, "sha256:")
	return len(want) >= shortest && strings.HasPrefix(strings.TrimPrefix(id, "sha256:"), want)
}

func (s *Server) inspectContainer(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.runtime.Container(r.Context(), r.PathValue("ref"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) error {
	query, ref := queryOf(r), r.PathValue("ref")
	options, err := logOptionsOf(query)
	if err != nil {
		return badRequest("%s", err)
	}
	inspected, err := s.runtime.Container(r.Context(), ref)
	if err != nil {
		return err
	}
	raw := inspected.Config != nil && inspected.Config.Tty
	w.Header().Set("Content-Type", contentType(versionOf(r.Context()), raw))
	w.WriteHeader(http.StatusOK)
	stream := newLogStream(r.Context())
	stream.add(s.containerSource(inspected.ID, options))
	return stream.write(w, logFormatOf(query, raw))
}

func (s *Server) topContainer(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.runtime.TopContainer(r.Context(), r.PathValue("ref"), queryOf(r).Get("ps_args"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// statsContainer measures once, or once a second until the client leaves. Each
// measure has the one before it, from which clients compute rates.
func (s *Server) statsContainer(w http.ResponseWriter, r *http.Request) error {
	query, ref := queryOf(r), r.PathValue("ref")
	const interval = time.Second
	var before container.StatsResponse
	next := func() (container.StatsResponse, error) {
		stats, err := s.runtime.StatsContainer(r.Context(), ref)
		if err != nil {
			return stats, err
		}
		stats.PreCPUStats, stats.PreRead = before.CPUStats, before.Read
		before = stats
		return stats, nil
	}
	stats, err := next()
	if err != nil {
		return err
	}
	streaming := looseOr(query, "stream", true)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	wait := func() bool {
		select {
		case <-r.Context().Done():
			return false
		case <-ticker.C:
			return true
		}
	}
	if !streaming && !loose(query, "one-shot") {
		if !wait() {
			return nil
		}
		if stats, err = next(); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, stats)
	controller := http.NewResponseController(w)
	for streaming && controller.Flush() == nil && wait() {
		if stats, err = next(); err != nil {
			return err
		}
		if encoderOf(w).Encode(stats) != nil {
			return errGone
		}
	}
	return nil
}

func (s *Server) killContainer(w http.ResponseWriter, r *http.Request) error {
	if err := s.runtime.KillContainer(r.Context(), r.PathValue("ref"), queryOf(r).Get("signal")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) stopContainer(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	var grace *time.Duration
	if t := query.Get("t"); t != "" {
		seconds, err := strconv.Atoi(t)
		if err != nil {
			return badRequest("invalid value for t: %s", err)
		}
		d := time.Duration(seconds) * time.Second
		grace = &d
	}
	if err := s.runtime.StopContainer(r.Context(), r.PathValue("ref"), query.Get("signal"), grace); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// waitContainer sends its header at once, so that the client knows that it is
// being waited for.
func (s *Server) waitContainer(w http.ResponseWriter, r *http.Request) error {
	ref, condition := r.PathValue("ref"), container.WaitCondition(queryOf(r).Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return badRequest("invalid condition: %q", string(condition))
	}
	if _, err := s.runtime.Container(r.Context(), ref); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if http.NewResponseController(w).Flush() != nil {
		return errGone
	}
	answer, err := s.runtime.WaitContainer(r.Context(), ref, condition)
	if err != nil {
		if r.Context().Err() != nil {
			return nil
		}
		answer = container.WaitResponse{StatusCode: -1, Error: &container.WaitExitError{Message: messageOf(err)}}
	}
	return encoderOf(w).Encode(answer)
}

func (s *Server) removeContainer(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	if loose(query, "link") {
		return fail(http.StatusNotImplemented, "swarmd does not link containers: services on a network find each other by name")
	}
	if err := s.runtime.RemoveContainer(r.Context(), r.PathValue("ref"), loose(query, "force")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
