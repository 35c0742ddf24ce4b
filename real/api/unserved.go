package api

import "net/http"

// unservedRoutes answers what Docker has and swarmd has not: 501, with what is
// not served and, if there is something, what to use.
func (s *Server) unservedRoutes() {
	const (
		useServices = "swarmd runs containers as tasks of services: use 'docker service create'"
		useScale    = "swarmd starts and stops containers as their service says: use 'docker service scale' or 'docker service update --force'"
		useExec     = "swarmd does not attach to containers: use 'docker logs -f' to read and 'docker exec -it' to type"
		useMounts   = "swarmd does not copy files in and out of containers: mount a directory with 'docker service create --mount', or use 'docker exec'"
		useBuilder  = "swarmd does not build images: build elsewhere, then 'docker load' or 'docker pull'"
		noPlugins   = "swarmd has no plugins"
		noNetworks  = "swarmd does not attach single containers to networks: name the network when the service is made ('docker service create --network')"
		noSecrets   = "swarmd does not keep secrets yet: mount a file with 'docker service create --mount type=bind'"
		noConfigs   = "swarmd does not keep configs yet: mount a file with 'docker service create --mount type=bind'"
		useVolumes  = "swarmd creates volumes with the tasks that use them: use 'docker service create --mount type=volume'"
		useStop     = "swarmd removes containers with their tasks: use 'docker service rm', or 'docker rm' for one of them"
	)
	for _, unserved := range []struct {
		sentence string
		patterns []string
	}{
		{useServices, []string{"POST /containers/create", "POST /containers/{ref}/rename", "POST /containers/{ref}/update", "POST /commit"}},
		{useScale, []string{"POST /containers/{ref}/start", "POST /containers/{ref}/restart", "POST /containers/{ref}/pause", "POST /containers/{ref}/unpause"}},
		{useExec, []string{"POST /containers/{ref}/attach", "GET /containers/{ref}/attach/ws", "POST /containers/{ref}/resize"}},
		{useMounts, []string{
			"GET /containers/{ref}/archive", "PUT /containers/{ref}/archive",
			"GET /containers/{ref}/export", "GET /containers/{ref}/changes",
		}},
		{"swarmd does not take checkpoints of containers", []string{
			"GET /containers/{ref}/checkpoints", "POST /containers/{ref}/checkpoints", "DELETE /containers/{ref}/checkpoints/{checkpoint}",
		}},
		{useStop, []string{"POST /containers/prune"}},
		{useBuilder, []string{"POST /build", "POST /build/prune", "POST /build/cancel", "POST /session", "POST /grpc"}},
		{noPlugins, []string{
			"GET /plugins", "GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create",
			"DELETE /plugins/{ref}", "POST /plugins/{ref}/enable", "POST /plugins/{ref}/disable",
			"POST /plugins/{ref}/push", "POST /plugins/{ref}/set", "POST /plugins/{ref}/upgrade",
		}},
		{noNetworks, []string{"POST /networks/{ref}/connect", "POST /networks/{ref}/disconnect"}},
		{noSecrets, []string{"POST /secrets/create", "POST /secrets/{ref}/update"}},
		{noConfigs, []string{"POST /configs/create", "POST /configs/{ref}/update"}},
		{useVolumes, []string{"POST /volumes/create", "PUT /volumes/{ref}", "POST /volumes/prune"}},
	} {
		for _, pattern := range unserved.patterns {
			s.handle(pattern, func(http.ResponseWriter, *http.Request) error {
				return fail(http.StatusNotImplemented, "%s", unserved.sentence)
			})
		}
	}
	// docker inspect asks for every kind of object in turn, and goes on after 404.
	s.handle("GET /plugins/{ref}/json", func(_ http.ResponseWriter, r *http.Request) error {
		return fail(http.StatusNotFound, "plugin %q not found", r.PathValue("ref"))
	})
}
