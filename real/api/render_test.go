package api

import (
	"encoding/json"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// What dockerd 28.2.2 has shown is in testdata/docker, without what swarmd does not
// have (TLS of nodes). The same object of ours is rendered
// to the same JSON, member for member.
func TestRenderedAsDocker(t *testing.T) {
	for _, file := range []string{"service_web", "service_rj"} {
		var want swarm.Service
		sample(t, file, &want)
		service := &state.Service{
			ID: state.ServiceID(want.ID), Meta: metaFor(want.Meta), SpecVersion: want.Version.Index,
			Spec: want.Spec, Previous: want.PreviousSpec, Ports: want.Endpoint.Ports,
		}
		for _, v := range want.Endpoint.VirtualIPs {
			service.VIPs = append(service.VIPs, state.VIP{Network: state.NetworkID(v.NetworkID), Address: v.Addr})
		}
		if u := want.UpdateStatus; u != nil {
			service.Update = &state.Update{State: u.State, Started: wall(*u.StartedAt), Completed: wall(*u.CompletedAt), Message: u.Message}
		}
		if j := want.JobStatus; j != nil {
			service.JobIteration, service.JobExecution = j.JobIteration.Index, wall(j.LastExecution)
		}
		same(t, file, renderService(service))
	}
	for _, file := range []string{"task_web", "task_hostp", "task_rj"} {
		var want swarm.Task
		sample(t, file, &want)
		task := &state.Task{
			ID: state.TaskID(want.ID), Meta: metaFor(want.Meta), Service: state.ServiceID(want.ServiceID), Slot: uint64(want.Slot),
			Node: state.NodeID(want.NodeID), Desired: stateNamed(t, want.DesiredState), Job: want.JobIteration != nil,
			Status: state.TaskStatus{
				State: stateNamed(t, want.Status.State), At: wall(want.Status.Timestamp), Message: want.Status.Message, Ports: want.Status.PortStatus.Ports,
				Container: want.Status.ContainerStatus.ContainerID, PID: want.Status.ContainerStatus.PID, ExitCode: want.Status.ContainerStatus.ExitCode,
			},
		}
		var networks []*state.Network
		for _, at := range want.NetworksAttachments {
			networks = append(networks, networkOf(t, at.Network))
			if a := at.Addresses[0].Addr(); at.Network.Spec.Ingress {
				task.Mesh = a
			} else {
				task.Addresses = append(task.Addresses, a)
			}
		}
		same(t, file, renderTask(task, &state.Template{Spec: want.Spec}, networks))
	}
	var want swarm.Node
	sample(t, "node_manager", &want)
	same(t, "node_manager", renderNode(&state.Node{
		ID: state.NodeID(want.ID), Meta: metaFor(want.Meta), SpecVersion: want.Version.Index, Spec: want.Spec, Description: want.Description,
		Addr: want.Status.Addr, State: state.NodeReady, Manager: true, ManagerAddr: want.ManagerStatus.Addr,
	}, state.NodeID(want.ID), control.Roots{}))
}

// A node that is down is a manager that cannot be reached; a worker has no such
// status, even one that is to become a manager.
func TestRenderNodeStatus(t *testing.T) {
	down := renderNode(&state.Node{ID: "a", State: state.NodeDown, Manager: true, Message: "heartbeat failure"}, "b", control.Roots{})
	if down.Status.State != "down" || down.ManagerStatus.Reachability != "unreachable" || down.ManagerStatus.Leader || down.Status.Message != "heartbeat failure" {
		t.Errorf("got %+v, %+v", down.Status, down.ManagerStatus)
	}
	worker := renderNode(&state.Node{ID: "a", State: state.NodeReady, Spec: swarm.NodeSpec{Role: swarm.NodeRoleManager}}, "a", control.Roots{})
	if worker.ManagerStatus != nil || worker.Spec.Labels == nil {
		t.Errorf("got %+v", worker)
	}
}

// What is rendered shares the store's objects and must not change them.
func TestRenderingChangesNothing(t *testing.T) {
	var want swarm.Service
	sample(t, "service_web", &want)
	want.Spec.TaskTemplate.ContainerSpec.Isolation, want.Spec.TaskTemplate.Runtime, want.Spec.Labels = "", "", nil
	want.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "any"}
	before, err := json.Marshal(want.Spec)
	if err != nil {
		t.Fatal(err)
	}
	insertDefaults(renderService(&state.Service{Spec: want.Spec}).Spec)
	if after, err := json.Marshal(want.Spec); err != nil || string(after) != string(before) {
		t.Errorf("%v\n%s\n%s", err, before, after)
	}
}

// Every state of a task has Docker's name.
func TestTaskStates(t *testing.T) {
	for _, name := range []swarm.TaskState{
		swarm.TaskStateNew, swarm.TaskStatePending, swarm.TaskStateAssigned, swarm.TaskStateAccepted, swarm.TaskStatePreparing, swarm.TaskStateReady,
		swarm.TaskStateStarting, swarm.TaskStateRunning, swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed,
		swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned,
	} {
		if got := taskState(stateNamed(t, name)); got != name {
			t.Errorf("%s is shown as %s", name, got)
		}
	}
}

func sample(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/docker/" + name + ".json")
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, name string, rendered any) {
	t.Helper()
	var want, got any
	sample(t, name, &want)
	b, err := json.Marshal(rendered)
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v %s", name, err, diff)
	}
}

// networkOf is the network that Docker shows so.
func networkOf(t *testing.T, shown swarm.Network) *state.Network {
	t.Helper()
	n := &state.Network{ID: state.NetworkID(shown.ID), Meta: metaFor(shown.Meta), SpecVersion: shown.Version.Index, Spec: shown.Spec}
	number, err := strconv.ParseUint(shown.DriverState.Options[optionVNI], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	n.VNI = uint32(number)
	for _, c := range shown.IPAMOptions.Configs {
		n.Subnets = append(n.Subnets, netip.PrefixFrom(c.Gateway, c.Subnet.Bits()))
	}
	return n
}

func metaFor(m swarm.Meta) state.Meta {
	return state.Meta{Version: m.Version.Index, Created: wall(m.CreatedAt), Updated: wall(m.UpdatedAt)}
}

func wall(at time.Time) state.Wall { return state.Wall(at.UnixNano()) }

// stateNamed is the state with Docker's name.
func stateNamed(t *testing.T, name swarm.TaskState) state.TaskState {
	t.Helper()
	for s := range state.TaskOrphaned + 1 {
		if taskState(s) == name {
			return s
		}
	}
	t.Fatalf("no state is shown as %s", name)
	return 0
}
