package control

import (
	"iter"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// Read answers a call that changes nothing. The answer holds what the draft
// holds: objects are shared and frozen. Self is the manager that answers, leader
// the one that leads, "" if nobody is known to.
func Read(d *state.Draft, self, leader state.NodeID, call Call) Answer {
	if d.Cluster() == nil {
		return *noSwarm()
	}
	switch call := call.(type) {
	case SwarmInspect:
		return Swarm{Cluster: d.Cluster()}
	case SwarmUnlockKey:
		return UnlockKey{Key: formatUnlockKey(d.Cluster().UnlockKey)}
	case NodeList:
		return listNodes(d, leader, call)
	case NodeInspect:
		if n, failed := node(d, nameSelf(call.Ref, self)); failed == nil {
			return Nodes{Nodes: []*state.Node{n}, Leader: leader, Roots: rootsOf(d)}
		} else {
			return *failed
		}
	case ServiceList:
		return listServices(d, call)
	case ServiceInspect:
		if s, failed := service(d, call.Ref); failed == nil {
			return Services{Services: []*state.Service{s}}
		} else {
			return *failed
		}
	case TaskList:
		return listTasks(d, self, call)
	case TaskInspect:
		if t, failed := task(d, call.Ref); failed == nil {
			return withTemplates(d, []*state.Task{t})
		} else {
			return *failed
		}
	case NetworkList:
		return listNetworks(d)
	case NetworkInspect:
		if n, failed := findNetwork(d, call.Ref); failed == nil {
			return Networks{Networks: []*state.Network{n}}
		} else {
			return *failed
		}
	case LogSources:
		return logSources(d, call)
	default:
		return *plain(Unimplemented, "%T is not a call that reads", call)
	}
}

// nameSelf lets "self" name the manager that answers.
func nameSelf(ref string, self state.NodeID) string {
	if ref == "self" {
		return string(self)
	}
	return ref
}

func listNodes(d *state.Draft, leader state.NodeID, call NodeList) Answer {
	match, failed := nodeFilter(call.Filters)
	if failed != nil {
		return *failed
	}
	answer := Nodes{Nodes: []*state.Node{}, Leader: leader, Roots: rootsOf(d)}
	for n := range d.Nodes() {
		if match(n) {
			answer.Nodes = append(answer.Nodes, n)
		}
	}
	return answer
}

func rootsOf(d *state.Draft) Roots {
	c := d.Cluster()
	return Roots{Cert: c.RootCert, Next: c.NextCert, Former: c.FormerCert, Version: c.CertVersion}
}

func listServices(d *state.Draft, call ServiceList) Answer {
	match, failed := serviceFilter(call.Filters)
	if failed != nil {
		return *failed
	}
	answer := Services{Services: []*state.Service{}}
	for s := range d.Services() {
		if !match(s) {
			continue
		}
		answer.Services = append(answer.Services, s)
		if call.Status {
			answer.Counts = append(answer.Counts, status(d, s))
		}
	}
	return answer
}

// status counts a service's tasks as Docker does: running ones whatever is wished
// of them, and of jobs only those of the present iteration.
func status(d *state.Draft, s *state.Service) swarm.ServiceStatus {
	var c swarm.ServiceStatus
	everywhere := s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil
	switch m := s.Spec.Mode; {
	case m.Replicated != nil:
		c.DesiredTasks = *m.Replicated.Replicas
	case m.ReplicatedJob != nil:
		c.DesiredTasks = *m.ReplicatedJob.MaxConcurrent
	}
	jobs := job(&s.Spec)
	for t := range d.TasksOf(s.ID) {
		if jobs && t.JobIteration != s.JobIteration {
			continue
		}
		complete := t.Status.State == state.TaskComplete
		if jobs && complete {
			c.CompletedTasks++
		}
		if t.Status.State == state.TaskRunning {
			c.RunningTasks++
		}
		if everywhere && (t.Desired == state.TaskRunning || t.Desired == state.TaskComplete && !complete) {
			c.DesiredTasks++
		}
	}
	return c
}

func listTasks(d *state.Draft, self state.NodeID, call TaskList) Answer {
	f, failed := taskFilter(d, self, call.Filters)
	if failed != nil {
		return *failed
	}
	tasks := []*state.Task{}
	for t := range f.candidates(d) {
		if f.match(d, t) {
			tasks = append(tasks, t)
		}
	}
	return withTemplates(d, tasks)
}

// withTemplates answers with tasks and what each was made from.
func withTemplates(d *state.Draft, tasks []*state.Task) Tasks {
	made := templates(d, tasks)
	return Tasks{Tasks: tasks, Templates: made, Networks: networksOf(d, tasks, made)}
}

// networksOf lists the networks that tasks are on.
func networksOf(d *state.Draft, tasks []*state.Task, made []*state.Template) []*state.Network {
	on := map[state.NetworkID]*state.Network{}
	seen := map[*state.Template]bool{}
	for i, t := range tasks {
		if t.Mesh.IsValid() && len(on) == 0 {
			if n := d.Ingress(); n != nil {
				on[n.ID] = n
			}
		}
		if made[i] == nil || seen[made[i]] {
			continue
		}
		seen[made[i]] = true
		for _, c := range made[i].Spec.Networks {
			if n := d.Network(state.NetworkID(c.Target)); n != nil {
				on[n.ID] = n
			}
		}
	}
	list := make([]*state.Network, 0, len(on))
	for _, id := range slices.Sorted(maps.Keys(on)) {
		list = append(list, on[id])
	}
	return list
}

func templates(d *state.Draft, tasks []*state.Task) []*state.Template {
	out := make([]*state.Template, len(tasks))
	for i, t := range tasks {
		out[i] = d.Template(t.Service, t.Template)
	}
	return out
}

// logSources finds the tasks that may have logs, also those that have ended.
func logSources(d *state.Draft, call LogSources) Answer {
	if call.Task {
		t, failed := task(d, call.Ref)
		if failed != nil {
			return *failed
		}
		answer := Sources{Tasks: []*state.Task{t}}
		answer.Templates = templates(d, answer.Tasks)
		if made := answer.Templates[0]; made != nil {
			answer.TTY = terminal(&made.Spec)
		}
		return answer
	}
	s, failed := service(d, call.Ref)
	if failed != nil {
		return *failed
	}
	answer := Sources{Tasks: collect(d.TasksOf(s.ID)), TTY: terminal(&s.Spec.TaskTemplate)}
	answer.Templates = templates(d, answer.Tasks)
	return answer
}

func terminal(spec *swarm.TaskSpec) bool { return spec.ContainerSpec != nil && spec.ContainerSpec.TTY }

func collect[T any](objects iter.Seq[*T]) []*T {
	out := []*T{}
	for o := range objects {
		out = append(out, o)
	}
	return out
}
