package apitest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/volume"

	"github.com/swarmd/swarmd/real/api"
)

// A Runtime is an api.Runtime of made-up images and the containers of a swarm in
// memory. Its processes are simple: each container has written the same few
// lines, and an exec writes back what it reads, in upper case, then its command
// to its standard error.
type Runtime struct {
	Swarm *Swarm // nil: there are no containers

	mu       sync.Mutex
	execs    map[string]*exec
	watchers map[chan events.Message]struct{}
	Calls    []string // what was asked that changes something
}

type exec struct {
	container string
	request   container.ExecCreateRequest
	ended     bool
}

// A refusal is an error that says what it is by a method.
type refusal struct{ message string }

func (r refusal) Error() string { return r.message }

// missing is what is not there.
type missing struct{ refusal }

// NotFound marks it so.
func (missing) NotFound() {}

func notFound(format string, args ...any) error {
	return missing{refusal{fmt.Sprintf(format, args...)}}
}

func (r *Runtime) called(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Calls = append(r.Calls, fmt.Sprintf(format, args...))
}

// Changes are the calls that changed something, oldest first.
func (r *Runtime) Changes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.Calls...)
}

// Tell has an event of this node happen.
func (r *Runtime) Tell(event events.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		w <- event
	}
}

// Counts implements api.Runtime.
func (r *Runtime) Counts(context.Context) (api.Counts, error) {
	counts := api.Counts{Images: 1}
	for _, c := range r.all() {
		if c.Running {
			counts.Running++
		} else {
			counts.Stopped++
		}
	}
	return counts, nil
}

// Events implements api.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan events.Message {
	told := make(chan events.Message, 16)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watchers == nil {
		r.watchers = map[chan events.Message]struct{}{}
	}
	r.watchers[told] = struct{}{}
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, told)
		close(told)
	})
	return told
}

const imageID = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// Images implements api.Images.
func (*Runtime) Images(context.Context) ([]image.Summary, error) {
	return []image.Summary{{
		ID: imageID, RepoTags: []string{"nginx:alpine"}, RepoDigests: []string{}, Created: 1700000000, Size: 12345678,
		Labels: map[string]string{"maintainer": "nobody"}, SharedSize: -1, Containers: -1,
	}}, nil
}

// Image implements api.Images.
func (*Runtime) Image(_ context.Context, ref string) (image.InspectResponse, error) {
	if ref != "nginx:alpine" && ref != "nginx" && !strings.HasPrefix(imageID, "sha256:"+strings.TrimPrefix(ref, "sha256:")) {
		return image.InspectResponse{}, notFound("No such image: %s", ref)
	}
	return image.InspectResponse{ID: imageID, RepoTags: []string{"nginx:alpine"}, Architecture: "amd64", Os: "linux", Size: 12345678}, nil
}

// PullImage implements api.Images.
func (r *Runtime) PullImage(_ context.Context, ref, platform, auth string, progress api.Progress) error {
	if strings.Contains(ref, "missing") {
		return notFound("manifest for %s not found: manifest unknown: manifest unknown", ref)
	}
	r.called("pull %s %s %s", ref, platform, auth)
	progress(jsonstream.Message{Status: "Pulling from library/" + ref})
	if strings.Contains(ref, "broken") {
		return errors.New("unexpected EOF")
	}
	progress(jsonstream.Message{Status: "Status: Downloaded newer image for " + ref})
	return nil
}

// LoadImages implements api.Images.
func (r *Runtime) LoadImages(_ context.Context, archive io.Reader, progress api.Progress) error {
	n, err := io.Copy(io.Discard, archive)
	r.called("load %d bytes", n)
	if err == nil {
		progress(jsonstream.Message{Stream: "Loaded image: nginx:alpine\n"})
	}
	return err
}

// SaveImages implements api.Images.
func (*Runtime) SaveImages(_ context.Context, refs []string, archive io.Writer) error {
	if _, err := fmt.Fprintf(archive, "archive of %s", strings.Join(refs, " ")); err != nil {
		return err
	}
	if refs[0] == "sha256:aaaa" {
		return errors.New("input/output error")
	}
	return nil
}

// ImportImage implements api.Images.
func (r *Runtime) ImportImage(_ context.Context, layer io.Reader, options api.ImportOptions) (string, error) {
	n, err := io.Copy(io.Discard, layer)
	r.called("import %d bytes as %s", n, options.Ref)
	return imageID, err
}

// TagImage implements api.Images.
func (r *Runtime) TagImage(_ context.Context, source, target string) error {
	r.called("tag %s %s", source, target)
	return nil
}

// RemoveImage implements api.Images.
func (r *Runtime) RemoveImage(_ context.Context, ref string, _ bool) ([]image.DeleteResponse, error) {
	if ref != "nginx:alpine" {
		return nil, notFound("No such image: %s", ref)
	}
	r.called("remove image %s", ref)
	return []image.DeleteResponse{{Untagged: ref}, {Deleted: imageID}}, nil
}

// PruneImages implements api.Images.
func (r *Runtime) PruneImages(_ context.Context, all bool) (image.PruneReport, error) {
	r.called("prune images, all %v", all)
	return image.PruneReport{SpaceReclaimed: 42}, nil
}

// Distribution implements api.Images: there is no registry.
func (*Runtime) Distribution(_ context.Context, ref, _ string) (registry.DistributionInspect, error) {
	return registry.DistributionInspect{}, fmt.Errorf("no registry has %s", ref)
}

// Login implements api.Images.
func (*Runtime) Login(_ context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	return registry.AuthResponse{Status: "Login Succeeded for " + auth.Username}, nil
}

func (r *Runtime) all() []Container {
	if r.Swarm == nil {
		return nil
	}
	return r.Swarm.Containers()
}

// Containers implements api.Containers.
func (r *Runtime) Containers(context.Context) ([]container.Summary, error) {
	var all []container.Summary
	for _, c := range r.all() {
		s := container.Summary{
			ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Spec.Image, ImageID: imageID, Command: "nginx", Created: c.Created.Unix(),
			Labels: c.Labels, State: container.StateRunning, Status: "Up 2 seconds", Ports: []container.PortSummary{},
		}
		if !c.Running {
			s.State, s.Status = container.StateExited, fmt.Sprintf("Exited (%d) 1 second ago", c.ExitCode)
		}
		all = append(all, s)
	}
	return all, nil
}

func (r *Runtime) find(ref string) (Container, error) {
	for _, c := range r.all() {
		if c.Name == strings.TrimPrefix(ref, "/") || strings.HasPrefix(c.ID, ref) {
			return c, nil
		}
	}
	return Container{}, notFound("No such container: %s", ref)
}

// Container implements api.Containers.
func (r *Runtime) Container(_ context.Context, ref string) (container.InspectResponse, error) {
	c, err := r.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	status := container.StateRunning
	if !c.Running {
		status = container.StateExited
	}
	return container.InspectResponse{
		ID: c.ID, Name: "/" + c.Name, Created: c.Created.UTC().Format(time.RFC3339Nano), Image: imageID, Path: "nginx", Args: []string{},
		State:      &container.State{Status: status, Running: c.Running, ExitCode: c.ExitCode, Pid: 4711},
		Config:     &container.Config{Hostname: "h", Image: c.Spec.Image, Labels: c.Labels, Tty: c.Spec.TTY},
		HostConfig: &container.HostConfig{}, Mounts: []container.MountPoint{},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{}},
	}, nil
}

// ContainerLogs implements api.Containers.
func (r *Runtime) ContainerLogs(ctx context.Context, ref string, options api.LogOptions, emit func(api.LogLine) error) error {
	if _, err := r.find(ref); err != nil {
		return err
	}
	at := time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC)
	lines := []api.LogLine{{At: at, Text: []byte("ready\n")}, {At: at.Add(time.Second), Text: []byte("oops\n"), Stderr: true}, {At: at.Add(time.Minute), Text: []byte("last")}}
	if options.Tail >= 0 && options.Tail < len(lines) {
		lines = lines[len(lines)-options.Tail:]
	}
	for _, line := range lines {
		if line.Stderr && !options.Stderr || !line.Stderr && !options.Stdout || line.At.Before(options.Since) {
			continue
		}
		if err := emit(line); err != nil {
			return err
		}
	}
	if options.Follow {
		<-ctx.Done()
	}
	return nil
}

// StopContainer implements api.Containers.
func (r *Runtime) StopContainer(_ context.Context, ref, signal string, grace *time.Duration) error {
	c, err := r.find(ref)
	if err != nil {
		return err
	}
	text := "its own"
	if grace != nil {
		text = grace.String()
	}
	r.called("stop %s with %q after %s", c.Name, signal, text)
	return nil
}

// KillContainer implements api.Containers.
func (r *Runtime) KillContainer(_ context.Context, ref, signal string) error {
	c, err := r.find(ref)
	if err == nil {
		r.called("kill %s with %q", c.Name, signal)
	}
	return err
}

// RemoveContainer implements api.Containers.
func (r *Runtime) RemoveContainer(_ context.Context, ref string, force bool) error {
	c, err := r.find(ref)
	if err == nil {
		r.called("remove %s, force %v", c.Name, force)
	}
	return err
}

// WaitContainer implements api.Containers: containers have ended with 0.
func (r *Runtime) WaitContainer(_ context.Context, ref string, _ container.WaitCondition) (container.WaitResponse, error) {
	_, err := r.find(ref)
	return container.WaitResponse{StatusCode: 0}, err
}

// TopContainer implements api.Containers.
func (r *Runtime) TopContainer(_ context.Context, ref, _ string) (container.TopResponse, error) {
	_, err := r.find(ref)
	return container.TopResponse{Titles: []string{"PID", "CMD"}, Processes: [][]string{{"1", "nginx"}}}, err
}

// StatsContainer implements api.Containers.
func (r *Runtime) StatsContainer(_ context.Context, ref string) (container.StatsResponse, error) {
	c, err := r.find(ref)
	return container.StatsResponse{ID: c.ID, Name: c.Name}, err
}

// CreateExec implements api.Execs.
func (r *Runtime) CreateExec(_ context.Context, ref string, request container.ExecCreateRequest) (string, error) {
	c, err := r.find(ref)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.execs == nil {
		r.execs = map[string]*exec{}
	}
	id := fmt.Sprintf("%064x", len(r.execs)+1)
	r.execs[id] = &exec{container: c.ID, request: request}
	return id, nil
}

func (r *Runtime) exec(id string) (*exec, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.execs[id]; e != nil {
		return e, nil
	}
	return nil, notFound("No such exec instance: %s", id)
}

// StartExec implements api.Execs.
func (r *Runtime) StartExec(_ context.Context, id string, streams api.ExecStreams) error {
	e, err := r.exec(id)
	if err != nil {
		return err
	}
	if e.request.AttachStdin {
		lines := bufio.NewScanner(streams.Stdin)
		for lines.Scan() && lines.Text() != "exit" {
			fmt.Fprintf(streams.Stdout, "%s\n", strings.ToUpper(lines.Text()))
		}
	}
	to := streams.Stderr
	if e.request.Tty {
		to = streams.Stdout
	}
	fmt.Fprintf(to, "%s\n", strings.Join(e.request.Cmd, " "))
	r.mu.Lock()
	defer r.mu.Unlock()
	e.ended = true
	return nil
}

// ResizeExec implements api.Execs.
func (r *Runtime) ResizeExec(_ context.Context, id string, height, width uint) error {
	_, err := r.exec(id)
	r.called("resize %d %d", height, width)
	return err
}

// Exec implements api.Execs.
func (r *Runtime) Exec(_ context.Context, id string) (container.ExecInspectResponse, error) {
	e, err := r.exec(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	answer := container.ExecInspectResponse{ID: id, ContainerID: e.container, OpenStdin: e.request.AttachStdin}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ended {
		code := 0
		answer.ExitCode, answer.Pid = &code, 4712
	}
	return answer, nil
}

// Volumes implements api.Volumes.
func (*Runtime) Volumes(context.Context) ([]volume.Volume, error) {
	return []volume.Volume{{Name: "data", Driver: "local", Scope: "local", Mountpoint: "/data", Labels: map[string]string{}}}, nil
}

// RemoveVolume implements api.Volumes.
func (r *Runtime) RemoveVolume(_ context.Context, name string, _ bool) error {
	if name != "data" {
		return notFound("get %s: no such volume", name)
	}
	r.called("remove volume %s", name)
	return nil
}
