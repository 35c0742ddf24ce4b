package api

import "net/http"

// routes is everything that is served; unserved.go has what is refused.
func (s *Server) routes() {
	s.swarmRoutes()
	s.nodeRoutes()
	s.serviceRoutes()
	s.systemRoutes()
	s.imageRoutes()
	s.containerRoutes()
	s.unservedRoutes()
}

func (s *Server) swarmRoutes() {
	s.handle("GET /swarm", s.inspectSwarm)
	s.handle("POST /swarm/init", s.initSwarm)
	s.handle("POST /swarm/join", s.joinSwarm)
	s.handle("POST /swarm/leave", s.leaveSwarm)
	s.handle("POST /swarm/update", s.updateSwarm)
	s.handle("GET /swarm/unlockkey", s.unlockKey)
	s.handle("POST /swarm/unlock", s.unlockSwarm)
}

func (s *Server) nodeRoutes() {
	s.handle("GET /nodes", s.listNodes)
	s.handle("GET /nodes/{ref}", s.inspectNode)
	s.handle("POST /nodes/{ref}/update", s.updateNode)
	s.handle("DELETE /nodes/{ref}", s.removeNode)
}

func (s *Server) serviceRoutes() {
	s.handle("GET /services", s.listServices)
	s.handle("POST /services/create", s.createService)
	s.handle("GET /services/{ref}", s.inspectService)
	s.handle("POST /services/{ref}/update", s.updateService)
	s.handle("DELETE /services/{ref}", s.removeService)
	s.handle("GET /services/{ref}/logs", s.serviceLogs)
	s.handle("GET /tasks", s.listTasks)
	s.handle("GET /tasks/{ref}", s.inspectTask)
	s.handle("GET /tasks/{ref}/logs", s.taskLogs)

	s.handle("GET /secrets", s.listNone)
	s.handle("GET /secrets/{ref}", s.inspectNone("secret"))
	s.handle("DELETE /secrets/{ref}", s.inspectNone("secret"))
	s.handle("GET /configs", s.listNone)
	s.handle("GET /configs/{ref}", s.inspectNone("config"))
	s.handle("DELETE /configs/{ref}", s.inspectNone("config"))
}

func (s *Server) systemRoutes() {
	s.handle("GET /_ping", s.ping)
	s.handle("GET /version", s.version)
	s.handle("GET /info", s.info)
	s.handle("POST /auth", s.login)
	s.handle("GET /events", s.streamEvents)
	s.handle("GET /system/df", s.diskUsage)
	s.handle("GET /distribution/{rest...}", s.distribution)

	s.handle("GET /networks", s.listNetworks)
	s.handle("POST /networks/create", s.createNetwork)
	s.handle("POST /networks/prune", s.pruneNetworks)
	s.handle("GET /networks/{ref}", s.inspectNetwork)
	s.handle("DELETE /networks/{ref}", s.removeNetwork)
	s.handle("GET /volumes", s.listVolumes)
	s.handle("GET /volumes/{ref}", s.inspectVolume)
	s.handle("DELETE /volumes/{ref}", s.removeVolume)

	s.mux.HandleFunc("GET /metrics", s.writeMetrics)
	s.handle("GET /debug/network", s.checkNetwork(false))
	s.handle("POST /debug/network/repair", s.checkNetwork(true))
	s.profileRoutes()
}

func (s *Server) imageRoutes() {
	s.handle("GET /images/json", s.listImages)
	s.handle("POST /images/create", s.createImage)
	s.handle("POST /images/load", s.loadImages)
	s.handle("GET /images/get", s.saveImages)
	s.handle("POST /images/prune", s.pruneImages)
	// The name of an image has slashes in it: what follows it decides.
	s.handle("GET /images/{rest...}", s.getImage)
	s.handle("POST /images/{rest...}", s.postImage)
	s.handle("DELETE /images/{rest...}", s.removeImage)
}

func (s *Server) containerRoutes() {
	s.handle("GET /containers/json", s.listContainers)
	s.handle("GET /containers/{ref}/json", s.inspectContainer)
	s.handle("GET /containers/{ref}/logs", s.containerLogs)
	s.handle("GET /containers/{ref}/top", s.topContainer)
	s.handle("GET /containers/{ref}/stats", s.statsContainer)
	s.handle("POST /containers/{ref}/kill", s.killContainer)
	s.handle("POST /containers/{ref}/stop", s.stopContainer)
	s.handle("POST /containers/{ref}/wait", s.waitContainer)
	s.handle("DELETE /containers/{ref}", s.removeContainer)
	s.handle("POST /containers/{ref}/exec", s.createExec)
	s.handle("POST /exec/{id}/start", s.startExec)
	s.handle("POST /exec/{id}/resize", s.resizeExec)
	s.handle("GET /exec/{id}/json", s.inspectExec)
}

// done answers 200 without a body.
func done(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }
