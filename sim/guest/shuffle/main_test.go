package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The scheduler of the Go release in use is the one that is known, and another one is
// refused.
func TestShuffled(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(runtime.GOROOT(), "src", "runtime", "proc.go")) //nolint:staticcheck // a test runs where it was built
	if err != nil {
		t.Skip("the source of Go is not here:", err)
	}
	changed, err := shuffled(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(changed, "cheaprandn(n)") != strings.Count(string(text), "cheaprandn(n)")+1 || len(changed) != len(text)+len(drawn) {
		t.Error("something else is changed")
	}
	if _, err := shuffled(changed); err == nil {
		t.Error("a scheduler that is not known is changed")
	}
}
