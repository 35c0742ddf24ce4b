package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) createExec(w http.ResponseWriter, r *http.Request) error {
	var request container.ExecCreateRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if len(request.Cmd) == 0 {
		return badRequest("No exec command specified")
	}
	id, err := s.runtime.CreateExec(r.Context(), r.PathValue("ref"), request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
	return nil
}

func (s *Server) inspectExec(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.runtime.Exec(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) resizeExec(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	height, err := strconv.ParseUint(query.Get("h"), 10, 16)
	if err != nil {
		return badRequest("invalid resize height %q: %v", query.Get("h"), err)
	}
	width, err := strconv.ParseUint(query.Get("w"), 10, 16)
	if err != nil {
		return badRequest("invalid resize width %q: %v", query.Get("w"), err)
	}
	if err := s.runtime.ResizeExec(r.Context(), r.PathValue("id"), uint(height), uint(width)); err != nil {
		return err
	}
	done(w)
	return nil
}

// startExec runs a process that was created, with its streams on the request's
// own connection, which stops being HTTP. What goes wrong before that has a
// status; what goes wrong later is written where the output goes, and the exit
// code tells the rest.
func (s *Server) startExec(w http.ResponseWriter, r *http.Request) error {
	var request container.ExecStartRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	id := r.PathValue("id")
	created, err := s.runtime.Exec(r.Context(), id)
	if err != nil {
		return err
	}
	if created.Running || created.ExitCode != nil && created.Pid != 0 {
		return fail(http.StatusConflict, "Error: Exec command %s is already running", id)
	}
	if request.Detach {
		go s.runDetached(context.WithoutCancel(r.Context()), id, request)
		done(w)
		return nil
	}
	if r.ProtoMajor != 1 {
		return badRequest("exec needs HTTP/1.1: its streams take the connection over")
	}
	return s.attachExec(w, r, id, request)
}

// runDetached runs a process whose output nobody reads. It ends by itself, or
// with its container.
func (s *Server) runDetached(ctx context.Context, id string, request container.ExecStartRequest) {
	err := s.runtime.StartExec(ctx, id, ExecStreams{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, ConsoleSize: request.ConsoleSize,
	})
	if err != nil {
		s.log.Warn("a detached exec failed", "exec", id, "error", err)
	}
}

func (s *Server) attachExec(w http.ResponseWriter, r *http.Request, id string, request container.ExecStartRequest) error {
	upgrade := r.Header.Get("Upgrade") != ""
	media := contentType(versionOf(r.Context()), request.Tty || !upgrade)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over the connection of exec %s: %w", id, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // The server stops.

	greeting := "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
	if upgrade {
		greeting = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + media + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	if _, err := io.WriteString(conn, greeting); err != nil {
		return errGone
	}
	out := &execOutput{conn: conn}
	streams := ExecStreams{
		Stdin:       stdinOf(buffered, conn),
		Stdout:      execWriter{out, streamStdout, request.Tty},
		Stderr:      execWriter{out, streamStderr, request.Tty},
		ConsoleSize: request.ConsoleSize,
	}
	if err := s.runtime.StartExec(ctx, id, streams); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintf(streams.Stdout, "%s\r\n", messageOf(err))
	}
	closeWrite(conn)
	return nil
}

// stdinOf reads what the server had read ahead, then the connection.
func stdinOf(buffered *bufio.ReadWriter, conn net.Conn) io.Reader {
	ahead := buffered.Reader.Buffered()
	if ahead == 0 {
		return conn
	}
	return io.MultiReader(io.LimitReader(buffered.Reader, int64(ahead)), conn)
}

// closeWrite tells the client that there is no more to read.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // The client may have gone first.
	}
}

// An execOutput is the connection that both streams of a process go to.
type execOutput struct {
	mu   sync.Mutex
	conn net.Conn
}

// An execWriter writes one of them; a terminal's goes out as it is.
type execWriter struct {
	out    *execOutput
	stream byte
	raw    bool
}

func (e execWriter) Write(b []byte) (int, error) {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	if e.raw {
		return e.out.conn.Write(b)
	}
	if _, err := e.out.conn.Write(frame(e.stream, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
