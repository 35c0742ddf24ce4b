package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path"
	"runtime/debug"

	"github.com/moby/moby/api/types/common"
)

// A trackedWriter knows whether the answer has begun, and with which status.
type trackedWriter struct {
	http.ResponseWriter
	status   int
	hijacked bool
}

func (w *trackedWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackedWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush sends what has been written.
func (w *trackedWriter) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	// A writer that cannot flush is a connection that has gone.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over.
func (w *trackedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	w.status = http.StatusSwitchingProtocols
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begun reports whether it is too late for another status.
func begun(w http.ResponseWriter) bool {
	tracked, ok := w.(*trackedWriter)
	return ok && (tracked.status != 0 || tracked.hijacked)
}

// refuse answers with an error in Docker's form. Once an answer has begun the
// stream can only be broken off, and the log says why. A client that has gone is
// answered all the same: it may only have ended its half of the connection, and
// without an answer net/http would tell it that all is well.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	gone := r.Context().Err() != nil
	if begun(w) {
		if !gone {
			s.log.Warn("an API answer broke off", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		return
	}
	status := statusOf(err)
	if status == http.StatusInternalServerError && !gone {
		s.log.Warn("an API request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeJSON(w, status, common.ErrorResponse{Message: messageOf(err)})
}

// refuseVersion answers clients that are too old in plain text, as dockerd
// does: they cannot read errors in JSON.
func (s *Server) refuseVersion(w http.ResponseWriter, r *http.Request, err error) {
	if v, _, found := splitVersion(r.URL.Path); !found || !v.less(oldest()) {
		s.refuse(w, r, err)
		return
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// writeJSON answers with a value. An error while writing is the client's
// leaving, which nobody is left to be told of.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = encoderOf(w).Encode(value)
}

// encoderOf encodes as Docker does: < and & as they are.
func encoderOf(w http.ResponseWriter) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

// writeList answers with a list, one element at a time: a hundred thousand
// tasks are not rendered into memory together. An empty list is [], never null.
func writeList[T, R any](w http.ResponseWriter, elements []T, render func(int, T) R) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	buffered := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	_ = buffered.WriteByte('[')
	for i, element := range elements {
		if i > 0 {
			_ = buffered.WriteByte(',')
		}
		if encoder.Encode(render(i, element)) != nil {
			return // The client has gone.
		}
	}
	_, _ = buffered.WriteString("]\n")
	_ = buffered.Flush()
}

// clean reports whether a path is as the routes have it: the mux would answer
// others with a redirection, Docker with 404.
func clean(p string) bool {
	return p != "" && (path.Clean(p) == p || p == profileIndex)
}

func stack() string { return string(debug.Stack()) }

// errGone ends a stream whose client has gone.
var errGone = errors.New("the client has gone")
