package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

// The commands of testdata/*.txt are run against a server that answers from
// testdata/world.json and writes down what it is asked. What they must ask, print
// and return is what docker does. After a change of the cases, let docker itself
// write what it does:
//
//	go test ./cmd/swarmctl -run TestDocker -docker -rewrite

var withDocker = flag.Bool("docker", false, "run docker over the cases, not only swarmctl")

func TestAsDocker(t *testing.T) {
	t.Setenv("TZ", "UTC")
	files(t, func(t *testing.T, server *world, args []string) (string, string, int) {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, session{in: strings.NewReader(""), out: &out, errs: &errs, env: server.env})
		return out.String(), errs.String(), code
	})
}

func TestDocker(t *testing.T) {
	if !*withDocker {
		t.Skip("docker itself runs over the cases with -docker")
	}
	const wanted = "28.2.2" // the version whose behaviour is pinned
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("no docker to compare with")
	}
	if found, err := exec.Command(docker, "--version").Output(); err != nil || !strings.Contains(string(found), wanted) {
		t.Skipf("docker is not %s: %s", wanted, found)
	}
	home := t.TempDir()
	files(t, func(t *testing.T, server *world, args []string) (string, string, int) {
		var out, errs bytes.Buffer
		const patience = 10 * time.Second // for a case that docker never ends
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		command := exec.CommandContext(ctx, docker, args...)
		command.Stdout, command.Stderr = &out, &errs
		command.Env = []string{"DOCKER_HOST=" + server.env("DOCKER_HOST"), "HOME=" + home, "DOCKER_CONFIG=" + home, "TZ=UTC", "FROM_ENV=here", "DOCKER_CLI_HINTS=false"}
		_ = command.Run()
		return out.String(), errs.String(), command.ProcessState.ExitCode()
	})
}

// files runs every case of testdata through a command line.
func files(t *testing.T, command func(t *testing.T, server *world, args []string) (out, errs string, code int)) {
	t.Setenv("FROM_ENV", "here")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	datadriven.Walk(t, "testdata/docker", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var answer strings.Builder
			for line := range strings.SplitSeq(d.Input, "\n") {
				args, err := request.SplitWords(line)
				if err != nil {
					t.Fatalf("%s: %v", d.Pos, err)
				}
				server := newWorld(t)
				out, errs, code := command(t, server, args)
				for _, asked := range server.asked {
					answer.WriteString(asked + "\n")
				}
				show(&answer, "| ", out)
				show(&answer, "! ", errs)
				if code != 0 {
					fmt.Fprintf(&answer, "exit %d\n", code)
				}
			}
			return answer.String()
		})
	})
}

// show writes lines, each with a mark, in docker's name.
func show(answer *strings.Builder, mark, text string) {
	text = strings.ReplaceAll(text, "swarmctl", "docker")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:]{8}Z( +)`).ReplaceAllString(text, "<time>$1")
	text = regexp.MustCompile(` +(\n|$)`).ReplaceAllString(text, "$1")
	text = strings.ReplaceAll(text, "SRun '", "Run '")            // a slip of docker 28.2.2
	text = strings.ReplaceAll(text, "See 'docker", "Run 'docker") // docker says both
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		answer.WriteString(strings.TrimRight(mark+line, " ") + "\n")
	}
}

// A world answers requests with what is in a file, and keeps what was asked.
type world struct {
	answers map[string]json.RawMessage
	host    string

	resized chan struct{} // closed by the first resize

	lock  sync.Mutex
	asked []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	data, err := os.ReadFile("testdata/world.json")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{resized: make(chan struct{})}
	if err := json.Unmarshal(past(data), &w.answers); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.host = "tcp://" + strings.TrimPrefix(server.URL, "http://")
	return w
}

// past writes times for "<5s ago>" and "<unix 5s ago>".
func past(data []byte) []byte {
	return regexp.MustCompile(`"<(unix )?([0-9hms]+) ago>"`).ReplaceAllFunc(data, func(found []byte) []byte {
		word := strings.TrimSuffix(strings.TrimPrefix(strings.Trim(string(found), `"<>`), "unix "), " ago")
		age, err := time.ParseDuration(word)
		if err != nil {
			return found
		}
		at := time.Now().Add(-age)
		if bytes.Contains(found, []byte("unix")) {
			return fmt.Append(nil, at.Unix())
		}
		return fmt.Appendf(nil, "%q", at.UTC().Format(time.RFC3339Nano))
	})
}

func (w *world) env(name string) string {
	switch name {
	case "DOCKER_HOST":
		return w.host
	case "DOCKER_CONFIG":
		return os.Getenv(name)
	}
	return ""
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	out.Header().Set("Api-Version", "1.50")
	out.Header().Set("Ostype", "linux")
	if r.URL.Path == "/_ping" {
		return
	}
	w.record(r)
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	answer, ok := w.answers[r.Method+" /"+path]
	if !ok {
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(out, `{"message":"%s not found"}`, path)
		return
	}
	var text string
	if json.Unmarshal(answer, &text) != nil || strings.HasPrefix(path, "swarm/init") {
		out.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(out).Encode(w.resolve(answer))
		return
	}
	w.say(out, text)
}

// say answers with what is not simply JSON: a status and a body, or a stream.
func (w *world) say(out http.ResponseWriter, text string) {
	kind, rest, _ := strings.Cut(text, " ")
	status := 0
	switch _, err := fmt.Sscan(kind, &status); {
	case kind == "stream":
		out.Header().Set("Content-Type", "application/vnd.docker.multiplexed-stream")
		_, _ = stdcopyWriter(out, stdcopy.Stdout).Write([]byte(rest))
	case kind == "stream-json":
		out.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(out, rest)
	case kind == "resize":
		close(w.resized)
	case kind == "terminal":
		conn, buffer, err := http.NewResponseController(out).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = buffer.WriteString("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_ = buffer.Flush()
		<-w.resized
		key, _ := buffer.ReadByte()
		_, _ = fmt.Fprintf(buffer, "key %q", key)
		_ = buffer.Flush()
	case kind == "hijack":
		conn, buffer, err := http.NewResponseController(out).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = buffer.WriteString("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_, _ = stdcopyWriter(buffer, stdcopy.Stdout).Write([]byte(rest))
		_ = buffer.Flush()
	case err == nil && status >= http.StatusBadRequest:
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(status)
		_ = json.NewEncoder(out).Encode(map[string]string{"message": rest})
	case err == nil && status > 0:
		out.WriteHeader(status)
		_, _ = io.WriteString(out, rest)
	default:
		_, _ = io.WriteString(out, text)
	}
}

// resolve replaces {"$ref": answer} by that answer; the order of members stays.
func (w *world) resolve(answer json.RawMessage) json.RawMessage {
	var ref struct {
		Ref string `json:"$ref"`
	}
	if json.Unmarshal(answer, &ref) == nil && ref.Ref != "" {
		return w.resolve(w.answers[ref.Ref])
	}
	var items []json.RawMessage
	if json.Unmarshal(answer, &items) != nil {
		return answer
	}
	for i := range items {
		items[i] = w.resolve(items[i])
	}
	whole, _ := json.Marshal(items)
	return whole
}

// record writes a request down: the same question twice once, since how often a
// service is looked at is a matter of time.
func (w *world) record(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.Path
	var pairs []string
	for key, values := range r.URL.Query() {
		for _, value := range values {
			pair := key + "=" + value
			switch {
			case pair == "insertDefaults=false", pair == "tail=all":
				continue // docker says what goes without saying
			case pair == "insertDefaults=1":
				pair = "insertDefaults=true"
			case key == "since" && len(value) == len("1767225600"):
				pair = "since=<time>"
			}
			pairs = append(pairs, pair)
		}
	}
	slices.Sort(pairs)
	if len(pairs) > 0 {
		line += "?" + strings.Join(pairs, "&")
	}
	if auth := r.Header.Get("X-Registry-Auth"); auth != "" {
		line += " X-Registry-Auth: " + auth
	}
	var value any
	if json.Unmarshal(body, &value) == nil {
		sortPorts(value)
		if object, ok := value.(map[string]any); ok && strings.HasSuffix(r.URL.Path, "/exec") {
			delete(object, "Detach") // what counts is what start says
		}
		canonical, _ := json.MarshalIndent(value, "", " ")
		line += "\n" + string(canonical)
	} else if len(body) > 0 {
		line += fmt.Sprintf(" (%d bytes)", len(body))
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	if r.Method != http.MethodGet || !slices.Contains(w.asked, line) {
		w.asked = append(w.asked, line)
	}
}

// sortPorts orders published ports: docker leaves it to chance.
func sortPorts(body any) {
	object, _ := body.(map[string]any)
	endpoint, _ := object["EndpointSpec"].(map[string]any)
	ports, _ := endpoint["Ports"].([]any)
	slices.SortFunc(ports, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// stdcopyWriter frames what is written to a stream, as the API does.
func stdcopyWriter(out io.Writer, stream stdcopy.StdType) io.Writer {
	return framer{out, stream}
}

type framer struct {
	out    io.Writer
	stream stdcopy.StdType
}

func (f framer) Write(p []byte) (int, error) {
	n := len(p)
	_, err := f.out.Write(append([]byte{byte(f.stream), 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, p...))
	return n, err
}
