package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/registry"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// A keeping engine refuses everything and keeps what it was asked last.
type keeping struct{ asked control.Call }

// Call implements api.Engine.
func (k *keeping) Call(_ context.Context, call control.Call) (control.Answer, error) {
	if _, asked := call.(control.Info); asked {
		return control.NodeInfo{}, nil
	}
	k.asked = call
	return control.Failed{Kind: control.NotFound, Message: "refused"}, nil
}

// Subscribe implements api.Engine.
func (*keeping) Subscribe(ctx context.Context) <-chan []control.Event {
	return (*scripted)(nil).Subscribe(ctx)
}

// serveFuzzed answers a request in this goroutine. Whatever was asked, the answer
// is one that Docker's clients can read, and no handler has panicked.
func serveFuzzed(t *testing.T, r *http.Request) (*keeping, *httptest.ResponseRecorder) {
	t.Helper()
	engine := &keeping{}
	server := api.New(testConfig(engine, &apitest.Runtime{}))
	ctx, cancel := context.WithCancel(r.Context())
	cancel() // streams end at once
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r.WithContext(ctx))
	var refusal struct{ Message string }
	if strings.Contains(w.Body.String(), "please upgrade your client") {
		return engine, w // clients so old are answered in plain text
	}
	if w.Code >= http.StatusBadRequest && (json.Unmarshal(w.Body.Bytes(), &refusal) != nil || refusal.Message == "") {
		t.Errorf("%s %s: %d without a sentence: %q", r.Method, r.URL, w.Code, w.Body.String())
	}
	if strings.Contains(refusal.Message, "internal error") {
		t.Errorf("%s %s: the handler panicked", r.Method, r.URL)
	}
	return engine, w
}

func postRoutes() []string {
	return []string{
		"/swarm/init", "/swarm/update?version=1", "/swarm/unlock", "/services/create", "/services/x/update?version=1",
		"/nodes/x/update?version=1", "/auth", "/containers/x/exec", "/exec/x/start",
	}
}

// FuzzBody sends bodies to everything that reads JSON. One that is no JSON never
// reaches the engine.
func FuzzBody(f *testing.F) {
	for i := range postRoutes() {
		f.Add(uint8(i), []byte(`{}`))
	}
	f.Add(uint8(0), []byte(initBody))
	f.Add(uint8(1), []byte(`{"Name":"default","Orchestration":{"TaskHistoryRetentionLimit":5},"CAConfig":{"ExternalCAs":[{"Protocol":"cfssl"}]},"EncryptionConfig":{"AutoLockManagers":true}}`))
	f.Add(uint8(3), []byte(serviceBody("web", 1)))
	f.Add(uint8(3), []byte(`{"Name":"a","Networks":[{"Target":"n"}],"EndpointSpec":{"Ports":[{"TargetPort":80}]},"TaskTemplate":{"ContainerSpec":{"Image":"x","Mounts":[{"Type":"bind"}],"DNSConfig":{}},"Resources":{"Reservations":{"GenericResources":[{}]}}}}`))
	f.Add(uint8(5), []byte(`{"Role":"manager","Availability":"drain","Labels":{"a":null}}`))
	f.Add(uint8(7), []byte(`{"Cmd":["sh"],"ConsoleSize":[1,2]}`))
	f.Add(uint8(8), []byte(`{"Detach":true,"ConsoleSize":[1]}`))
	f.Fuzz(func(t *testing.T, route uint8, body []byte) {
		path := postRoutes()[int(route)%len(postRoutes())]
		r := httptest.NewRequest(http.MethodPost, "http://swarmd"+path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		engine, w := serveFuzzed(t, r)
		if len(body) > 0 && !json.Valid(body) && (engine.asked != nil || w.Code != http.StatusBadRequest) {
			t.Errorf("%s: %q is no JSON, yet it got %d and asked %T", path, body, w.Code, engine.asked)
		}
	})
}

func getRoutes() []string {
	return []string{
		"/services", "/services/x", "/services/x/logs", "/tasks", "/tasks/x/logs", "/nodes", "/networks", "/networks/x", "/volumes",
		"/secrets", "/configs", "/events", "/containers/json", "/containers/x/logs", "/images/json", "/images/get", "/info", "/system/df",
	}
}

// FuzzQuery sends queries to everything that is read.
func FuzzQuery(f *testing.F) {
	for i := range getRoutes() {
		f.Add(uint8(i), `filters={"label":{"a=b":true},"status":["running"]}`)
	}
	f.Add(uint8(2), "stdout=1&tail=5&since=1.5&until=2&details=1&timestamps=true&follow=0")
	f.Add(uint8(11), "since=1&until=2.000000001&filters=%7B%22type%22%3A%7B%22node%22%3Atrue%7D%7D")
	f.Add(uint8(12), "all=1&limit=3&size=1")
	f.Fuzz(func(t *testing.T, route uint8, query string) {
		path := getRoutes()[int(route)%len(getRoutes())]
		r := httptest.NewRequest(http.MethodGet, "http://swarmd"+path, nil)
		r.URL.RawQuery = query
		serveFuzzed(t, r)
	})
}

// FuzzFilters sends filters in both encodings. What the engine is asked with says
// the same, sorted and each value once.
func FuzzFilters(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"id":{"a":true,"b":false}}`, `{"id":["b","a","a"]}`, `{"id":null}`, `{"id":[null]}`, `{"id":{"a":{}}}`, `[]`, `null`, `{"a":"b"}`, `{"id":[`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filters string) {
		r := httptest.NewRequest(http.MethodGet, "http://swarmd/services?filters="+url.QueryEscape(filters), nil)
		engine, w := serveFuzzed(t, r)
		list, asked := engine.asked.(control.ServiceList)
		if asked != (w.Code == http.StatusNotFound) {
			t.Fatalf("%q: %d, asked %T", filters, w.Code, engine.asked)
		}
		for key, values := range list.Filters {
			for i := 1; i < len(values); i++ {
				if values[i-1] >= values[i] {
					t.Errorf("%q: %s is %q", filters, key, values)
				}
			}
		}
	})
}

// FuzzPath sends paths: versions, names with slashes in them, nonsense.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/v1.41/services/web", "/v1.99/x", "/images/a/b:c/json", "/distribution/a/json", "//", "/v1.50", "/exec/x/json", "/../nodes", "/debug/pprof/heap"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "http://swarmd/", nil)
		r.URL.Path = path
		if strings.Contains(path, "/debug/") {
			return // profiles take their time
		}
		serveFuzzed(t, r)
	})
}

// FuzzRegistryAuth sends credentials. The API does not look at them: they reach
// the engine as they are, whatever they are.
func FuzzRegistryAuth(f *testing.F) {
	f.Add("eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==")
	f.Add("not base 64")
	f.Fuzz(func(t *testing.T, auth string) {
		r := httptest.NewRequest(http.MethodPost, "http://swarmd/services/create", strings.NewReader(serviceBody("web", 1)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(registry.AuthHeader, auth)
		engine, _ := serveFuzzed(t, r)
		if create, ok := engine.asked.(control.ServiceCreate); !ok || create.RegistryAuth != auth {
			t.Errorf("%q became %+v", auth, engine.asked)
		}
	})
}
