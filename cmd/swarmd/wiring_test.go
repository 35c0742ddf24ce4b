package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLogWriter takes the small program where it is installed, and the daemon's
// own file where it is not, or cannot be run.
func TestLogWriter(t *testing.T) {
	dir := t.TempDir()
	daemon, small := filepath.Join(dir, "swarmd"), filepath.Join(dir, logWriterProgram)
	if got := logWriter(daemon); got != daemon {
		t.Errorf("alone: %s", got)
	}
	if err := os.WriteFile(small, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := logWriter(daemon); got != daemon {
		t.Errorf("beside a file that is no program: %s", got)
	}
	if err := os.Chmod(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := logWriter(daemon); got != small {
		t.Errorf("beside the program: %s", got)
	}
}
