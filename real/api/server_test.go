package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/api/apitest"
)

// do sends a request with a JSON body, "" for none.
func (s *testServer) do(t *testing.T, method, path, body string) (*http.Response, []byte) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, answer
}

// ok sends a request that must be served, and decodes the answer.
func (s *testServer) ok(t *testing.T, method, path, body string, into any) {
	t.Helper()
	response, answer := s.do(t, method, path, body)
	if response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
}

const initBody = `{"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.0.0.1", "Spec": {}}`

// serviceBody is a service of nginx that runs everywhere.
func serviceBody(name string, replicas int) string {
	return fmt.Sprintf(`{"Name": %q, "TaskTemplate": {"ContainerSpec": {"Image": "nginx:alpine"}}, "Mode": {"Replicated": {"Replicas": %d}}}`, name, replicas)
}

// inSwarm is a server whose node has made a swarm.
func inSwarm(t *testing.T) (*testServer, *apitest.Swarm, *apitest.Runtime) {
	t.Helper()
	engine := newSwarm(t)
	runtime := &apitest.Runtime{Swarm: engine}
	server := newTestServer(t, engine, runtime)
	server.ok(t, "POST", "/swarm/init", initBody, nil)
	return server, engine, runtime
}

// running returns the tasks of a service once as many as wanted run. It watches
// the swarm's own list: there is no event for a task.
func (s *testServer) running(t *testing.T, service string, want int) []swarm.Task {
	t.Helper()
	for {
		var tasks []swarm.Task
		s.ok(t, "GET", `/tasks?filters={"service":["`+service+`"],"desired-state":["running"]}`, "", &tasks)
		n := 0
		for _, task := range tasks {
			if task.Status.State == swarm.TaskStateRunning {
				n++
			}
		}
		if n == want {
			return tasks
		}
	}
}

// The headers from which every client learns whom it talks to.
func TestPing(t *testing.T) {
	engine := newSwarm(t)
	server := newTestServer(t, engine, &apitest.Runtime{Swarm: engine})
	for _, c := range []struct{ method, path, swarm, body string }{
		{"GET", "/_ping", "inactive", "OK"},
		{"HEAD", "/_ping", "inactive", ""},
		{"GET", "/v1.41/_ping", "inactive", "OK"},
		{"POST", "/swarm/init", "", ""},
		{"GET", "/_ping", "active/manager", "OK"},
		{"HEAD", "/v1.50/_ping", "active/manager", ""},
	} {
		if c.method == "POST" {
			server.ok(t, "POST", c.path, initBody, nil)
			continue
		}
		response, body := server.do(t, c.method, c.path, "")
		h := response.Header
		got := map[string]string{}
		for _, key := range []string{"Api-Version", "Docker-Experimental", "Ostype", "Swarm", "Server", "Cache-Control", "Pragma", "Content-Type", "Content-Length"} {
			got[key] = h.Get(key)
		}
		want := map[string]string{
			"Api-Version": "1.50", "Docker-Experimental": "false", "Ostype": "linux", "Swarm": c.swarm, "Server": "swarmd/0.1.0 (linux)",
			"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Content-Type": "text/plain; charset=utf-8", "Content-Length": "2",
		}
		if diff := cmp.Diff(want, got); diff != "" || string(body) != c.body {
			t.Errorf("%s %s: %q\n%s", c.method, c.path, body, diff)
		}
	}
}

// A version in the path chooses; none is the newest.
func TestVersions(t *testing.T) {
	server, _, _ := inSwarm(t)
	for path, status := range map[string]int{
		"/v1.24/nodes": 200, "/v1.50/nodes": 200, "/nodes": 200, "/v1.23/nodes": 400, "/v1.51/nodes": 400, "/v2.0/nodes": 400,
		"/v1/nodes": 404, "/v1.x/nodes": 404, "/v1.00000041/nodes": 404, "/version": 200, "/v1.41/version": 200,
	} {
		if response, body := server.do(t, "GET", path, ""); response.StatusCode != status {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
	// Since API 1.44 images have no VirtualSize; before 1.41 services have no status.
	for path, has := range map[string]bool{"/v1.43/images/json": true, "/v1.44/images/json": false} {
		if _, body := server.do(t, "GET", path, ""); bytes.Contains(body, []byte("VirtualSize")) != has {
			t.Errorf("%s: %s", path, body)
		}
	}
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), nil)
	for path, has := range map[string]bool{"/v1.40/services?status=1": false, "/v1.41/services?status=1": true, "/v1.41/services": false} {
		if _, body := server.do(t, "GET", path, ""); bytes.Contains(body, []byte("ServiceStatus")) != has {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// Bodies that are too large, cut off, of another type or no JSON are refused with
// a sentence, whatever they were for, and nothing has changed.
func TestBadBodies(t *testing.T) {
	server, engine, runtime := inSwarm(t)
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), nil)
	task := server.running(t, "web", 1)[0]
	var service swarm.Service
	server.ok(t, "GET", "/services/web", "", &service)
	id := task.Status.ContainerStatus.ContainerID
	before := listings(t, server)
	bodies := map[string]string{
		"cut off":   `{"Name": "x", "TaskTemplate": {`,
		"not JSON":  "name: x",
		"a list":    `[1]`,
		"a number":  `7`,
		"two":       `{} {}`,
		"too large": `{"Name": "` + strings.Repeat("x", 4<<20) + `"}`,
		"too deep":  strings.Repeat(`{"TaskTemplate":`, 20000) + "1" + strings.Repeat("}", 20000),
	}
	for _, path := range []string{
		"/swarm/init", "/swarm/update?version=1", "/swarm/unlock", "/services/create", "/services/web/update?version=1",
		"/nodes/host1/update?version=1", "/auth", "/containers/" + id + "/exec", "/exec/1/start",
	} {
		for what, body := range bodies {
			response, answer := server.do(t, "POST", path, body)
			var refusal struct{ Message string }
			if err := json.Unmarshal(answer, &refusal); response.StatusCode != http.StatusBadRequest || err != nil || refusal.Message == "" {
				t.Errorf("%s, %s: %d %.200s", path, what, response.StatusCode, answer)
			}
		}
		// A length that is not sent is bounded as well.
		endless := io.MultiReader(strings.NewReader(`{"Name": "`), &endless{})
		response, err := server.client.Post(server.URL+path, "application/json", endless)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, endless: %d", path, response.StatusCode)
			}
		}
		// So is a body that ends before its length says.
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Name\": \"cut\"", path)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 && !bytes.Contains(answer, []byte(" 400 Bad Request")) {
			t.Errorf("%s, shorter than its length: %v %s", path, err, answer)
		}
		conn.Close()
	}
	if diff := cmp.Diff(before, listings(t, server)); diff != "" || len(runtime.Changes()) > 0 || len(engine.Containers()) != 1 {
		t.Errorf("something has changed: %v %s", runtime.Changes(), diff)
	}
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// listings is all that can be listed.
func listings(t *testing.T, server *testServer) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range []string{"/swarm", "/nodes", "/services", "/tasks", "/containers/json?all=1", "/images/json"} {
		_, body := server.do(t, "GET", path, "")
		all[path] = string(body)
	}
	return all
}

// An engine that gives no answer, or one that does not fit, is an error of the
// server's; a handler that panics loses its own request only.
func TestEngineThatFails(t *testing.T) {
	for want, answer := range map[string]control.Answer{
		"the log is gone": nil,
		"the engine answered control.NodeList with control.Done":      control.Done{},
		"the engine answered control.NodeList with control.UnlockKey": control.UnlockKey{},
		"odd": control.Failed{Kind: 99, Message: "odd"},
	} {
		server := newTestServer(t, fixed{answer}, &apitest.Runtime{})
		response, body := server.do(t, "GET", "/nodes", "")
		if response.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), want) {
			t.Errorf("%T: %d %s", answer, response.StatusCode, body)
		}
	}
	server := newTestServer(t, fixed{}, panicking{&apitest.Runtime{}})
	if response, body := server.do(t, "GET", "/images/json", ""); response.StatusCode != http.StatusInternalServerError ||
		!strings.Contains(string(body), "internal error while serving GET /images/json: the daemon's log says more") {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if response, _ := server.do(t, "GET", "/version", ""); response.StatusCode != http.StatusOK {
		t.Error("the next request is not served")
	}
}

type panicking struct{ *apitest.Runtime }

// Images implements api.Images.
func (panicking) Images(context.Context) ([]image.Summary, error) { panic("a bug") }

type fixed struct{ answer control.Answer }

func (f fixed) Call(context.Context, control.Call) (control.Answer, error) {
	if f.answer == nil {
		return nil, errors.New("the log is gone")
	}
	return f.answer, nil
}

func (fixed) Subscribe(ctx context.Context) <-chan []control.Event {
	return (*scripted)(nil).Subscribe(ctx)
}

// Events: one JSON object a line, those kept since a time first, filtered, until
// the client leaves.
func TestEvents(t *testing.T) {
	server, _, runtime := inSwarm(t)
	watch := func(query string) (*json.Decoder, func()) {
		request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/events?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := response.Header.Get("Content-Type"); got != "application/json" || response.StatusCode != http.StatusOK {
			t.Errorf("%d %s", response.StatusCode, got)
		}
		return json.NewDecoder(response.Body), func() { response.Body.Close() }
	}
	type line struct {
		Status, ID, From, Type, Action, Scope string
		Actor                                 struct {
			ID         string
			Attributes map[string]string
		}
		Time, TimeNano int64
	}
	next := func(from *json.Decoder) (l line) {
		t.Helper()
		if err := from.Decode(&l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	live, leave := watch(`filters={"type":{"service":true}}`)
	defer leave()
	local, leaveLocal := watch(`filters={"scope":["local"]}`)
	defer leaveLocal()

	var created struct{ ID string }
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), &created)
	got := next(live)
	if got.Type != "service" || got.Action != "create" || got.Actor.ID != created.ID || got.Actor.Attributes["name"] != "web" ||
		got.Scope != "swarm" || got.Status != "" || got.TimeNano == 0 || got.Time != got.TimeNano/1e9 {
		t.Errorf("got %+v", got)
	}
	runtime.Tell(events.Message{Type: events.ContainerEventType, Action: events.ActionStart, Actor: events.Actor{ID: "c1", Attributes: map[string]string{"image": "nginx"}}})
	if got := next(local); got.Status != "start" || got.ID != "c1" || got.From != "nginx" || got.Scope != "local" || got.TimeNano == 0 {
		t.Errorf("got %+v", got)
	}
	// A client that comes later asks for what was; ?until= ends the stream.
	until := time.Now().Unix() + 1
	past, leavePast := watch(fmt.Sprintf(`since=1&until=%d&filters={"service":["web"]}`, until))
	defer leavePast()
	if got := next(past); got.Action != "create" || got.Actor.ID != created.ID {
		t.Errorf("got %+v", got)
	}
	for {
		var l line
		if err := past.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"since=x":              `invalid value for since: strconv.ParseInt: parsing "x": invalid syntax`,
		"until=1.x":            `invalid value for until: strconv.ParseUint: parsing "x": invalid syntax`,
		"since=5&until=3":      "`since` time (5) cannot be after `until` time (3)",
		`filters={"x":["y"]}`:  "invalid filter 'x'",
		`filters={"type":"y"}`: "invalid filter",
	} {
		if response, body := server.do(t, "GET", "/events?"+query, ""); response.StatusCode != 400 || !strings.Contains(unescaped(body), want) {
			t.Errorf("%s: %d %s", query, response.StatusCode, body)
		}
	}
}

func unescaped(body []byte) string {
	var refusal struct{ Message string }
	_ = json.Unmarshal(body, &refusal)
	return refusal.Message
}

// Logs are framed, one line a frame: stream, three zeros, length, text. A
// terminal's are not, and details name the task.
func TestLogs(t *testing.T) {
	server, _, _ := inSwarm(t)
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), nil)
	server.ok(t, "POST", "/services/create", `{"Name": "tty", "TaskTemplate": {"ContainerSpec": {"Image": "nginx:alpine", "TTY": true}}}`, nil)
	task := server.running(t, "web", 1)[0]
	server.running(t, "tty", 1)
	id := task.Status.ContainerStatus.ContainerID
	details := "com.docker.swarm.node.id=" + task.NodeID + ",com.docker.swarm.service.id=" + task.ServiceID + ",com.docker.swarm.task.id=" + task.ID
	const multiplexed, raw = "application/vnd.docker.multiplexed-stream", "application/vnd.docker.raw-stream"
	for _, c := range []struct{ path, media, want string }{
		{"/containers/" + id + "/logs?stdout=1&stderr=1", multiplexed, "1 ready\n|2 oops\n|1 last"},
		{"/v1.41/containers/" + id + "/logs?stdout=1&stderr=1", raw, "1 ready\n|2 oops\n|1 last"},
		{"/services/web/logs?stdout=1", multiplexed, "1 ready\n|1 last"},
		{"/services/web/logs?stderr=1&details=1", multiplexed, "2 " + details + " oops\n"},
		{"/services/web/logs?stdout=1&timestamps=1&tail=1", multiplexed, "1 2026-11-01T12:01:00.000000005Z last"},
		{"/tasks/" + task.ID + "/logs?stdout=1&timestamps=1&details=1&tail=1", multiplexed, "1 2026-11-01T12:01:00.000000005Z " + details + " last"},
		{"/tasks/" + task.ID + "/logs?stdout=1&stderr=1&since=1793534401.000000005", multiplexed, "2 oops\n|1 last"},
		{"/services/tty/logs?stdout=1&stderr=1", raw, "ready\noops\nlast"},
	} {
		response, body := server.do(t, "GET", c.path, "")
		got := string(body)
		if !strings.Contains(c.path, "tty") {
			got = frames(t, body)
		}
		if got != c.want || response.Header.Get("Content-Type") != c.media || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s\n%q\n%q", c.path, response.StatusCode, response.Header.Get("Content-Type"), got, c.want)
		}
	}
	// Docker's status differs between services and containers.
	for path, status := range map[string]int{"/containers/" + id + "/logs": 400, "/services/web/logs": 500, "/containers/none/logs?stdout=1": 404} {
		if response, body := server.do(t, "GET", path, ""); response.StatusCode != status {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

// frames writes a multiplexed stream as "1 text|2 text".
func frames(t *testing.T, body []byte) string {
	t.Helper()
	var out []string
	for len(body) > 0 {
		if len(body) < 8 || !bytes.Equal(body[1:4], []byte{0, 0, 0}) {
			t.Fatalf("no frame begins with %q", body)
		}
		n := int(body[4])<<24 | int(body[5])<<16 | int(body[6])<<8 | int(body[7])
		out = append(out, fmt.Sprintf("%d %s", body[0], body[8:8+n]))
		body = body[8+n:]
	}
	return strings.Join(out, "|")
}

// Following ends when the client leaves, and the tasks that come meanwhile are
// followed too.
func TestFollowedLogs(t *testing.T) {
	server, _, _ := inSwarm(t)
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), nil)
	first := server.running(t, "web", 1)[0].ID
	response, err := server.client.Get(server.URL + "/services/web/logs?stdout=1&follow=1&details=1")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	until := func(text string) {
		t.Helper()
		var got strings.Builder
		for !strings.Contains(got.String(), text) {
			b, err := lines.ReadByte()
			if err != nil {
				t.Fatalf("%v after %q", err, got.String())
			}
			got.WriteByte(b)
		}
	}
	until(first)
	var service swarm.Service
	server.ok(t, "GET", "/services/web", "", &service)
	server.ok(t, "POST", fmt.Sprintf("/services/web/update?version=%d", service.Version.Index), serviceBody("web", 2), nil)
	second := ""
	for _, task := range server.running(t, "web", 2) {
		if task.ID != first {
			second = task.ID
		}
	}
	until(second)
	response.Body.Close()
}

// Exec takes the connection over: what the client sends is the process's input,
// framed output comes back, and the end of the process ends the stream.
func TestExec(t *testing.T) {
	server, _, _ := inSwarm(t)
	server.ok(t, "POST", "/services/create", serviceBody("web", 1), nil)
	id := server.running(t, "web", 1)[0].Status.ContainerStatus.ContainerID
	create := func(body string) string {
		t.Helper()
		var created struct{ ID string }
		server.ok(t, "POST", "/containers/"+id+"/exec", body, &created)
		return created.ID
	}
	attach := func(exec, body, headers string) (*bufio.Reader, net.Conn) {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		// The input's beginning comes with the request: it must not be lost.
		fmt.Fprintf(conn, "POST /v1.50/exec/%s/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%shello\n", exec, len(body), headers, body)
		return bufio.NewReader(conn), conn
	}
	head := func(r *bufio.Reader) string {
		t.Helper()
		var all string
		for !strings.HasSuffix(all, "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%v after %q", err, all)
			}
			all += line
		}
		return all
	}
	const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"

	exec := create(`{"AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Cmd": ["cat", "-"]}`)
	r, conn := attach(exec, `{"Detach": false, "Tty": false}`, upgrade)
	if got, want := head(r), "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"; got != want {
		t.Errorf("got %q", got)
	}
	fmt.Fprint(conn, "more\nexit\n")
	rest, err := io.ReadAll(r)
	if got := frames(t, rest); err != nil || got != "1 HELLO\n|1 MORE\n|2 cat -\n" {
		t.Errorf("%q, %v", got, err)
	}
	conn.Close()
	var inspected struct {
		ExitCode *int
		Running  bool
	}
	server.ok(t, "GET", "/exec/"+exec+"/json", "", &inspected)
	if inspected.ExitCode == nil || *inspected.ExitCode != 0 || inspected.Running {
		t.Errorf("%+v", inspected)
	}
	if response, body := server.do(t, "POST", "/exec/"+exec+"/start", "{}"); response.StatusCode != http.StatusConflict {
		t.Errorf("started twice: %d %s", response.StatusCode, body)
	}

	// A terminal is not framed; input may end by the client's closing its half.
	exec = create(`{"AttachStdin": true, "AttachStdout": true, "Tty": true, "Cmd": ["sh"]}`)
	r, conn = attach(exec, `{"Tty": true, "ConsoleSize": [24, 80]}`, upgrade)
	if got := head(r); !strings.Contains(got, "raw-stream") {
		t.Errorf("got %q", got)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "HELLO\nsh\n" {
		t.Errorf("%q, %v", rest, err)
	}
	conn.Close()

	// Clients of before API 1.20 do not ask for an upgrade.
	exec = create(`{"AttachStderr": true, "Cmd": ["ls"]}`)
	r, conn = attach(exec, `{}`, "")
	if got := head(r); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q", got)
	}
	if rest, err := io.ReadAll(r); err != nil || frames(t, rest) != "2 ls\n" {
		t.Errorf("%q, %v", rest, err)
	}
	conn.Close()

	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/containers/" + id + "/exec", `{}`, 400},
		{"/containers/none/exec", `{"Cmd": ["x"]}`, 404},
		{"/exec/none/start", `{}`, 404},
		{"/exec/" + exec + "/resize?h=x&w=1", "", 400},
		{"/exec/" + exec + "/resize?h=1&w=99999", "", 400},
		{"/exec/" + exec + "/resize?h=24&w=80", "", 200},
	} {
		if response, body := server.do(t, "POST", c.path, c.body); response.StatusCode != c.status {
			t.Errorf("%s %s: %d %s", c.path, c.body, response.StatusCode, body)
		}
	}
}

// A pull's progress is a stream of JSON; what goes wrong before its first message
// has a status, what goes wrong later is the last message.
func TestImageProgress(t *testing.T) {
	server := newTestServer(t, newSwarm(t), &apitest.Runtime{})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/images/create?fromImage=nginx&tag=alpine", 200, `Downloaded newer image for nginx:alpine`},
		{"/images/create?fromImage=missing", 404, `manifest for missing:latest not found`},
		{"/images/create?fromImage=broken", 200, `"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"`},
		{"/images/create", 400, `fromImage or fromSrc must be given`},
		{"/images/load", 200, `Loaded image: nginx:alpine`},
	} {
		if response, body := server.do(t, "POST", c.path, ""); response.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d %s", c.path, response.StatusCode, body)
		}
	}
	if _, body := server.do(t, "GET", "/images/get?names=nginx:alpine", ""); string(body) != "archive of nginx:alpine" {
		t.Errorf("saved: %s", body)
	}
	// A save that fails in its middle must not look whole.
	response, err := server.client.Get(server.URL + "/images/get?names=sha256:aaaa")
	if err == nil {
		_, err = io.ReadAll(response.Body)
		response.Body.Close()
	}
	if err == nil {
		t.Error("an archive that is cut off looks whole")
	}
}

// A socket that nobody answers at is replaced; anything else is left alone.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(path); err == nil || !strings.Contains(err.Error(), "another daemon answers at "+path) {
		t.Errorf("beside another daemon: %v", err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	listener, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	listener.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Listen(file); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
}

// A server that is told to stop ends its streams and lets go of the socket.
func TestServeStops(t *testing.T) {
	engine := newSwarm(t)
	server := api.New(testConfig(engine, &apitest.Runtime{Swarm: engine}))
	path := filepath.Join(t.TempDir(), "s")
	listener, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, listener) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	stream := bufio.NewReader(conn)
	if line, err := stream.ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(stream); err != nil {
		t.Errorf("the stream did not end well: %v", err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket is still there")
	}
}

// What happens is passed on from before the first client is let in.
func TestServeFollowsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		gate := &gate{opened: make(chan struct{}), closed: make(chan struct{})}
		served := make(chan error)
		asked := make(chan bool, 1)
		server := api.New(testConfig(follower{fixed{}, gate, asked}, &apitest.Runtime{}))
		go func() { served <- server.Serve(ctx, gate) }()
		<-gate.opened
		if early := <-asked; early {
			t.Error("clients were let in before the swarm was asked for its events")
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A gate is a listener that nobody comes to.
type gate struct {
	opened chan struct{} // closed when it is
	closed chan struct{}
	once   sync.Once
}

func (g *gate) Accept() (net.Conn, error) {
	close(g.opened)
	<-g.closed
	return nil, net.ErrClosed
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return nil
}

func (*gate) Addr() net.Addr { return &net.UnixAddr{} }

// A follower takes its time over a subscription, and says whether the gate was open
// then.
type follower struct {
	fixed
	gate  *gate
	asked chan<- bool
}

func (f follower) Subscribe(ctx context.Context) <-chan []control.Event {
	synctest.Wait()
	select {
	case <-f.gate.opened:
		f.asked <- true
	default:
		f.asked <- false
	}
	return f.fixed.Subscribe(ctx)
}

// However many sockets a server has, a thing happens once.
func TestEventsOfTwoSockets(t *testing.T) {
	engine := newSwarm(t)
	server := api.New(testConfig(engine, &apitest.Runtime{Swarm: engine}))
	var listeners []net.Listener
	var clients []*testServer
	for i := range 2 {
		path := filepath.Join(t.TempDir(), strconv.Itoa(i))
		listener, err := api.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		transport := &http.Transport{DialContext: dial}
		t.Cleanup(transport.CloseIdleConnections)
		clients = append(clients, &testServer{Server: &httptest.Server{URL: "http://localhost"}, client: &http.Client{Transport: transport}})
	}
	serve(t, server, listeners...)
	clients[0].ok(t, "POST", "/swarm/init", initBody, nil)
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/events?filters="+url.QueryEscape(`{"type":["service"]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := clients[1].client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got []string
	stream := json.NewDecoder(response.Body)
	for _, name := range []string{"a", "b"} {
		clients[0].ok(t, "POST", "/services/create", serviceBody(name, 1), nil)
		var event events.Message
		if err := stream.Decode(&event); err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Actor.Attributes["name"])
	}
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the services that were made are %v", got)
	}
}
