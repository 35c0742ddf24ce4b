package consensus

import (
	"context"
	"io"
	"log/slog"
	"strings"

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

// unreached reports whether raft says, as it does several times a second, that a
// manager cannot be reached; whoever keeps links to managers has said so once.
func unreached(message string) bool {
	return strings.HasPrefix(message, "failed to heartbeat to") || strings.HasPrefix(message, "failed to appendEntries to") ||
		strings.HasPrefix(message, "failed to make requestVote") || strings.HasPrefix(message, "failed to make requestPreVote")
}

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	as := slog.LevelDebug
	if level >= hclog.Error && !unreached(message) {
		as = slog.LevelWarn
	}
	if s.to.Enabled(context.Background(), as) {
		s.to.Log(context.Background(), as, "raft: "+message, args...)
	}
}
