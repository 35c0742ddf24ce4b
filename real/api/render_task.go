package api

import (
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// renderTask is one task as GET /tasks shows it. networks has those that it is on.
func renderTask(task *state.Task, template *state.Template, networks []*state.Network) swarm.Task {
	rendered := swarm.Task{
		ID:               string(task.ID),
		Meta:             metaOf(task.Meta, task.Version),
		Annotations:      swarm.Annotations{Labels: map[string]string{}},
		ServiceID:        string(task.Service),
		Slot:             int(task.Slot),
		NodeID:           string(task.Node),
		Status:           renderTaskStatus(task.Status),
		DesiredState:     taskState(task.Desired),
		GenericResources: task.Generic,

		NetworksAttachments: renderAttachments(task, template, networks),
	}
	if template != nil {
		rendered.Spec = withTaskDefaults(template.Spec)
		rendered.Spec.Runtime = "" // Docker shows it on services only.
	}
	if task.Job {
		rendered.JobIteration = &swarm.Version{Index: task.JobIteration}
	}
	return rendered
}

// renderTaskStatus has no ContainerStatus until there has been a container.
func renderTaskStatus(status state.TaskStatus) swarm.TaskStatus {
	rendered := swarm.TaskStatus{
		Timestamp:  status.At.Time(),
		State:      taskState(status.State),
		Message:    status.Message,
		Err:        status.Err,
		PortStatus: swarm.PortStatus{Ports: status.Ports},
	}
	if status.Container != "" {
		rendered.ContainerStatus = &swarm.ContainerStatus{
			ContainerID: status.Container,
			PID:         status.PID,
			ExitCode:    status.ExitCode,
		}
	}
	return rendered
}

func taskState(s state.TaskState) swarm.TaskState {
	switch s {
	case state.TaskNew:
		return swarm.TaskStateNew
	case state.TaskPending:
		return swarm.TaskStatePending
	case state.TaskAssigned:
		return swarm.TaskStateAssigned
	case state.TaskAccepted:
		return swarm.TaskStateAccepted
	case state.TaskPreparing:
		return swarm.TaskStatePreparing
	case state.TaskReady:
		return swarm.TaskStateReady
	case state.TaskStarting:
		return swarm.TaskStateStarting
	case state.TaskRunning:
		return swarm.TaskStateRunning
	case state.TaskComplete:
		return swarm.TaskStateComplete
	case state.TaskShutdown:
		return swarm.TaskStateShutdown
	case state.TaskFailed:
		return swarm.TaskStateFailed
	case state.TaskRejected:
		return swarm.TaskStateRejected
	case state.TaskRemove:
		return swarm.TaskStateRemove
	case state.TaskOrphaned:
		return swarm.TaskStateOrphaned
	}
	return swarm.TaskState("unknown")
}
