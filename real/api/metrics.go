package api

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Metric is a number that /metrics writes. Value is called at each request.
type Metric struct {
	Name  string // in Prometheus' form, such as swarmd_tasks_running
	Help  string
	Value func() float64
}

type routeStatus struct {
	route  string
	status int
}

// requestCounts counts requests by route and status, and how long they took.
type requestCounts struct {
	mu    sync.Mutex
	count map[routeStatus]uint64
	took  map[string]time.Duration
}

func (c *requestCounts) add(route string, status int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count, c.took = map[routeStatus]uint64{}, map[string]time.Duration{}
	}
	c.count[routeStatus{route, status}]++
	c.took[route] += took
}

// writeMetrics writes the text format of Prometheus.
func (s *Server) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	out := bufio.NewWriter(w)
	defer out.Flush() //nolint:errcheck // who asked is gone
	s.counts.mu.Lock()
	count, took := maps.Clone(s.counts.count), maps.Clone(s.counts.took)
	s.counts.mu.Unlock()

	fmt.Fprint(out, "# HELP swarmd_api_requests_total Requests answered, by route and status.\n# TYPE swarmd_api_requests_total counter\n")
	keys := slices.SortedFunc(maps.Keys(count), func(a, b routeStatus) int {
		if a.route != b.route {
			return strings.Compare(a.route, b.route)
		}
		return a.status - b.status
	})
	for _, key := range keys {
		fmt.Fprintf(out, "swarmd_api_requests_total{route=%q,status=\"%d\"} %d\n", key.route, key.status, count[key])
	}
	fmt.Fprint(out, "# HELP swarmd_api_request_seconds_total Time spent on requests, by route.\n# TYPE swarmd_api_request_seconds_total counter\n")
	for _, route := range slices.Sorted(maps.Keys(took)) {
		fmt.Fprintf(out, "swarmd_api_request_seconds_total{route=%q} %g\n", route, took[route].Seconds())
	}
	gauges := append([]Metric{
		{"swarmd_goroutines", "Goroutines of the daemon.", func() float64 { return float64(runtime.NumGoroutine()) }},
		{"swarmd_api_event_watchers", "Clients that watch events.", func() float64 { return float64(s.events.watching()) }},
	}, s.metrics...)
	for _, gauge := range gauges {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %g\n", gauge.Name, gauge.Help, gauge.Name, gauge.Name, gauge.Value())
	}
}

// profileIndex is the only path served that ends in a slash: its links need it.
const profileIndex = "/debug/pprof/"

func (s *Server) profileRoutes() {
	s.mux.HandleFunc("GET /debug/pprof/{$}", pprof.Index)
	s.mux.HandleFunc("GET /debug/pprof/{name}", pprof.Index)
	s.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// checkNetwork answers with the differences between the host's network and its
// plan, as a list of sentences.
func (s *Server) checkNetwork(repair bool) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		if s.check == nil {
			return fail(http.StatusNotImplemented, "this daemon does not know what its host's network should be")
		}
		lines, err := s.check(repair)
		if err != nil {
			return fail(http.StatusServiceUnavailable, "%v", err)
		}
		writeList(w, lines, func(_ int, line string) string { return line })
		return nil
	}
}
