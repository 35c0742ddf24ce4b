package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the HTTP server.
const (
	headerWait      = 30 * time.Second // for a client to send its headers
	idleWait        = 5 * time.Minute  // for the next request on a connection
	callWait        = 30 * time.Second // for the engine to answer a call
	shutdownWait    = 5 * time.Second  // for requests to end when the server stops
	headerBytesMax  = 1 << 20
	pingWait        = 2 * time.Second // for the state of the swarm in a ping
	countsWait      = time.Second     // for the numbers in /info
	distributeWait  = 20 * time.Second
	sourcesInterval = 500 * time.Millisecond // between looks for new tasks by those who follow a service's logs
)

// Config is what a [Server] serves and from where.
type Config struct {
	Engine  Engine
	Runtime Runtime
	// Nodes reaches what is on other nodes; nil reaches none.
	Nodes Nodes
	Host  Host
	// Interfaces lists the host's network interfaces; nil is [SystemInterfaces].
	Interfaces func() ([]Interface, error)
	// Advertise is the address, or interface, that others are to reach this host at,
	// and DataPath what traffic between containers is to go by, where a request to
	// found or join a swarm says nothing of that; "" leaves it open.
	Advertise, DataPath string
	// Metrics, if any, adds its own to what /metrics writes.
	Metrics []Metric
	// CheckNetwork tells how the host's network differs from its plan, one sentence
	// a line, and repairs it if it is to; nil: it is not known.
	CheckNetwork func(repair bool) ([]string, error)
	Log          *slog.Logger
}

// A Server serves the API. It is an http.Handler; [Server.Run] must run beside
// it for events to flow.
type Server struct {
	engine     Engine
	runtime    Runtime
	nodes      Nodes
	host       Host
	interfaces func() ([]Interface, error)
	advertise  string
	dataPath   string
	metrics    []Metric
	check      func(repair bool) ([]string, error)
	log        *slog.Logger

	mux    *http.ServeMux
	events *broker
	counts requestCounts
}

// New returns a server. It starts nothing.
func New(config Config) *Server {
	s := &Server{
		engine:     config.Engine,
		runtime:    config.Runtime,
		nodes:      config.Nodes,
		host:       config.Host,
		interfaces: config.Interfaces,
		advertise:  config.Advertise,
		dataPath:   config.DataPath,
		metrics:    config.Metrics,
		check:      config.CheckNetwork,
		log:        config.Log,
		mux:        http.NewServeMux(),
		events:     newBroker(),
	}
	if s.interfaces == nil {
		s.interfaces = SystemInterfaces
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes()
	return s
}

// Follow subscribes to what happens, and passes it on until ctx ends and its sources
// have closed, which wait waits for. Whoever is served once Follow has returned misses
// nothing. It is called once: whoever follows twice hears everything twice.
func (s *Server) Follow(ctx context.Context) (wait func()) {
	swarm, local := s.engine.Subscribe(ctx), s.runtime.Events(ctx)
	var sources sync.WaitGroup
	sources.Go(func() {
		for batch := range swarm {
			for _, event := range batch {
				s.events.publish(swarmEvent(event))
			}
		}
	})
	sources.Go(func() {
		for event := range local {
			s.events.publish(localEvent(event))
		}
	})
	return sources.Wait
}

// Serve serves on all listeners, and passes events on, until ctx ends; then it ends
// streams, waits a little for other requests, and closes the listeners. If one fails,
// the others go on.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	wait := s.Follow(ctx)
	defer wait()
	defer cancel()
	failures := make([]error, len(listeners))
	var serving sync.WaitGroup
	for i, listener := range listeners {
		serving.Go(func() {
			if failures[i] = s.serveOn(ctx, listener); failures[i] != nil {
				s.log.Error("a socket of the API is not served any more", "address", listener.Addr(), "error", failures[i])
			}
		})
	}
	serving.Wait()
	return errors.Join(failures...)
}

// serveOn serves on one listener until ctx ends.
func (s *Server) serveOn(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    headerBytesMax,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the API: %w", err)
	case <-ctx.Done():
	}
	patience, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer done()
	if err := server.Shutdown(patience); err != nil {
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("closing the API: %w", err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the API: %w", err)
	}
	return nil
}

// ServeHTTP routes one request. Whatever the path and the method, the answer
// has a sentence in Docker's form; a handler that panics loses its own request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Api-Version", newest().String())
	header.Set("Docker-Experimental", "false")
	header.Set("Ostype", "linux")
	header.Set("Server", "swarmd/"+s.host.Version+" (linux)")

	began := time.Now()
	tracked := &trackedWriter{ResponseWriter: w}
	route := "none"
	defer func() {
		if caught := recover(); caught != nil {
			if err, ok := caught.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(caught) //nolint:forbidigo // this is how net/http is told to hang up
			}
			s.log.Error("the handler of an API request panicked", "method", r.Method, "path", r.URL.Path, "panic", caught, "stack", stack())
			s.refuse(tracked, r, fmt.Errorf("internal error while serving %s %s: the daemon's log says more", r.Method, r.URL.Path))
		}
		s.counts.add(route, tracked.status, time.Since(began))
		s.log.Debug("api request", "method", r.Method, "path", r.URL.Path, "status", tracked.status, "took", time.Since(began))
	}()

	stripped, err := withVersion(r)
	if err != nil {
		s.refuseVersion(tracked, r, err)
		return
	}
	handler, pattern := s.mux.Handler(stripped)
	if pattern == "" || !clean(stripped.URL.Path) {
		s.refuse(tracked, r, fail(http.StatusNotFound, "page not found"))
		return
	}
	route = pattern
	_ = handler // The mux finds it again: only so do path values reach it.
	s.mux.ServeHTTP(tracked, stripped)
}

// A handler answers a request, or says why it cannot.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle routes a pattern, in the form of [http.ServeMux], to h.
func (s *Server) handle(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.refuse(w, r, err)
		}
	})
}
