package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// outside is a node in no swarm that keeps what it is asked to join.
type outside struct {
	scripted
	joined []control.SwarmJoin
}

func (o *outside) Call(_ context.Context, call control.Call) (control.Answer, error) {
	switch c := call.(type) {
	case control.Info:
		return control.NodeInfo{State: swarm.LocalNodeStateInactive}, nil
	case control.SwarmJoin:
		o.joined = append(o.joined, c)
		return control.Done{}, nil
	default:
		return nil, errors.New("not asked for")
	}
}

// What the CLI posts becomes a call with addresses that are complete: where this
// host could not choose one, it is the one from which it reaches the manager.
func TestJoin(t *testing.T) {
	for _, c := range []struct {
		name, body string
		interfaces []string
		advertise  string // what the daemon was told
		dataPath   string // and this
		status     int
		text       string
		want       control.SwarmJoin
	}{{
		name: "as the CLI posts it", interfaces: []string{"10.0.0.1"}, status: 200,
		body: `{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"","DataPathAddr":"","RemoteAddrs":["10.0.0.9:2377"],"JoinToken":"T","Availability":""}`,
		want: control.SwarmJoin{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", RemoteAddrs: []string{"10.0.0.9:2377"}, JoinToken: "T"},
	}, {
		name: "without ports", interfaces: []string{"10.0.0.1"}, status: 200,
		body: `{"ListenAddr":"10.0.0.1","AdvertiseAddr":"eth0:4000","RemoteAddrs":["10.0.0.9","manager","[fd00::1]:99"],"Availability":"drain"}`,
		want: control.SwarmJoin{
			ListenAddr: "10.0.0.1:2377", AdvertiseAddr: "10.0.0.1:4000", RemoteAddrs: []string{"10.0.0.9:2377", "manager:2377", "[fd00::1]:99"},
			Availability: "drain",
		},
	}, {
		name: "several addresses", interfaces: []string{"10.0.0.1", "10.0.0.2"}, status: 200,
		body: `{"ListenAddr":"0.0.0.0:3000","RemoteAddrs":["127.0.0.1:2377"]}`,
		want: control.SwarmJoin{ListenAddr: "0.0.0.0:3000", AdvertiseAddr: "127.0.0.1:3000", RemoteAddrs: []string{"127.0.0.1:2377"}},
	}, {
		name: "as the daemon was told", interfaces: []string{"10.0.0.1", "10.0.0.2"}, advertise: "192.0.2.1:4000", dataPath: "10.0.0.2", status: 200,
		body: `{"ListenAddr":"0.0.0.0:2377","RemoteAddrs":["10.0.0.9:2377"]}`,
		want: control.SwarmJoin{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "192.0.2.1:4000", DataPathAddr: "10.0.0.2", RemoteAddrs: []string{"10.0.0.9:2377"}},
	}, {
		name: "otherwise than the daemon was told", interfaces: []string{"10.0.0.1"}, advertise: "192.0.2.1", status: 200,
		body: `{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.0.0.1","RemoteAddrs":["10.0.0.9:2377"]}`,
		want: control.SwarmJoin{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", RemoteAddrs: []string{"10.0.0.9:2377"}},
	}, {
		name: "another data path", interfaces: []string{"10.0.0.1"}, status: 200, body: `{"ListenAddr":"0.0.0.0:2377","DataPathAddr":"10.9.0.7","RemoteAddrs":["10.0.0.9:2377"]}`,
		want: control.SwarmJoin{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", DataPathAddr: "10.9.0.7", RemoteAddrs: []string{"10.0.0.9:2377"}},
	}, {
		name: "nobody to ask", interfaces: []string{"10.0.0.1"}, status: 400, body: `{}`, text: "at least 1 RemoteAddr is required to join",
	}, {
		name: "no address", interfaces: []string{"10.0.0.1"}, status: 400, body: `{"RemoteAddrs":["a:b:c"]}`, text: `invalid remoteAddr "a:b:c": it must be a host name or an IP address (with optional port number)`,
	}, {
		name: "no such interface", interfaces: []string{"10.0.0.1"}, status: 400, body: `{"AdvertiseAddr":"nosuchif","RemoteAddrs":["a:1"]}`,
		text: "advertise address must be a non-zero IP address or network interface (with optional port number)",
	}} {
		t.Run(c.name, func(t *testing.T) {
			engine := &outside{scripted: scripted{t: t}}
			config := testConfig(engine, &apitest.Runtime{})
			config.Advertise, config.DataPath = c.advertise, c.dataPath
			config.Interfaces = func() ([]api.Interface, error) {
				device := api.Interface{Name: "eth0"}
				for _, addr := range c.interfaces {
					device.Addresses = append(device.Addresses, netip.MustParseAddr(addr))
				}
				return []api.Interface{device}, nil
			}
			server := testServerOf(t, config)
			response, body := server.do(t, "POST", "/swarm/join", c.body)
			if response.StatusCode != c.status {
				t.Fatalf("%d %s", response.StatusCode, body)
			}
			if c.status != http.StatusOK {
				var refusal struct{ Message string }
				if err := json.Unmarshal(body, &refusal); err != nil || refusal.Message != c.text {
					t.Errorf("got %q, want %q", refusal.Message, c.text)
				}
				return
			}
			if diff := cmp.Diff([]control.SwarmJoin{c.want}, engine.joined); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// elsewhere is the swarm's other nodes, each with one line in every log; node
// "gone" cannot be reached.
type elsewhere struct{}

func (elsewhere) ContainerLogs(_ context.Context, node state.NodeID, ref string, _ api.LogOptions, emit func(api.LogLine) error) error {
	if node == "gone" {
		return errors.New("there is no link to the node")
	}
	return emit(api.LogLine{At: time.Unix(1, 0), Text: []byte("of " + ref + " on " + string(node) + "\n")})
}

// spread is a manager that knows a service on three nodes.
type spread struct{ scripted }

func (*spread) Call(_ context.Context, call control.Call) (control.Answer, error) {
	switch call.(type) {
	case control.Info:
		return control.NodeInfo{NodeID: "here", State: swarm.LocalNodeStateActive, Manager: true}, nil
	case control.LogSources:
		var sources control.Sources
		for i, node := range []state.NodeID{"there", "gone", "gone"} {
			sources.Tasks = append(sources.Tasks, &state.Task{
				ID: state.TaskID("t" + string(rune('0'+i))), Service: "s", Node: node, Status: state.TaskStatus{Container: "c" + string(rune('0'+i))},
			})
			sources.Templates = append(sources.Templates, &state.Template{})
		}
		return sources, nil
	default:
		return nil, errors.New("not asked for")
	}
}

// A service's log has the lines of other nodes; one that cannot be reached is told
// of once, after the lines.
func TestLogsOfOtherNodes(t *testing.T) {
	config := testConfig(&spread{scripted{t: t}}, &apitest.Runtime{})
	config.Nodes = elsewhere{}
	server := testServerOf(t, config)
	_, body := server.do(t, "GET", "/services/s/logs?stdout=1&details=1", "")
	text := string(body)
	if !strings.Contains(text, "com.docker.swarm.node.id=there") || !strings.Contains(text, "of c0 on there\n") {
		t.Errorf("there is no line of the other node: %q", text)
	}
	warning := "Error grabbing logs: warning: incomplete log stream. some logs could not be retrieved for the following reasons: node gone is not available\n"
	if !strings.HasSuffix(text, warning) || strings.Count(text, "is not available") != 1 {
		t.Errorf("it is not told that a node is missing: %q", text)
	}
}

// A manager that is locked tells who asks to unlock it; a wrong key, and one that
// is none, have the statuses that Docker gives them.
func TestUnlock(t *testing.T) {
	engine := &scripted{t: t}
	server := newTestServer(t, engine, &apitest.Runtime{})
	for _, c := range []struct {
		kind           string
		path, body     string
		sentence, want string
	}{
		{"unauthorized", "/swarm/unlock", `{"UnlockKey":"SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, "swarm could not be unlocked: invalid key provided", "401"},
		{"invalid", "/swarm/unlock", `{"UnlockKey":"bogus"}`, "invalid key string", "400"},
		{"unavailable", "/swarm/update?version=1", `{}`, `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`, "503"},
	} {
		engine.script(c.kind, c.sentence)
		response, err := server.client.Post("http://daemon"+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Message string }
		err = errors.Join(json.NewDecoder(response.Body).Decode(&said), response.Body.Close())
		if got := response.Status[:3]; err != nil || got != c.want || said.Message != c.sentence {
			t.Errorf("%s: %s %q, %v", c.path, got, said.Message, err)
		}
	}
}
