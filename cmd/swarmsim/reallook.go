//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim/script"
)

const (
	preferredPatience = time.Second     // with the manager that answered last
	managersPatience  = 2 * time.Second // with any
)

// A seen is what was seen of the real world at a moment.
type seen struct {
	view   *script.View
	leader string
	slots  map[state.TaskID]string // of every task: its service and slot, or node
	hosts  []script.Host
}

// told is what one manager says of the swarm.
type told struct {
	host     string
	nodes    []swarm.Node
	services []swarm.Service
	tasks    []swarm.Task
	networks []network.Summary
}

// ask asks one manager for all that it knows. It answers only if it hears a leader
// that can commit.
func ask(ctx context.Context, h *lab.Host) (*told, error) {
	c, err := apiOf(h)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // its connections are idle
	t := &told{host: h.Name}
	nodes, err := c.NodeList(ctx, client.NodeListOptions{})
	if err != nil {
		return nil, err
	}
	services, err := c.ServiceList(ctx, client.ServiceListOptions{Status: true})
	if err != nil {
		return nil, err
	}
	tasks, err := c.TaskList(ctx, client.TaskListOptions{})
	if err != nil {
		return nil, err
	}
	networks, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("scope", "swarm")})
	if err != nil {
		return nil, err
	}
	t.nodes, t.services, t.tasks, t.networks = nodes.Items, services.Items, tasks.Items, networks.Items
	return t, nil
}

// apiOf speaks to a host's daemon.
func apiOf(h *lab.Host) (*client.Client, error) {
	return client.New(client.WithHost("unix://"+h.Socket()), client.WithUserAgent("swarmsim/"+version))
}

// askAny asks the manager that answered last, and if it does not, all of them.
func (s *realStage) askAny() *told {
	var up []*realHost
	for _, h := range s.Hosts() {
		if h.Manager && h.Running && !h.Paused {
			up = append(up, s.hosts[h.Name])
		}
	}
	if i := slices.IndexFunc(up, func(h *realHost) bool { return h.Name == s.preferred }); i >= 0 {
		ctx, cancel := context.WithTimeout(s.ctx, preferredPatience)
		t, err := ask(ctx, up[i].Host)
		cancel()
		if err == nil {
			return t
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, managersPatience)
	defer cancel()
	answers := make(chan *told, len(up))
	for _, h := range up {
		go func() {
			t, err := ask(ctx, h.Host)
			if err != nil {
				t = nil
			}
			answers <- t
		}()
	}
	for range up {
		if t := <-answers; t != nil {
			s.preferred = t.host
			return t
		}
	}
	return nil
}

// observe looks at the whole of it. What the swarm says is what it said last, while
// nobody can tell.
func (s *realStage) observe() *seen {
	now := &seen{view: &script.View{}, hosts: s.Hosts(), slots: s.seen.slots}
	v, last := now.view, s.seen.view
	v.Services, v.Nodes, v.Tasks, v.Networks = last.Services, last.Nodes, last.Tasks, last.Networks
	if t := s.askAny(); t != nil {
		s.hear(now, t)
	}
	if now.leader != "" && now.leader != s.led {
		s.elections++
		s.led = now.leader
	}
	s.leader = now.leader
	for _, h := range s.cluster.Hosts {
		for _, c := range h.Containers() {
			v.Containers = append(v.Containers, s.container(h, c))
		}
	}
	if s.idles && s.preferred != "" {
		s.writes = max(s.writes, s.logIndex(s.hosts[s.preferred].Host))
	}
	v.Writes, v.Elections = s.writes, s.elections
	v.Starts = maps.Clone(s.starts)
	return now
}

// container is one that really runs. Whose it is is remembered: containerd forgets,
// and the swarm forgets its tasks.
func (s *realStage) container(h *lab.Host, c lab.Container) script.Container {
	task := state.TaskID(c.Task)
	if task == "" {
		task = s.owners[c.ID]
	}
	s.owners[c.ID] = task
	known := s.known[task]
	s.start(task)
	return script.Container{Task: task, Service: known.service, Host: h.Name, Image: known.image}
}

// start counts a task that was seen to run, once its service is known.
func (s *realStage) start(task state.TaskID) {
	if known, ok := s.known[task]; ok && !s.started[task] {
		s.started[task] = true
		s.starts[known.service]++
	}
}

// hear takes in what a manager says.
func (s *realStage) hear(now *seen, t *told) {
	v := now.view
	v.Services, v.Nodes, v.Tasks, v.Networks = nil, nil, nil, nil
	now.slots = map[state.TaskID]string{}
	names := map[string]string{}
	for _, n := range t.nodes {
		names[n.ID] = n.Description.Hostname
		v.Nodes = append(v.Nodes, script.Node{
			ID: state.NodeID(n.ID), Host: n.Description.Hostname, State: nodeState(n.Status.State),
			Availability: n.Spec.Availability, Role: n.Spec.Role,
		})
		if h := s.hosts[n.Description.Hostname]; h != nil {
			h.manager = n.ManagerStatus != nil
		}
		if n.ManagerStatus != nil && n.ManagerStatus.Leader {
			now.leader = n.Description.Hostname
		}
	}
	for _, service := range t.services {
		seen := script.Service{ID: state.ServiceID(service.ID), Name: service.Spec.Name, Spec: &service.Spec, Ports: service.Endpoint.Ports}
		if service.ServiceStatus != nil {
			seen.Running, seen.Desired, seen.Done = int(service.ServiceStatus.RunningTasks), int(service.ServiceStatus.DesiredTasks), int(service.ServiceStatus.CompletedTasks)
		}
		if service.UpdateStatus != nil {
			seen.Update, seen.Message = service.UpdateStatus.State, service.UpdateStatus.Message
		}
		v.Services = append(v.Services, seen)
	}
	for _, n := range t.networks {
		v.Networks = append(v.Networks, script.Network{ID: state.NetworkID(n.ID), Name: n.Name})
	}
	for _, task := range t.tasks {
		s.hearTask(now, task, names)
	}
}

func (s *realStage) hearTask(now *seen, t swarm.Task, names map[string]string) {
	seen := script.Task{
		ID: state.TaskID(t.ID), Service: state.ServiceID(t.ServiceID), Host: names[t.NodeID], State: taskState(t.Status.State),
		Desired: taskState(t.DesiredState), Message: t.Status.Message, Err: t.Status.Err,
	}
	if t.Spec.ContainerSpec != nil {
		seen.Image = t.Spec.ContainerSpec.Image
	}
	s.known[seen.ID] = knownTask{seen.Service, seen.Image}
	if t.Status.ContainerStatus != nil && t.Status.ContainerStatus.PID != 0 {
		s.start(seen.ID)
	}
	now.slots[seen.ID] = t.ServiceID + "/" + strconv.Itoa(t.Slot)
	if t.Slot == 0 {
		now.slots[seen.ID] = t.ServiceID + "/" + t.NodeID
	}
	now.view.Tasks = append(now.view.Tasks, seen)
}

// taskState is a state by its name.
func taskState(name swarm.TaskState) state.TaskState {
	for _, s := range []state.TaskState{
		state.TaskNew, state.TaskPending, state.TaskAssigned, state.TaskAccepted, state.TaskPreparing, state.TaskReady, state.TaskStarting,
		state.TaskRunning, state.TaskComplete, state.TaskShutdown, state.TaskFailed, state.TaskRejected, state.TaskRemove, state.TaskOrphaned,
	} {
		if s.String() == string(name) {
			return s
		}
	}
	return state.TaskNew
}

func nodeState(name swarm.NodeState) state.NodeState {
	switch name {
	case swarm.NodeStateReady:
		return state.NodeReady
	case swarm.NodeStateDown:
		return state.NodeDown
	case swarm.NodeStateDisconnected:
		return state.NodeDisconnected
	default:
		return state.NodeUnknown
	}
}

// logIndex is the last entry of the log that a manager has applied, 0 if it does
// not say.
func (s *realStage) logIndex(h *lab.Host) uint64 {
	ctx, cancel := context.WithTimeout(s.ctx, preferredPatience)
	defer cancel()
	c := h.Client()
	defer c.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/metrics", http.NoBody)
	if err != nil {
		return 0
	}
	response, err := c.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "swarmd_log_index "); ok {
			n, _ := strconv.ParseFloat(value, 64)
			return uint64(n)
		}
	}
	return 0
}

// summary is what was seen, in few words.
func (s *seen) summary() []string {
	words := []string{"leader", "nobody"}
	if s.leader != "" {
		words[1] = s.leader
	}
	for _, service := range s.view.Services {
		real := 0
		for _, c := range s.view.Containers {
			if c.Service == service.ID {
				real++
			}
		}
		words = append(words, fmt.Sprintf("%s %d/%d (containers %d)", service.Name, service.Running, service.Desired, real))
	}
	for _, n := range s.view.Nodes {
		if n.State != state.NodeReady {
			words = append(words, n.Host+" is not ready")
		}
	}
	return []string{strings.Join(words[:2], " ") + strings.Join(append([]string{""}, words[2:]...), ", ")}
}
