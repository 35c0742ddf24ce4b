package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/swarmd/swarmd/engine"
)

// Limits of health checks, Docker's.
const (
	probeOutputBytesMax = 4096
	probeTimeoutDefault = 30 * time.Second
	probesKept          = 5
	retriesDefault      = 3
	codeNoProbe         = -1 // of a check that could not be run, or took too long
)

// probe runs a health check inside a container.
func (r *Runtime) probe(ctx context.Context, e engine.ProbeContainer) (healthy bool, output string) {
	i := r.instance(e.Task)
	if i == nil || !i.now().running() {
		return false, "the container does not run"
	}
	leave, err := r.probes.enter(ctx)
	if err != nil {
		return false, err.Error()
	}
	defer leave()
	r.holdHealth(i, container.HealthStatus(e.Health))
	result := r.check(ctx, i, e)
	r.noteProbe(i, result)
	return result.ExitCode == 0, result.Output
}

// check runs the command and says what came of it.
func (r *Runtime) check(ctx context.Context, i *instance, e engine.ProbeContainer) container.HealthcheckResult {
	result := container.HealthcheckResult{Start: time.Now(), ExitCode: codeNoProbe}
	command, err := probeCommand(i.record.Shell, e.Command)
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = probeTimeoutDefault
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out limitedBuffer
	if err == nil {
		result.ExitCode, err = r.runProbe(limited, i, command, &out)
	}
	result.End = time.Now()
	switch {
	case errors.Is(limited.Err(), context.DeadlineExceeded) && err != nil:
		result.ExitCode = codeNoProbe
		result.Output = fmt.Sprintf("Health check exceeded timeout (%s)", timeout)
		if text := out.text(); text != "" {
			result.Output += ": " + text
		}
	case err != nil:
		result.ExitCode, result.Output = codeNoProbe, err.Error()
	default:
		result.Output = out.text()
	}
	return result
}

func (r *Runtime) runProbe(ctx context.Context, i *instance, command []string, out *limitedBuffer) (int, error) {
	process, err := r.baseProcess(ctx, i)
	if err != nil {
		return codeNoProbe, err
	}
	process.Args, process.Terminal = command, false
	id := randomID()
	r.tellExec(i, events.ActionExecCreate, id, command, nil)
	r.tellExec(i, events.ActionExecStart, id, command, nil)
	code, err := r.runExec(ctx, i, id, process, streams{stdout: out, stderr: out}, func(int) {})
	r.tellExec(i, events.ActionExecDie, id, nil, &code)
	return code, err
}

// probeCommand is what a HealthConfig's Test runs.
func probeCommand(shell, test []string) ([]string, error) {
	if len(test) < 2 {
		return nil, fmt.Errorf("the health check has no command: %q", test)
	}
	switch test[0] {
	case "CMD":
		return test[1:], nil
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(slices.Clone(shell), test[1]), nil
	default:
		return nil, fmt.Errorf("unknown type %q of health check: CMD or CMD-SHELL expected", test[0])
	}
}

// holdHealth takes in what the engine holds of a container's health.
func (r *Runtime) holdHealth(i *instance, status container.HealthStatus) {
	i.mu.Lock()
	changed := status != "" && i.health.Status != "" && i.health.Status != status
	if status != "" {
		i.health.Status = status
	}
	i.mu.Unlock()
	if changed {
		r.tellHealth(i, status)
	}
}

func (r *Runtime) tellHealth(i *instance, status container.HealthStatus) {
	r.tell(i, events.Action(string(events.ActionHealthStatus)+": "+string(status)), nil)
}

// noteProbe keeps a result for inspection. The engine judges by itself; what is
// shown until it says more is judged by the same rules.
func (r *Runtime) noteProbe(i *instance, result container.HealthcheckResult) {
	i.mu.Lock()
	h := &i.health
	before := h.Status
	h.Log = append(slices.Clone(h.Log), &result)
	h.Log = h.Log[max(0, len(h.Log)-probesKept):]
	retries, grace := retriesDefault, time.Duration(0)
	if c := i.record.Health; c != nil {
		grace = c.StartPeriod
		if c.Retries > 0 {
			retries = c.Retries
		}
	}
	starting := before != container.Healthy && before != container.Unhealthy && result.Start.Sub(i.life.Started) < grace
	switch {
	case result.ExitCode == 0:
		h.Status, h.FailingStreak = container.Healthy, 0
	case starting:
	default:
		h.FailingStreak++
		if h.FailingStreak >= retries {
			h.Status = container.Unhealthy
		}
	}
	after := h.Status
	i.mu.Unlock()
	if before != after {
		r.tellHealth(i, after)
	}
}

// healthNow is what is shown of a container's health; nil without a check.
func (i *instance) healthNow() *container.Health {
	c := i.record.Health
	i.mu.Lock()
	defer i.mu.Unlock()
	isChecked := c != nil && len(c.Test) > 0 && c.Test[0] != "NONE"
	if !isChecked && i.health.Status == "" {
		return nil
	}
	h := i.health
	h.Log = slices.Clone(h.Log)
	if h.Status == "" {
		h.Status = container.Starting
	}
	return &h
}

// A limitedBuffer keeps the beginning of what is written. Two may write at once.
type limitedBuffer struct {
	mu   sync.Mutex
	kept bytes.Buffer
	more bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := probeOutputBytesMax - b.kept.Len()
	if len(p) > room {
		b.more = true
	}
	b.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (b *limitedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more {
		return b.kept.String() + "..."
	}
	return b.kept.String()
}
