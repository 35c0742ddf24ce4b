package main

import (
	"bytes"
	"strings"
	"testing"
)

// The help says what the command takes, among it what a host is told that has
// another address than before.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs([]string{"--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--advertise-addr", "--listen-addr", "--data-dir", "--host"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("the help has nothing of %s:\n%s", flag, out.String())
		}
	}
	if !strings.Contains(out.String(), "whose address has changed") {
		t.Errorf("the help does not say what to do when a host's address changes:\n%s", out.String())
	}
}
