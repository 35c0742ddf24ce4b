package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// logLinesQueuedMax bounds the lines of a log that wait for their client; the
// runtime waits while it is reached.
const logLinesQueuedMax = 256

// The streams of Docker's multiplexed format.
const (
	streamStdout byte = 1
	streamStderr byte = 2
	streamSystem byte = 3 // ends the stream with an error
)

// frame is one piece of a multiplexed stream: eight bytes of header, payload.
func frame(stream byte, payload []byte) []byte {
	const header = 8
	framed := make([]byte, header, header+len(payload))
	framed[0] = stream
	binary.BigEndian.PutUint32(framed[4:], uint32(len(payload)))
	return append(framed, payload...)
}

// A logFormat is how lines are written for one client.
type logFormat struct {
	raw        bool // a terminal's: no frames
	details    bool
	timestamps bool
}

func logFormatOf(query url.Values, raw bool) logFormat {
	return logFormat{raw: raw, details: loose(query, "details"), timestamps: loose(query, "timestamps")}
}

// contentType is that of a log stream, or of an exec's: Docker tells framed
// streams from raw ones since API 1.42.
func contentType(v version, raw bool) string {
	if raw || !v.atLeast(42) {
		return "application/vnd.docker.raw-stream"
	}
	return "application/vnd.docker.multiplexed-stream"
}

// line renders a line: [timestamp ][details ]text.
func (f logFormat) line(line LogLine) []byte {
	var text []byte
	if f.timestamps {
		const fixed = "2006-01-02T15:04:05.000000000Z07:00" // sorts as text
		text = line.At.UTC().AppendFormat(text, fixed)
		text = append(text, ' ')
	}
	if f.details {
		text = append(text, details(line.Attributes)...)
		text = append(text, ' ')
	}
	text = append(text, line.Text...)
	switch {
	case f.raw:
		return text
	case line.Stderr:
		return frame(streamStderr, text)
	default:
		return frame(streamStdout, text)
	}
}

// details are comma-separated k=v, escaped, in the order of their keys.
func details(attributes map[string]string) string {
	pairs := make([]string, 0, len(attributes))
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		pairs = append(pairs, url.QueryEscape(key)+"="+url.QueryEscape(attributes[key]))
	}
	return strings.Join(pairs, ",")
}

// A source hands over the lines of one log until it ends.
type source func(ctx context.Context, emit func(LogLine) error) error

// A logStream gathers sources, which run side by side, into one answer.
type logStream struct {
	ctx    context.Context
	cancel context.CancelFunc
	lines  chan LogLine
	group  sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

func newLogStream(ctx context.Context) *logStream {
	ctx, cancel := context.WithCancel(ctx)
	return &logStream{ctx: ctx, cancel: cancel, lines: make(chan LogLine, logLinesQueuedMax)}
}

// add starts a source. Its error, if it is not the stream's ending, is told at
// the end.
func (l *logStream) add(from source) {
	l.group.Go(func() {
		err := from(l.ctx, func(line LogLine) error {
			select {
			case l.lines <- line:
				return nil
			case <-l.ctx.Done():
				return l.ctx.Err()
			}
		})
		if err != nil && l.ctx.Err() == nil {
			l.complain(err)
		}
	})
}

// complain has something told at the end, once.
func (l *logStream) complain(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.errs, func(told error) bool { return told.Error() == err.Error() }) {
		return
	}
	l.errs = append(l.errs, err)
}

// write writes lines until every source has ended or the client has gone, and
// returns when no source runs any more. Call it after the first add.
func (l *logStream) write(w http.ResponseWriter, format logFormat) error {
	ended := make(chan struct{})
	go func() {
		l.group.Wait()
		close(ended)
	}()
	defer func() {
		l.cancel()
		<-ended
	}()
	controller := http.NewResponseController(w)
	send := func(line LogLine) error {
		if _, err := w.Write(format.line(line)); err != nil {
			return errGone
		}
		if len(l.lines) > 0 {
			return nil
		}
		return controller.Flush()
	}
	if err := controller.Flush(); err != nil {
		return errGone
	}
	for {
		select {
		case <-l.ctx.Done():
			return nil
		case line := <-l.lines:
			if err := send(line); err != nil {
				return err
			}
		case <-ended:
			for len(l.lines) > 0 {
				if err := send(<-l.lines); err != nil {
					return err
				}
			}
			return errors.Join(l.errs...)
		}
	}
}

func (s *Server) serviceLogs(w http.ResponseWriter, r *http.Request) error {
	return s.swarmLogs(w, r, false)
}

func (s *Server) taskLogs(w http.ResponseWriter, r *http.Request) error {
	return s.swarmLogs(w, r, true)
}

// swarmLogs streams the logs of a service's tasks, or of one task's.
func (s *Server) swarmLogs(w http.ResponseWriter, r *http.Request, task bool) error {
	query := queryOf(r)
	options, err := logOptionsOf(query)
	if err != nil {
		return fail(http.StatusInternalServerError, "%s", err) // Docker's status.
	}
	followed := &follower{server: s, call: control.LogSources{Ref: r.PathValue("ref"), Task: task}, options: options, seen: map[state.TaskID]bool{}}
	sources, err := call[control.Sources](r.Context(), s.engine, followed.call)
	if err != nil {
		return err
	}
	info, err := call[control.NodeInfo](r.Context(), s.engine, control.Info{})
	if err != nil {
		return err
	}
	followed.self = state.NodeID(info.NodeID)

	w.Header().Set("Content-Type", contentType(versionOf(r.Context()), sources.TTY))
	w.WriteHeader(http.StatusOK)
	format := logFormatOf(query, sources.TTY)
	stream := newLogStream(r.Context())
	followed.take(stream, sources)
	if options.Follow {
		stream.group.Go(func() { followed.follow(stream) })
	}
	err = stream.write(w, format)
	if err == nil || errors.Is(err, errGone) || format.raw {
		return err
	}
	if _, err := w.Write(frame(streamSystem, []byte("Error grabbing logs: "+err.Error()+"\n"))); err != nil {
		return errGone
	}
	return nil
}

// A follower adds the tasks of a service to a stream, each once.
type follower struct {
	server  *Server
	call    control.LogSources
	options LogOptions
	self    state.NodeID
	seen    map[state.TaskID]bool
}

// take adds those tasks that have a container, on whatever node it is.
func (f *follower) take(stream *logStream, sources control.Sources) {
	for _, task := range sources.Tasks {
		if f.seen[task.ID] || task.Status.Container == "" {
			continue
		}
		f.seen[task.ID] = true
		stream.add(f.source(task))
	}
}

// read hands on the lines of one task's log, from the node that it is on. A node
// that cannot be reached is told of in Docker's words.
func (f *follower) read(ctx context.Context, task *state.Task, emit func(LogLine) error) error {
	if task.Node == f.self {
		return f.server.runtime.ContainerLogs(ctx, task.Status.Container, f.options, emit)
	}
	if f.server.nodes != nil {
		err := f.server.nodes.ContainerLogs(ctx, task.Node, task.Status.Container, f.options, emit)
		if err == nil || statusOf(err) == http.StatusNotFound || ctx.Err() != nil {
			return err
		}
		f.server.log.Warn("the log of a task could not be read", "task", task.ID, "node", task.Node, "error", err)
	}
	return fmt.Errorf("warning: incomplete log stream. some logs could not be retrieved "+
		"for the following reasons: node %s is not available", task.Node)
}

// source reads one task's log. That its container is gone is no fault: history
// outlives containers.
func (f *follower) source(task *state.Task) source {
	attributes := map[string]string{
		"com.docker.swarm.node.id":    string(task.Node),
		"com.docker.swarm.service.id": string(task.Service),
		"com.docker.swarm.task.id":    string(task.ID),
	}
	return func(ctx context.Context, emit func(LogLine) error) error {
		err := f.read(ctx, task, func(line LogLine) error {
			if len(line.Attributes) == 0 {
				line.Attributes = attributes
				return emit(line)
			}
			merged := maps.Clone(line.Attributes)
			maps.Copy(merged, attributes)
			line.Attributes = merged
			return emit(line)
		})
		if err != nil && statusOf(err) == http.StatusNotFound {
			return nil
		}
		return err
	}
}

// follow looks for new tasks until the stream ends or what is followed is gone.
func (f *follower) follow(stream *logStream) {
	ticker := time.NewTicker(sourcesInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stream.ctx.Done():
			return
		case <-ticker.C:
		}
		sources, err := call[control.Sources](stream.ctx, f.server.engine, f.call)
		if err != nil {
			if statusOf(err) == http.StatusNotFound {
				return
			}
			continue // No leader for a while: the tasks followed go on.
		}
		f.take(stream, sources)
		if f.call.Task && len(sources.Tasks) == 1 && sources.Tasks[0].Status.State.Terminal() {
			return // It will never write again.
		}
	}
}

// containerSource reads the log of one container of this node.
func (s *Server) containerSource(id string, options LogOptions) source {
	return func(ctx context.Context, emit func(LogLine) error) error {
		return s.runtime.ContainerLogs(ctx, id, options, emit)
	}
}
