package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// Every refusal is Docker's, to the letter: first with an engine that says what
// the file expects it to, so that all that the API checks itself is checked
// before the engine is asked; then with a real one, in memory.
func TestErrors(t *testing.T) {
	for _, file := range []string{"testdata/errors.txt", "testdata/unserved.txt"} {
		t.Run("scripted/"+file, func(t *testing.T) {
			engine := &scripted{t: t}
			server := newTestServer(t, engine, &apitest.Runtime{})
			apitest.Run(t, apitest.Target{Client: server.client, Script: engine.script}, file)
		})
		t.Run("real/"+file, func(t *testing.T) {
			engine := newSwarm(t)
			server := newTestServer(t, engine, &apitest.Runtime{Swarm: engine})
			apitest.Run(t, apitest.Target{Client: server.client}, file)
		})
	}
}

// A scripted engine answers as the case says.
type scripted struct {
	t *testing.T

	mu             sync.Mutex
	kind, sentence string
}

func (e *scripted) script(kind, sentence string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kind, e.sentence = kind, sentence
}

// Call implements api.Engine.
func (e *scripted) Call(_ context.Context, call control.Call) (control.Answer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	kinds := map[string]control.Kind{
		"invalid": control.Invalid, "not-found": control.NotFound, "conflict": control.Conflict, "internal": control.Internal,
		"unauthorized": control.Unauthorized, "unimplemented": control.Unimplemented, "unavailable": control.Unavailable,
	}
	if kind, refuses := kinds[e.kind]; refuses {
		return control.Failed{Kind: kind, Message: e.sentence}, nil
	}
	if e.kind != "ok" && e.kind != "member" {
		e.t.Errorf("the engine was asked %T, though the API can tell that it is wrong", call)
	}
	cluster := &state.Cluster{ID: "c"}
	switch call.(type) {
	case control.Info:
		return control.NodeInfo{NodeID: "n", State: swarm.LocalNodeStateActive, Manager: true, Cluster: cluster}, nil
	case control.SwarmInspect:
		return control.Swarm{Cluster: cluster}, nil
	case control.NetworkList:
		return control.Networks{}, nil
	case control.ServiceList:
		return control.Services{}, nil
	default:
		return nil, fmt.Errorf("no answer to %T", call)
	}
}

// Subscribe implements api.Engine.
func (*scripted) Subscribe(ctx context.Context) <-chan []control.Event {
	none := make(chan []control.Event)
	context.AfterFunc(ctx, func() { close(none) })
	return none
}

// A testServer is the API over a loopback connection.
type testServer struct {
	*httptest.Server
	api    *api.Server
	client *http.Client // whatever the host in a URL
}

func newSwarm(t *testing.T) *apitest.Swarm {
	t.Helper()
	s := apitest.NewSwarm()
	t.Cleanup(s.Close)
	return s
}

func newTestServer(t *testing.T, engine api.Engine, runtime api.Runtime) *testServer {
	t.Helper()
	return testServerOf(t, testConfig(engine, runtime))
}

func testServerOf(t *testing.T, config api.Config) *testServer {
	t.Helper()
	s := api.New(config)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(s.Follow(ctx))
	t.Cleanup(cancel)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &testServer{Server: server, api: s, client: &http.Client{Transport: transport}}
}

func testConfig(engine api.Engine, runtime api.Runtime) api.Config {
	return api.Config{
		Engine: engine, Runtime: runtime,
		Host: api.Host{ID: "host", Name: "host1", Version: "0.1.0", CPUs: 2, MemoryBytes: 8 << 30, KernelVersion: "6.0", Driver: "overlayfs"},
		Interfaces: func() ([]api.Interface, error) {
			return []api.Interface{{Name: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}, nil
		},
	}
}
