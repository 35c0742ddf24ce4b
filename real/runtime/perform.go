package runtime

import (
	"context"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/invariant"
)

// perform runs work that ends by posting an answer, unless Close comes first.
func (r *Runtime) perform(work func(context.Context) engine.Event) {
	r.work.Go(func() {
		answer := work(r.ctx)
		if r.ctx.Err() == nil {
			r.config.Post(answer)
		}
	})
}

// Perform carries out an effect that is about images or containers; it panics
// upon another.
func (r *Runtime) Perform(effect engine.Effect) {
	switch e := effect.(type) {
	case engine.PullImage:
		r.PullImage(e)
	case engine.CreateContainer:
		r.CreateContainer(e)
	case engine.StartContainer:
		r.StartContainer(e)
	case engine.ProbeContainer:
		r.ProbeContainer(e)
	case engine.StopContainer:
		r.StopContainer(e)
	case engine.RemoveContainer:
		r.RemoveContainer(e)
	default:
		invariant.Violated("the runtime does not know how to carry out %T", effect)
	}
}

// PullImage fetches an image. It does not block; [engine.ImagePulled] answers.
func (r *Runtime) PullImage(e engine.PullImage) {
	r.perform(func(ctx context.Context) engine.Event {
		return engine.ImagePulled{Task: e.Task, Err: r.ensureImage(ctx, e.Image, e.Auth)}
	})
}

// CreateContainer makes a container. It does not block;
// [engine.ContainerCreated] answers. Creating what has been created succeeds.
func (r *Runtime) CreateContainer(e engine.CreateContainer) {
	r.perform(func(ctx context.Context) engine.Event {
		leave, err := r.launches.enter(ctx)
		if err != nil {
			return engine.ContainerCreated{Task: e.Container.Task, Err: err}
		}
		defer leave()
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		health, err := r.create(ctx, e.Container)
		return engine.ContainerCreated{Task: e.Container.Task, Health: health, Err: err}
	})
}

// StartContainer runs a created container. It does not block;
// [engine.ContainerStarted] answers. Starting what has been started succeeds.
func (r *Runtime) StartContainer(e engine.StartContainer) {
	r.work.Go(func() {
		leave, err := r.launches.enter(r.ctx)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		defer cancel()
		i := r.instance(e.Task)
		pid, err := r.start(ctx, i, e.Task)
		leave()
		if r.ctx.Err() != nil {
			return
		}
		// The exit is told after the start: so watching begins here.
		r.config.Post(engine.ContainerStarted{Task: e.Task, PID: pid, Err: err})
		if err == nil {
			r.watch(i)
		}
	})
}

// ProbeContainer runs a health check. It does not block;
// [engine.ContainerProbed] answers.
func (r *Runtime) ProbeContainer(e engine.ProbeContainer) {
	r.perform(func(ctx context.Context) engine.Event {
		healthy, output := r.probe(ctx, e)
		return engine.ContainerProbed{Task: e.Task, Healthy: healthy, Output: output}
	})
}

// StopContainer ends a container. It does not block; [engine.ContainerExited]
// answers, whichever stop or other cause it was that ended it.
func (r *Runtime) StopContainer(e engine.StopContainer) {
	r.work.Go(func() {
		i := r.instance(e.Task)
		if i == nil {
			r.config.Post(engine.ContainerExited{Task: e.Task})
			return
		}
		told, err := r.stop(r.ctx, i, e.Signal, e.Grace)
		if !told && r.ctx.Err() == nil {
			l := i.now()
			r.config.Post(engine.ContainerExited{Task: e.Task, Code: l.ExitCode, OOM: l.OOM, Err: err})
		}
	})
}

// RemoveContainer makes a container, its log and its anonymous volumes be gone.
// It does not block; [engine.ContainerRemoved] answers. Removing what is not
// there succeeds.
func (r *Runtime) RemoveContainer(e engine.RemoveContainer) {
	r.perform(func(ctx context.Context) engine.Event {
		i := r.instance(e.Task)
		if i == nil {
			return engine.ContainerRemoved{Task: e.Task}
		}
		leave, err := r.removals.enter(ctx)
		if err != nil {
			return engine.ContainerRemoved{Task: e.Task, Err: err}
		}
		defer leave()
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return engine.ContainerRemoved{Task: e.Task, Err: r.remove(ctx, i)}
	})
}
