//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim/script"
)

// realRestLeast is for how long nothing may change before a swarm counts as at
// rest. It is longer than a heartbeat, a restart delay and a monitored update by
// default; a host that is lost has been missed by then.
const realRestLeast = 15 * time.Second

// Rest waits until nothing has changed for a while, and looks.
func (s *realStage) Rest(patience time.Duration, broken []string) error {
	since, changes := s.Now(), s.Changes()
	still := func() bool {
		if s.Changes() != changes || s.Leader() == "" || s.updating() || s.busy() {
			since, changes = s.Now(), s.Changes()
		}
		return s.Now()-since >= realRestLeast
	}
	if !s.pass(s.Now()+patience, still) && s.goesOn() {
		return fmt.Errorf("after %v the swarm is not at rest", patience)
	}
	if !s.goesOn() {
		return nil
	}
	core := s.core(broken)
	s.checkNodes(core)
	s.checkTasks(core)
	return nil
}

// updating reports whether an update of some service is under way.
func (s *realStage) updating() bool {
	return slices.ContainsFunc(s.View().Services, func(v script.Service) bool {
		return v.Update == swarm.UpdateStateUpdating || v.Update == swarm.UpdateStateRollbackStarted
	})
}

// core are the hosts that run, and hear the leader and are heard by it.
func (s *realStage) core(broken []string) []string {
	var core []string
	leader := s.Leader()
	for _, h := range s.Hosts() {
		if h.Running && !h.Paused && !s.cuts[[2]string{h.Name, leader}] && !s.cuts[[2]string{leader, h.Name}] && !slices.Contains(broken, h.Name) {
			core = append(core, h.Name)
		}
	}
	return core
}

// checkNodes looks whether the hosts of the core are nodes that are ready, and those
// of them that are managers can say who leads.
func (s *realStage) checkNodes(core []string) {
	v := s.View()
	for _, name := range core {
		i := slices.IndexFunc(v.Nodes, func(n script.Node) bool { return n.Host == name })
		if i < 0 {
			continue // it was removed
		}
		if v.Nodes[i].State != state.NodeReady {
			s.Violate("L8 no premature down", "%s runs and hears the leader, and the swarm does not take it for ready", name)
		}
		if h := s.hosts[name]; h.manager {
			ctx, cancel := context.WithTimeout(s.ctx, callPatience)
			t, err := ask(ctx, h.Host)
			cancel()
			if err != nil {
				s.Violate("L14 calls return", "manager %s does not say what there is: %v", name, err)
				continue
			}
			if !slices.ContainsFunc(t.nodes, func(n swarm.Node) bool {
				return n.Description.Hostname == s.leader && n.ManagerStatus != nil && n.ManagerStatus.Leader
			}) {
				s.Violate("L1 leader is elected", "manager %s does not say that %s leads", name, s.leader)
			}
		}
	}
}

// checkTasks holds what the swarm wants against what it says, and that against what
// really runs.
func (s *realStage) checkTasks(core []string) {
	v := s.View()
	slots, wanted := map[string]state.TaskID{}, map[state.ServiceID]int{}
	running := map[state.TaskID]script.Task{}
	for _, t := range v.Tasks {
		if t.Desired <= state.TaskComplete && t.State == state.TaskRunning { // of a job, it is to complete
			running[t.ID] = t
		}
		if t.Desired > state.TaskRunning {
			continue
		}
		wanted[t.Service]++
		if other, taken := slots[s.seen.slots[t.ID]]; taken {
			s.Violate("S22 one wanted task per slot", "tasks %s and %s are both wanted for one slot", other, t.ID)
		}
		slots[s.seen.slots[t.ID]] = t.ID
		if t.State < state.TaskRunning && t.Err == "" {
			s.Violate("L4 desired is actual", "task %s on %q is wanted and %s, for no reason that it tells", t.ID, t.Host, t.State)
		}
	}
	for _, service := range v.Services {
		mode := service.Spec.Mode.Replicated
		if mode != nil && mode.Replicas != nil && wanted[service.ID] != int(*mode.Replicas) {
			s.Violate("L4 desired is actual", "%s has %d tasks that are wanted, and %d replicas", service.Name, wanted[service.ID], *mode.Replicas)
		}
	}
	s.checkContainers(core, running)
}

// checkContainers looks whether the hosts of the core run the containers of tasks
// that run, each once, and no others.
func (s *realStage) checkContainers(core []string, running map[state.TaskID]script.Task) {
	live := map[state.TaskID]string{}
	for _, c := range s.View().Containers {
		if other, twice := live[c.Task]; twice && c.Task != "" {
			s.Violate("S23 one container per task", "task %s has containers on %s and %s", c.Task, other, c.Host)
		}
		live[c.Task] = c.Host
		if t, ok := running[c.Task]; slices.Contains(core, c.Host) && (!ok || t.Host != c.Host) {
			s.Violate("L9 nothing leaks", "%s runs a container of task %q that is not wanted there", c.Host, c.Task)
		}
	}
	for id, t := range running {
		if slices.Contains(core, t.Host) && live[id] != t.Host {
			s.Violate("L4 desired is actual", "task %s of %s is said to run on %s, and has no container there", id, s.nameOf(t.Service), t.Host)
		}
	}
}

func (s *realStage) nameOf(id state.ServiceID) string {
	for _, service := range s.View().Services {
		if service.ID == id {
			return service.Name
		}
	}
	return string(id)
}

// Settle heals all but the broken, which it cuts off, and rests.
func (s *realStage) Settle(patience time.Duration, broken []string) error {
	s.Note("settle; broken:", strings.Join(broken, ","))
	s.dirty = true
	for _, a := range s.cluster.Hosts {
		for _, b := range s.cluster.Hosts {
			cut := slices.Contains(broken, a.Name) || slices.Contains(broken, b.Name)
			if a != b {
				if err := s.setCut(a.Name, b.Name, cut); err != nil {
					return err
				}
			}
		}
	}
	for _, h := range s.cluster.Hosts {
		switch {
		case slices.Contains(broken, h.Name):
		case h.State() == lab.Paused:
			if err := s.host(h.Name).Resume(); err != nil {
				return err
			}
		default:
			s.switchOn(s.hosts[h.Name])
		}
	}
	return s.Rest(patience, broken)
}
