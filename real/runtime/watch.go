package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
)

// lostCode is the exit code of a container whose end nobody saw (the machine was
// switched off under it), as Docker has it.
const lostCode = 255

// watch waits, beside its caller, for a running container to end.
func (r *Runtime) watch(i *instance) {
	r.work.Go(func() {
		for r.ctx.Err() == nil {
			response, err := r.client.TaskService().Wait(r.ctx, &tasks.WaitRequest{ContainerID: i.id()})
			if err == nil {
				r.ended(i, int(response.ExitStatus), response.ExitedAt.AsTime())
				return
			}
			if errdefs.IsNotFound(native(err)) {
				r.ended(i, lostCode, time.Now())
				return
			}
			// containerd is lost; the next call waits for it to be back.
			awaitClosed(r.ctx, r.ctx.Done(), 50*time.Millisecond)
		}
	})
}

// ended takes in that a container's process has ended, tells it, and lets go of
// the process's shim.
func (r *Runtime) ended(i *instance, code int, at time.Time) {
	i.mu.Lock()
	if !i.life.running() {
		i.mu.Unlock()
		return
	}
	i.life.Finished, i.life.ExitCode = at, code
	i.life.OOM = i.life.OOM || r.oomKilled(i.id())
	l := i.life
	i.mu.Unlock()
	if r.ctx.Err() != nil {
		return // the next process finds it
	}
	r.config.Post(engine.ContainerExited{Task: i.record.Container.Task, Code: l.ExitCode, OOM: l.OOM})
	close(i.exited)
	r.tell(i, dockerevents.ActionDie, map[string]string{
		"exitCode":     fmt.Sprint(l.ExitCode),
		"execDuration": fmt.Sprint(int(l.Finished.Sub(l.Started).Seconds())),
	})
	i.op.Lock()
	defer i.op.Unlock()
	select {
	case <-i.removed:
		return
	default:
	}
	r.keepLife(i, l)
	if err := r.deleteTask(r.ctx, i); err != nil && !errdefs.IsNotFound(err) && r.ctx.Err() == nil {
		r.log.Warn("the remains of a container's process could not be removed yet", "container", i.id(), "error", err)
	}
}

// A subscription is containerd's stream of events.
type subscription struct {
	events <-chan *events.Envelope
	errs   <-chan error
}

func (r *Runtime) subscribe() subscription {
	ch, errs := r.client.EventService().Subscribe(r.ctx,
		fmt.Sprintf(`namespace==%q,topic=="/tasks/oom"`, r.config.Namespace))
	return subscription{ch, errs}
}

// listen takes in containerd's events. When their stream breaks, containerd had
// been lost and events with it: it subscribes again, looks at every container,
// and posts what it finds.
func (r *Runtime) listen(s subscription) {
	for {
		select {
		case e := <-s.events:
			r.notice(e)
			continue
		case err := <-s.errs:
			if r.ctx.Err() != nil {
				return
			}
			r.log.Warn("containerd was lost", "error", err)
		}
		if _, err := r.client.Version(r.ctx); err != nil && r.ctx.Err() != nil {
			return
		}
		s = r.subscribe()
		found, err := r.reconcile(r.ctx)
		switch {
		case r.ctx.Err() != nil:
			return
		case err != nil:
			r.log.Error("the containers cannot be listed after containerd was lost", "error", err)
			awaitClosed(r.ctx, r.ctx.Done(), reconnectDelayMax)
		default:
			r.log.Info("containerd is back", "containers", len(found.Containers))
			r.config.Post(found)
		}
	}
}

func (r *Runtime) notice(e *events.Envelope) {
	if e == nil || e.Event == nil {
		return
	}
	event, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return // of a kind that a newer containerd has
	}
	oom, ok := event.(*apievents.TaskOOM)
	if !ok {
		return
	}
	r.mu.Lock()
	i := r.byID[oom.ContainerID]
	r.mu.Unlock()
	if i == nil {
		return
	}
	i.mu.Lock()
	i.life.OOM = true
	i.mu.Unlock()
	r.tell(i, dockerevents.ActionOOM, nil)
}

// reconcile lists the containers of ours that containerd has, makes instances of
// those not known yet, and watches those that run.
func (r *Runtime) reconcile(ctx context.Context) (engine.ContainersFound, error) {
	list, err := r.client.ContainerService().List(ctx, "labels."+taskLabel)
	if err != nil {
		return engine.ContainersFound{}, fmt.Errorf("cannot list containers: %w", err)
	}
	response, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return engine.ContainersFound{}, fmt.Errorf("cannot list tasks: %w", native(err))
	}
	running := make(map[string]*tasktypes.Process, len(response.Tasks))
	for _, p := range response.Tasks {
		running[p.ID] = p
	}
	var found engine.ContainersFound
	for _, c := range list {
		i, err := r.recognise(ctx, c, running[c.ID])
		if err != nil {
			r.log.Error("a container is passed over", "container", c.ID, "error", err)
		}
		if i != nil {
			found.Containers = append(found.Containers, i.found())
		}
	}
	return found, nil
}

// recognise returns the instance of a container, a new one if there is none;
// nil for one that is being created, or whose creation was cut short.
func (r *Runtime) recognise(ctx context.Context, c containers.Container, p *tasktypes.Process) (*instance, error) {
	r.mu.Lock()
	known, making := r.byID[c.ID], r.making[c.ID]
	r.mu.Unlock()
	if known != nil || making {
		return known, nil
	}
	rec, err := unmarshalRecord(c.Extensions)
	if err != nil {
		return nil, err
	}
	if rec.Container.ID != c.ID {
		return nil, errors.New("the container's record is of another container")
	}
	i := newInstance(rec, r.shims.join(rec.Shim))
	l, complete := r.recallLife(c.ID)
	if !complete {
		defer r.shims.leave(i.shim)
		return nil, r.erase(ctx, i)
	}
	i.life = r.revise(c.ID, l, p)
	if i.life != l {
		r.keepLife(i, i.life)
	}
	r.add(i)
	switch {
	case i.life.running():
		r.watch(i)
	case !i.life.Finished.IsZero():
		close(i.exited)
		if p != nil {
			_ = r.deleteTask(ctx, i)
		}
	}
	return i, nil
}

// revise corrects what was noted of a container by what its process did while
// this process was not there.
func (r *Runtime) revise(id string, l life, p *tasktypes.Process) life {
	if p == nil {
		if l.running() { // the machine was switched off under it
			l.Finished, l.ExitCode = time.Now(), lostCode
		}
		return l
	}
	if p.Status == tasktypes.Status_CREATED || p.Status == tasktypes.Status_UNKNOWN || !l.Finished.IsZero() {
		return l
	}
	if l.Started.IsZero() {
		l.Started, l.PID = processStart(int(p.Pid)), int(p.Pid)
	}
	if p.Status == tasktypes.Status_STOPPED {
		l.Finished, l.ExitCode = p.ExitedAt.AsTime(), int(p.ExitStatus)
		l.OOM = l.OOM || r.oomKilled(id)
	}
	return l
}

// found is the container as the engine is told of it. One that ended while
// containerd was lost may still be told as running; its exit follows.
func (i *instance) found() agent.Found {
	l := i.now()
	c := i.record.Container
	f := agent.Found{
		Task: c.Task, ID: c.ID, Labels: c.Labels, Address: c.Address,
		Created: state.Wall(i.record.Created.UnixNano()),
		Started: !l.Started.IsZero(), Running: l.running(), OOM: l.OOM, ExitCode: l.ExitCode,
		Health: i.record.ImageHealth,
	}
	if l.running() {
		f.PID = l.PID
	}
	if !l.Finished.IsZero() {
		f.Finished = state.Wall(l.Finished.UnixNano())
	}
	return f
}
