package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBeside finds a small program where it is installed, and nothing where it is
// not, or cannot be run.
func TestBeside(t *testing.T) {
	dir := t.TempDir()
	daemon, small := filepath.Join(dir, "swarmd"), filepath.Join(dir, logWriterProgram)
	if got := beside(daemon, logWriterProgram); got != "" {
		t.Errorf("alone: %s", got)
	}
	if err := os.WriteFile(small, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := beside(daemon, logWriterProgram); got != "" {
		t.Errorf("beside a file that is no program: %s", got)
	}
	if err := os.Chmod(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := beside(daemon, logWriterProgram); got != small {
		t.Errorf("beside the program: %s", got)
	}
}
