package runtime

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

// start runs a created container and returns its pid. What has been started,
// even if it has ended since, is not started again.
func (r *Runtime) start(ctx context.Context, i *instance, task state.TaskID) (int, error) {
	if i == nil {
		return 0, fmt.Errorf("starting container failed: the container of task %s is not on this node", task)
	}
	i.op.Lock()
	defer i.op.Unlock()
	if l := i.now(); !l.Started.IsZero() {
		return l.PID, nil
	}
	var pid uint32
	err := r.retry(ctx, func(ctx context.Context) (err error) {
		pid, err = r.launch(ctx, i)
		return err
	})
	if err != nil {
		err = fmt.Errorf("starting container failed: %w", native(err))
		r.undoLaunch(i)
		i.mu.Lock()
		i.life.Error = err.Error()
		i.life.ExitCode = 128 // Docker's for what could not be started
		i.mu.Unlock()
		return 0, err
	}
	i.mu.Lock()
	i.life = life{PID: int(pid), Started: time.Now()}
	l := i.life
	i.mu.Unlock()
	r.keepLife(i, l)
	r.tell(i, events.ActionStart, nil)
	return int(pid), nil
}

// launch makes the container's process and lets it go.
func (r *Runtime) launch(ctx context.Context, i *instance) (uint32, error) {
	mounts := i.rootfs
	if mounts == nil {
		var err error
		if mounts, err = r.client.SnapshotService(i.record.Snapshot).Mounts(ctx, i.id()); err != nil {
			return 0, err
		}
	}
	request, err := r.taskRequest(i, mounts)
	if err != nil {
		return 0, err
	}
	outputs, err := r.openOutputs(i)
	if err != nil {
		return 0, err
	}
	defer closeFiles(outputs)
	service := r.client.TaskService()
	var made *tasks.CreateTaskResponse
	err = i.shim.make(func() (err error) {
		made, err = service.Create(ctx, request)
		return err
	})
	if errdefs.IsAlreadyExists(native(err)) {
		return r.launchOn(ctx, i, outputs)
	}
	if err != nil {
		return 0, err
	}
	if err := r.startLogWriter(i, outputs); err != nil {
		return 0, err
	}
	if _, err := service.Start(ctx, &tasks.StartRequest{ContainerID: i.id()}); err != nil {
		return 0, err
	}
	return made.Pid, nil
}

// launchOn goes on with a task that an attempt before this one has made.
func (r *Runtime) launchOn(ctx context.Context, i *instance, outputs []*os.File) (uint32, error) {
	service := r.client.TaskService()
	got, err := service.Get(ctx, &tasks.GetRequest{ContainerID: i.id()})
	if err != nil {
		return 0, err
	}
	if got.Process.Status == tasktypes.Status_CREATED {
		if err := r.startLogWriter(i, outputs); err != nil {
			return 0, err
		}
		if _, err := service.Start(ctx, &tasks.StartRequest{ContainerID: i.id()}); err != nil {
			return 0, err
		}
	}
	return got.Process.Pid, nil
}

func (r *Runtime) taskRequest(i *instance, rootfs []mount.Mount) (*tasks.CreateTaskRequest, error) {
	request := &tasks.CreateTaskRequest{
		ContainerID: i.id(),
		Rootfs:      mount.ToProto(rootfs),
		Terminal:    i.record.Container.Spec.TTY,
	}
	switch {
	case i.record.Container.Spec.OpenStdin && !request.Terminal:
		// The shim gives a stdin only where all streams are FIFOs. One without a
		// writer but the shim is a stdin that stays open and is silent.
		c, err := r.makeFIFOs(i)
		if err != nil {
			return nil, err
		}
		request.Stdin, request.Stdout, request.Stderr = c.stdin, c.stdout, c.stderr
	case i.record.LogDriver != logwriter.None:
		address := url.URL{Scheme: "binary", Path: r.config.LoggerBinary[0]}
		key := r.logConfigPath(i.id())
		if len(r.config.LoggerBinary) == 2 {
			address.RawQuery = url.Values{r.config.LoggerBinary[1]: {key}}.Encode()
		} else {
			address.RawQuery = url.QueryEscape(key)
		}
		request.Stdout = address.String()
		if !request.Terminal {
			request.Stderr = request.Stdout
		}
	}
	return request, nil
}

// undoLaunch removes what a failed launch may have left.
func (r *Runtime) undoLaunch(i *instance) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	service := r.client.TaskService()
	if err := r.deleteTask(ctx, i); errdefs.IsNotFound(err) || err == nil {
		return
	}
	_, _ = service.Kill(ctx, &tasks.KillRequest{ContainerID: i.id(), Signal: uint32(unix.SIGKILL), All: true})
	_, _ = service.Wait(ctx, &tasks.WaitRequest{ContainerID: i.id()})
	if err := r.deleteTask(ctx, i); err != nil && r.ctx.Err() == nil {
		r.log.Warn("a container that could not be started left something behind", "container", i.id(), "error", err)
	}
}
