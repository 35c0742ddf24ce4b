package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/runtime"
)

// Of streams of log lines between nodes.
const (
	streamLogs       = "logs"
	logFrameBytesMax = 4 << 20
	logAlivePeriod   = 2 * time.Second  // between signs of life while nothing is logged
	logSilenceMax    = 8 * time.Second  // without one the node is taken for lost
	logWritePeriod   = 30 * time.Second // for a manager whose client is slow
	logFrameHeader   = 4
)

// A streamRequest says what a stream is to carry.
type streamRequest struct {
	Kind      string
	Container string
	Options   runtime.LogOptions
}

// A logFrame is one piece of a log on its way: a line, or the end. A frame of no
// length is a sign of life.
type logFrame struct {
	Line    *runtime.LogLine `json:",omitempty"`
	Missing bool             `json:",omitempty"` // the container is not there
	Error   string           `json:",omitempty"` // why it ends
}

// streamsOf serves what managers ask of this node.
type streamsOf struct{ local *runtime.Local }

// serve serves one stream.
func (s streamsOf) serve(ctx context.Context, request []byte, stream net.Conn) error {
	var r streamRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return fmt.Errorf("a request for a stream cannot be read: %w", err)
	}
	if r.Kind != streamLogs {
		return fmt.Errorf("streams of kind %.40q are not served", r.Kind)
	}
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stream.Close()
	defer cancel()
	w := &logSender{stream: stream}
	beside.Go(func() { // the manager says nothing: what can be read is that it has gone
		_, _ = io.Copy(io.Discard, stream)
		cancel()
	})
	beside.Go(func() { w.live(ctx) })
	err := s.local.ContainerLogs(ctx, r.Container, r.Options, func(line runtime.LogLine) error { return w.write(logFrame{Line: &line}) })
	end := logFrame{}
	if err != nil {
		end.Error = err.Error()
		var missing interface{ NotFound() }
		end.Missing = errors.As(err, &missing)
	}
	if ctx.Err() != nil {
		return err
	}
	return w.write(end)
}

// A logSender writes frames from several goroutines.
type logSender struct {
	mu     sync.Mutex
	stream net.Conn
}

func (w *logSender) write(f logFrame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return w.raw(body)
}

func (w *logSender) raw(body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.stream.SetWriteDeadline(time.Now().Add(logWritePeriod)); err != nil {
		return err
	}
	_, err := w.stream.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, logFrameHeader+len(body)), uint32(len(body))), body...))
	return err
}

// live says now and then that the node is there.
func (w *logSender) live(ctx context.Context) {
	alive := time.NewTicker(logAlivePeriod)
	defer alive.Stop()
	for {
		select {
		case <-alive.C:
			if w.raw(nil) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// remoteLogs reads the logs of other nodes.
type remoteLogs struct{ peers *peers }

// A missingError says that a container is not there.
type missingError struct{ text string }

// Error is the node's text.
func (e missingError) Error() string { return e.text }

// NotFound marks the error, as those of the runtime are.
func (missingError) NotFound() {}

// ContainerLogs hands on the lines of a container's log on another node.
func (r remoteLogs) ContainerLogs(ctx context.Context, node state.NodeID, ref string, options api.LogOptions, emit func(api.LogLine) error) error {
	request, err := json.Marshal(streamRequest{Kind: streamLogs, Container: ref, Options: runtime.LogOptions(options)})
	if err != nil {
		return err
	}
	stream, err := r.peers.OpenStream(ctx, node, request)
	if err != nil {
		return err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	for {
		frame, err := readLogFrame(stream)
		switch {
		case err != nil:
			return err
		case frame == nil: // a sign of life
		case frame.Line != nil:
			if err := emit(api.LogLine(*frame.Line)); err != nil {
				return err
			}
		case frame.Missing:
			return missingError{frame.Error}
		case frame.Error != "":
			return errors.New(frame.Error)
		default:
			return nil
		}
	}
}

func readLogFrame(stream net.Conn) (*logFrame, error) {
	if err := stream.SetReadDeadline(time.Now().Add(logSilenceMax)); err != nil {
		return nil, err
	}
	var header [logFrameHeader]byte
	if _, err := io.ReadFull(stream, header[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[:])
	switch {
	case length == 0:
		return nil, nil
	case length > logFrameBytesMax:
		return nil, fmt.Errorf("a piece of a log has %d bytes: at most %d are read", length, logFrameBytesMax)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(stream, body); err != nil {
		return nil, err
	}
	var f logFrame
	return &f, json.Unmarshal(body, &f)
}
