package api_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// What the host's network differs in is a list of sentences, empty if nothing does;
// asking repairs nothing unless it is to.
func TestNetworkCheck(t *testing.T) {
	engine := newSwarm(t)
	config := testConfig(engine, &apitest.Runtime{Swarm: engine})
	broken, failed := []string{"the bridge is missing"}, error(nil)
	config.CheckNetwork = func(repair bool) ([]string, error) {
		lines := broken
		if repair {
			broken = nil
		}
		return lines, failed
	}
	server := testServerOf(t, config)
	for _, x := range []struct {
		method, path string
		want         []string
	}{
		{"GET", "/debug/network", []string{"the bridge is missing"}},
		{"GET", "/v1.41/debug/network", []string{"the bridge is missing"}},
		{"POST", "/debug/network/repair", []string{"the bridge is missing"}},
		{"GET", "/debug/network", []string{}},
	} {
		var got []string
		server.ok(t, x.method, x.path, "", &got)
		if got == nil || !slices.Equal(got, x.want) {
			t.Errorf("%s %s: got %q, want %q", x.method, x.path, got, x.want)
		}
	}
	failed = errors.New("there is no plan")
	if response, body := server.do(t, "GET", "/debug/network", ""); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "there is no plan") {
		t.Errorf("a failure: %d %s", response.StatusCode, body)
	}
	bare := testServerOf(t, api.Config{Engine: engine, Runtime: config.Runtime, Host: config.Host})
	if response, _ := bare.do(t, "GET", "/debug/network", ""); response.StatusCode != http.StatusNotImplemented {
		t.Errorf("a daemon without a network: %d", response.StatusCode)
	}
}
