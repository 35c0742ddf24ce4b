package enginetest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
)

// Found tells the node which containers are there.
func (h *Harness) Found() {
	var found []agent.Found
	for _, c := range h.containers {
		found = append(found, *c)
	}
	slices.SortFunc(found, func(a, b agent.Found) int { return cmp.Compare(a.Task, b.Task) })
	h.Step(engine.ContainersFound{Containers: found})
}

// Exit ends a container's process without anybody having asked for it.
func (h *Harness) Exit(id state.TaskID, code int) {
	c := h.containers[id]
	if c == nil || !c.Running {
		h.line("no container of %s runs", h.Names.Name("task", string(id)))
		return
	}
	h.ended(c, code)
	h.Step(engine.ContainerExited{Task: id, Code: code})
}

// Running are the tasks whose containers run, in order.
func (h *Harness) Running() []state.TaskID {
	var running []state.TaskID
	for id, c := range h.containers {
		if c.Running {
			running = append(running, id)
		}
	}
	slices.Sort(running)
	return running
}

// Containers are the tasks that have containers, running or not, in order.
func (h *Harness) Containers() []state.TaskID {
	return slices.Sorted(maps.Keys(h.containers))
}

// contain does what is asked of the container runtime.
func (h *Harness) contain(effect engine.Effect, err error) {
	task := taskOf(effect)
	c := h.containers[task]
	if h.already(effect, c) {
		err = nil
	}
	switch f := effect.(type) {
	case engine.PullImage:
		h.step(engine.ImagePulled{Task: task, Err: err}, true)
	case engine.CreateContainer:
		if err == nil {
			h.containers[task] = &agent.Found{
				Task: task, ID: f.Container.ID, Labels: f.Container.Labels, Address: f.Container.Address,
				Created: state.Wall(h.Now.UnixNano()),
			}
		}
		h.step(engine.ContainerCreated{Task: task, Err: err}, true)
	case engine.StartContainer:
		pid := 0
		if err == nil && c != nil {
			pid = 100 + len(h.containers)
			c.Running, c.Started, c.PID = true, true, pid
		}
		h.step(engine.ContainerStarted{Task: task, PID: pid, Err: err}, true)
	case engine.ProbeContainer:
		h.step(engine.ContainerProbed{Task: task, Healthy: err == nil, Output: "probed"}, true)
	case engine.StopContainer:
		code := 0
		if c != nil && c.Running {
			h.ended(c, 0)
		} else if c != nil {
			code = c.ExitCode
		}
		h.step(engine.ContainerExited{Task: task, Code: code, Err: err}, true)
	case engine.RemoveContainer:
		if err == nil {
			delete(h.containers, task)
		}
		h.step(engine.ContainerRemoved{Task: task, Err: err}, true)
	default:
		h.line("fault: %T is not carried out", effect)
	}
}

// already reports whether what is asked for is so: then it cannot fail.
func (h *Harness) already(effect engine.Effect, c *agent.Found) bool {
	switch effect.(type) {
	case engine.StartContainer:
		return c != nil && c.Running
	case engine.StopContainer:
		return c == nil || !c.Running
	case engine.RemoveContainer:
		return c == nil
	default:
		return false
	}
}

func (h *Harness) ended(c *agent.Found, code int) {
	c.Running, c.PID, c.ExitCode, c.Finished = false, 0, code, state.Wall(h.Now.UnixNano())
}
