package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

// stopPeriodDefault is Docker's, for containers whose spec does not say.
const stopPeriodDefault = 10 * time.Second

// A Local is the node as the user of a docker CLI sees it. A ref is what a user
// types: an ID, a name, or an unambiguous prefix of an ID.
//
// Errors say what they are by the methods of github.com/containerd/errdefs, and
// their text is Docker's where it has one.
type Local struct{ r *Runtime }

// Local returns the node as the user of a docker CLI sees it.
func (r *Runtime) Local() *Local { return &Local{r} }

// Counts are how much there is on the node.
type Counts struct{ Running, Paused, Stopped, Images int }

// Counts says how much there is, without looking at each.
func (l *Local) Counts(ctx context.Context) (Counts, error) {
	var c Counts
	for _, i := range l.r.all() {
		if i.now().running() {
			c.Running++
		} else {
			c.Stopped++
		}
	}
	all, err := l.r.listImages(ctx)
	seen := make(map[string]bool)
	for _, image := range all {
		seen[image.id.String()] = true
	}
	c.Images = len(seen)
	return c, err
}

// find returns the container that a user means.
func (r *Runtime) find(ref string) (*instance, error) {
	name := strings.TrimPrefix(ref, "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.byID[ref]; i != nil {
		return i, nil
	}
	var found *instance
	for _, i := range r.byID {
		if i.name() == name {
			return i, nil
		}
	}
	for id, i := range r.byID {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, invalidf("multiple IDs found with provided prefix: %s", ref)
		}
		found = i
	}
	if found == nil {
		return nil, notFoundf("No such container: %s", ref)
	}
	return found, nil
}

// StopContainer sends signal ("" for the container's own), and kills after grace
// (nil for the container's own; negative waits as long as it takes).
func (l *Local) StopContainer(ctx context.Context, ref, signal string, grace *time.Duration) error {
	i, err := l.r.find(ref)
	if err != nil {
		return err
	}
	if !i.now().running() {
		return &failure{fmt.Sprintf("Container already stopped: %s", ref), errdefs.ErrNotModified}
	}
	period := stopPeriodDefault
	if own := i.record.Container.Spec.StopGracePeriod; own != nil {
		period = *own
	}
	if grace != nil {
		period = *grace
	}
	if period < 0 {
		period = 1 << 62
	}
	_, err = l.r.stop(ctx, i, signal, period)
	return err
}

// KillContainer sends a signal, SIGKILL if none is named.
func (l *Local) KillContainer(ctx context.Context, ref, name string) error {
	i, err := l.r.find(ref)
	if err != nil {
		return err
	}
	if name == "" {
		name = "SIGKILL"
	}
	number, err := stopSignal(name)
	if err != nil {
		return err
	}
	if !i.now().running() {
		return conflictf("cannot kill container: %s: container %s is not running", ref, i.id())
	}
	return l.r.signal(ctx, i, number, false)
}

// RemoveContainer removes a container; one that runs only with force.
func (l *Local) RemoveContainer(ctx context.Context, ref string, force bool) error {
	i, err := l.r.find(ref)
	if err != nil {
		return err
	}
	if i.now().running() && !force {
		return conflictf("cannot remove container %q: container is running: stop the container before removing or force remove", "/"+i.name())
	}
	return l.r.remove(ctx, i)
}

// WaitContainer returns when the container is in the condition asked for.
func (l *Local) WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (container.WaitResponse, error) {
	var answer container.WaitResponse
	i, err := l.r.find(ref)
	if err != nil {
		return answer, err
	}
	var wanted <-chan struct{} = i.exited
	now := i.now()
	switch condition {
	case container.WaitConditionRemoved:
		wanted = i.removed
	case container.WaitConditionNextExit:
		if !now.Finished.IsZero() { // it does not start again
			wanted = i.removed
		}
	case container.WaitConditionNotRunning, "":
		if !now.running() {
			return container.WaitResponse{StatusCode: int64(now.ExitCode)}, nil
		}
	default:
		return answer, invalidf("invalid condition: %q", string(condition))
	}
	select {
	case <-ctx.Done():
		return answer, ctx.Err()
	case <-l.r.ctx.Done():
		return answer, unavailablef("the daemon stops")
	case <-wanted:
	case <-i.removed:
	}
	l2 := i.now()
	answer.StatusCode = int64(l2.ExitCode)
	if l2.Error != "" {
		answer.Error = &container.WaitExitError{Message: l2.Error}
	}
	return answer, nil
}

// LogOptions restrict what of a log is read.
type LogOptions = logwriter.Options

// A LogLine is one line that a container wrote, or a part of a very long one.
type LogLine = logwriter.Line

// ContainerLogs hands each line to emit, oldest first, until there are no more,
// or with Follow until the container has ended or ctx has. An error of emit ends
// it and is returned.
func (l *Local) ContainerLogs(ctx context.Context, ref string, o LogOptions, emit func(LogLine) error) error {
	i, err := l.r.find(ref)
	if err != nil {
		return err
	}
	if i.record.LogDriver == logwriter.None {
		return unsupported("configured logging driver does not support reading")
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.r.ctx, cancel)()
	var refused error
	err = logwriter.Read(reading, filepath.Join(l.r.keepDir(i.id()), "log"), o, i.quiet(reading), func(line LogLine) error {
		refused = emit(line)
		return refused
	})
	if refused != nil || err == nil || errors.Is(err, context.Canceled) {
		return refused
	}
	return fmt.Errorf("cannot read the log of container %s: %w", i.id(), err)
}

// quiet is closed when the container writes no more, or ctx ends.
func (i *instance) quiet(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-i.exited:
		case <-i.removed:
		case <-ctx.Done():
		}
	}()
	return done
}
