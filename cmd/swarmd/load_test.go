package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	loadRequests = "5000"
	loadPeriod   = 4 * time.Minute
)

// No request is lost while a service is updated and scaled, a node drained, a daemon
// and the leader killed: scenarios/bench's load, with fewer requests.
func TestNoRequestIsLost(t *testing.T) {
	p := needHosts(t)
	bench := filepath.Join(p.dir, "bench")
	build := exec.Command("go", "build", "-o", bench, "../../scenarios/bench")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), loadPeriod)
	defer cancel()
	load := exec.CommandContext(ctx, bench, "-only", "load", "-swarmd", p.swarmd, "-requests", loadRequests)
	load.Cancel = func() error { return load.Process.Signal(os.Interrupt) } // it takes its hosts away
	load.WaitDelay = time.Minute
	out, err := load.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
