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
	loadPause    = "50ms" // so that there are not many more
	loadPeriod   = 4 * time.Minute
	cycles       = "20"
)

// No request is lost while a service is updated and scaled, a node drained, a daemon
// and the leader killed: scenarios/bench's load, with fewer requests.
func TestNoRequestIsLost(t *testing.T) {
	runBench(t, "-only", "load", "-requests", loadRequests, "-pause", loadPause)
}

// Services and networks that come and go leave nothing behind.
func TestCyclesLeaveNothing(t *testing.T) {
	runBench(t, "-only", "cycles", "-cycles", cycles)
}

// runBench runs scenarios/bench, which fails if what it measures is not as it should
// be.
func runBench(t *testing.T, arguments ...string) {
	t.Helper()
	p := needHosts(t)
	bench := filepath.Join(p.dir, "bench")
	build := exec.Command("go", "build", "-o", bench, "../../scenarios/bench")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), loadPeriod)
	defer cancel()
	c := exec.CommandContext(ctx, bench, append([]string{"-swarmd", p.swarmd}, arguments...)...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it takes its hosts away
	c.WaitDelay = time.Minute
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
