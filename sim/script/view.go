package script

import (
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

func (v *View) service(name string) *Service {
	if i := slices.IndexFunc(v.Services, func(s Service) bool { return s.Name == name }); i >= 0 {
		return &v.Services[i]
	}
	return nil
}

// name is that of a service, "" if it is gone.
func (v *View) name(id state.ServiceID) string {
	if i := slices.IndexFunc(v.Services, func(s Service) bool { return s.ID == id }); i >= 0 {
		return v.Services[i].Name
	}
	return ""
}

func (v *View) node(host string) *Node {
	if i := slices.IndexFunc(v.Nodes, func(n Node) bool { return n.Host == host }); i >= 0 {
		return &v.Nodes[i]
	}
	return nil
}

// look fills in what a replicated state says; the last view says how much there
// will be.
func (v *View) look(d *state.Draft, last *View) {
	hosts := make(map[state.NodeID]string, len(last.Nodes))
	v.Nodes = make([]Node, 0, len(last.Nodes))
	v.Tasks = make([]Task, 0, len(last.Tasks)+1)
	for n := range d.Nodes() {
		hosts[n.ID] = n.Description.Hostname
		v.Nodes = append(v.Nodes, Node{n.ID, n.Description.Hostname, n.State, n.Spec.Availability, n.Spec.Role})
	}
	for n := range d.Networks() {
		v.Networks = append(v.Networks, Network{n.ID, n.Spec.Name, n.Removed})
	}
	for s := range d.Services() {
		service := Service{ID: s.ID, Name: s.Spec.Name, Spec: &s.Spec, Ports: s.Ports}
		if s.Update != nil {
			service.Update, service.Message = s.Update.State, s.Update.Message
		}
		service.count(d, s)
		v.Services = append(v.Services, service)
	}
	for t := range d.Tasks() {
		task := Task{
			ID: t.ID, Service: t.Service, Host: hosts[t.Node], State: t.Status.State, Desired: t.Desired,
			Message: t.Status.Message, Err: t.Status.Err,
		}
		if x := d.Template(t.Service, t.Template); x != nil && x.Spec.ContainerSpec != nil {
			task.Image = x.Spec.ContainerSpec.Image
		}
		v.Tasks = append(v.Tasks, task)
	}
}

// count counts tasks as service ls does.
func (s *Service) count(d *state.Draft, of *state.Service) {
	mode := of.Spec.Mode
	switch {
	case mode.Replicated != nil && mode.Replicated.Replicas != nil:
		s.Desired = int(*mode.Replicated.Replicas)
	case mode.ReplicatedJob != nil && mode.ReplicatedJob.MaxConcurrent != nil:
		s.Desired = int(*mode.ReplicatedJob.MaxConcurrent)
	}
	job := mode.ReplicatedJob != nil || mode.GlobalJob != nil
	for t := range d.TasksOf(of.ID) {
		if job && t.JobIteration != of.JobIteration {
			continue
		}
		switch t.Status.State {
		case state.TaskRunning:
			s.Running++
		case state.TaskComplete:
			s.Done++
		default:
		}
		if everywhere(mode) && (t.Desired == state.TaskRunning || t.Desired == state.TaskComplete && t.Status.State != state.TaskComplete) {
			s.Desired++
		}
	}
}

func everywhere(m swarm.ServiceMode) bool { return m.Global != nil || m.GlobalJob != nil }
