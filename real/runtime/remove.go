package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"
)

// remove makes a container be gone, killing it if it runs.
func (r *Runtime) remove(ctx context.Context, i *instance) error {
	if i.now().running() {
		if _, err := r.stop(ctx, i, "SIGKILL", killPeriod); err != nil {
			return err
		}
	}
	i.op.Lock()
	defer i.op.Unlock()
	select {
	case <-i.removed:
		return nil
	default:
	}
	if err := r.retry(ctx, func(ctx context.Context) error { return r.erase(ctx, i) }); err != nil {
		return err
	}
	r.releaseVolumes(i)
	for _, name := range i.record.Anonymous {
		if err := r.removeVolume(name); err != nil {
			r.log.Warn("an anonymous volume could not be removed", "volume", name, "error", err)
		}
	}
	r.drop(i)
	r.shims.leave(i.shim)
	r.execs.forget(i)
	close(i.removed)
	r.tell(i, events.ActionDestroy, nil)
	return nil
}

// erase removes what containerd and the disk have of a container that does not
// run. What is absent is no fault.
func (r *Runtime) erase(ctx context.Context, i *instance) error {
	id, rec := i.id(), &i.record
	service := r.client.TaskService()
	if err := r.deleteTask(ctx, i); err != nil && !errdefs.IsNotFound(err) {
		// Something of it still runs, though its record says otherwise.
		_, _ = service.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(unix.SIGKILL), All: true})
		_, _ = service.Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		if err := r.deleteTask(ctx, i); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot remove the task of container %s: %w", id, err)
		}
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("cannot remove container %s: %w", id, err)
	}
	if err := r.clearCgroups(ctx, id); err != nil {
		return err
	}
	for _, key := range append([]string{id}, rec.Views...) {
		if err := r.client.SnapshotService(rec.Snapshot).Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("cannot remove the file system of container %s: %w", id, err)
		}
	}
	return errors.Join(os.RemoveAll(r.keepDir(id)), os.RemoveAll(r.runDir(id)))
}
