package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"
)

// Limits of stopping.
const (
	killPeriod  = 10 * time.Second // after which a killed container is killed again
	killsMax    = 3                // then it counts as one that cannot be stopped
	defaultStop = "SIGTERM"
)

// stop ends a container: its signal, the grace, then a kill. It reports whether
// the exit was told while it waited, in which case nobody need tell it again.
func (r *Runtime) stop(ctx context.Context, i *instance, name string, grace time.Duration) (told bool, err error) {
	// One that is just being started is waited for.
	i.op.Lock()
	i.mu.Lock()
	running := i.life.running()
	if running {
		i.stops++
	}
	i.mu.Unlock()
	i.op.Unlock()
	if !running {
		return false, nil
	}
	defer func() {
		i.mu.Lock()
		i.stops--
		i.mu.Unlock()
	}()
	number, err := stopSignal(name, i.record.StopSignal)
	if err != nil {
		return false, err
	}
	if grace > 0 || number == unix.SIGKILL {
		if err := r.signal(ctx, i, number, false); err != nil {
			return false, err
		}
		if awaitClosed(ctx, i.exited, grace) {
			r.tell(i, events.ActionStop, nil)
			return true, nil
		}
	}
	for range killsMax {
		if err := r.signal(ctx, i, unix.SIGKILL, true); err != nil {
			return false, err
		}
		if awaitClosed(ctx, i.exited, killPeriod) {
			r.tell(i, events.ActionStop, nil)
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return false, fmt.Errorf("container %s does not end, though it was killed %d times", i.id(), killsMax)
}

// signal sends a signal to the container's first process, or to all of them. A
// process that is gone needs none.
func (r *Runtime) signal(ctx context.Context, i *instance, number unix.Signal, all bool) error {
	r.tell(i, events.ActionKill, map[string]string{"signal": fmt.Sprint(int(number))})
	err := r.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: i.id(), Signal: uint32(number), All: all})
		return err
	})
	if err = native(err); errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot send signal %d to container %s: %w", number, i.id(), err)
	}
	return nil
}

// stopSignal is the signal to stop with: what was asked for, else what the
// container has.
func stopSignal(names ...string) (unix.Signal, error) {
	for _, name := range append(names, defaultStop) {
		if name == "" {
			continue
		}
		number, err := signal.ParseSignal(name)
		if err != nil {
			return 0, invalidf("Invalid signal: %s", name)
		}
		return number, nil
	}
	return 0, errors.New("there is no signal to stop with")
}

// awaitClosed waits for a channel to be closed; it reports false when the time
// is over first, or ctx.
func awaitClosed(ctx context.Context, closed <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	}
}
