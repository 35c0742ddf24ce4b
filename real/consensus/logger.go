package consensus

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newLogger returns a logger for raft that writes to slog. What raft calls an
// error is, in a distributed system, an ordinary day: it is a warning here, and
// the rest is for debugging.
func newLogger(to *slog.Logger) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	logger.RegisterSink(sink{to})
	return logger
}

type sink struct{ to *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	as := slog.LevelDebug
	if level >= hclog.Error {
		as = slog.LevelWarn
	}
	if s.to.Enabled(context.Background(), as) {
		s.to.Log(context.Background(), as, "raft: "+message, args...)
	}
}
