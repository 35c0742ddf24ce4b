package sim_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// joined is a swarm of nodes with the mesh, and a network and two services on it, of
// which one publishes a port.
func joined(t *testing.T, seed uint64) *sim.World {
	t.Helper()
	w, err := sim.New(sim.Config{Seed: seed, Hosts: hosts(3, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if !w.Until(10*time.Second, func() bool { return w.Leader() != nil }) {
		t.Fatal("no leader within 10 s")
	}
	call(t, w, control.NetworkCreate{Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: "front"}}})
	web := service("web", 4)
	web.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "front", Aliases: []string{"WWW"}}}
	web.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}}}
	call(t, w, web)
	client := service("client", 2)
	client.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "front"}}
	client.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	call(t, w, client)
	if !w.Until(30*time.Second, func() bool { return running(w) == 6 && converged(w, 4) }) {
		t.Fatalf("%d of 6 run and the plans are %+v", running(w), w.Hosts[0].Plan())
	}
	return w
}

// call makes a call of the first host that runs and waits for its answer.
func call(t *testing.T, w *sim.World, c control.Call) control.Answer {
	t.Helper()
	var answer control.Answer
	at := slices.IndexFunc(w.Hosts, func(h *sim.Host) bool { return h.Up() })
	w.Call(w.Hosts[at], c, func(a control.Answer) { answer = a })
	if !w.Until(20*time.Second, func() bool { return answer != nil }) {
		t.Fatalf("%T is not answered", c)
	}
	if failed, bad := answer.(control.Failed); bad {
		t.Fatalf("%T: %s", c, failed.Message)
	}
	return answer
}

// converged reports whether the port, the VIP and the name of web lead to so many
// tasks, and the name of client, which has no VIP, to both of its tasks: on every node
// that runs and must know.
func converged(w *sim.World, tasks int) bool {
	for _, h := range w.Hosts {
		if !h.Up() {
			continue
		}
		plan := h.Plan()
		if len(plan.Published) != 1 || len(plan.Published[0].Backends) != tasks {
			return false
		}
		for _, n := range plan.Networks {
			if len(n.Balanced) != 1 || len(n.Balanced[0].Backends) != tasks || len(named(n, "tasks.web")) != tasks || len(named(n, "client")) != 2 {
				return false
			}
		}
	}
	return true
}

func named(n netplan.Network, name string) []netip.Addr {
	for _, x := range n.Names {
		if x.Name == name {
			return x.Addresses
		}
	}
	return nil
}

// Every node's port leads to every task, through the mesh; the network's names and
// addresses are known where it has tasks, and nowhere else.
func TestNetworksOfASwarm(t *testing.T) {
	w := joined(t, 3)
	for _, h := range w.Hosts {
		plan := h.Plan()
		local := slices.ContainsFunc(plan.Endpoints, func(e netplan.Endpoint) bool { return len(e.Attachments) == 1 })
		if local != (len(plan.Networks) == 1) {
			t.Errorf("%s has tasks on the network: %v, and plans %d networks", h.Name, local, len(plan.Networks))
		}
		if plan.Mesh.VNI != 4096 || len(plan.Mesh.Peers) != 4 || !plan.Mesh.Subnet.Contains(plan.Mesh.Address) {
			t.Errorf("%s has the mesh %+v", h.Name, plan.Mesh)
		}
		for _, n := range plan.Networks {
			if vip := named(n, "www"); len(vip) != 1 || vip[0] != n.Balanced[0].VIP || named(n, "web")[0] != vip[0] {
				t.Errorf("%s: www is %v, web %v", h.Name, vip, named(n, "web"))
			}
			local := 0
			for _, e := range plan.Endpoints {
				local += len(e.Attachments)
			}
			if len(n.Remote)+local != 6 {
				t.Errorf("%s knows of %d tasks elsewhere, and has %d", h.Name, len(n.Remote), local)
			}
		}
	}
}

// A watch holds what is stopped against what leads to it.
type watch struct {
	t *testing.T
	w *sim.World
}

// Stepped implements [sim.Observer].
func (o watch) Stepped(_ *sim.Host, _ engine.Event, step engine.Step) {
	for _, f := range step.Effects {
		stop, ok := f.(engine.StopContainer)
		if !ok {
			continue
		}
		at := o.w.Leader().Store().Draft().Task(stop.Task).Mesh
		for _, h := range o.w.Hosts {
			for _, p := range h.Plan().Published {
				if h.Up() && at.IsValid() && slices.ContainsFunc(p.Backends, func(b netplan.Backend) bool { return b.Address == at }) {
					o.t.Errorf("task %s is stopped, and the port of %s leads to it", stop.Task, h.Name)
				}
			}
		}
	}
}

// Tasks that are to stop leave every node's tables before they are told.
func TestNoRequestIsLost(t *testing.T) {
	for seed := range uint64(5) {
		w := joined(t, seed)
		w.Observe(watch{t, w})
		spec := webSpec(w)
		replicas := uint64(1)
		spec.Spec.Mode.Replicated.Replicas = &replicas
		call(t, w, spec)
		if !w.Until(20*time.Second, func() bool { return running(w) == 3 && converged(w, 1) }) {
			t.Fatalf("seed %d: %d run", seed, running(w))
		}
	}
}

// webSpec is an update of web that changes nothing yet.
func webSpec(w *sim.World) control.ServiceUpdate {
	s := w.Leader().Store().Draft().ServiceByName("web")
	spec := s.Spec
	replicated := *spec.Mode.Replicated
	spec.Mode.Replicated = &replicated
	return control.ServiceUpdate{Ref: "web", Version: s.SpecVersion, Spec: spec}
}

// The leader is lost. Nothing that leads anywhere changes until there is another,
// who goes on.
func TestNetworksWithoutALeader(t *testing.T) {
	w := joined(t, 7)
	old := w.Leader()
	old.Kill()
	w.Until(time.Second, func() bool { return false })
	if !converged(w, 4) {
		t.Error("what was known is forgotten with the leader")
	}
	if !w.Until(30*time.Second, func() bool { return w.Leader() != nil && w.Leader() != old }) {
		t.Fatal("no other leader")
	}
	spec := webSpec(w)
	replicas := uint64(6)
	spec.Spec.Mode.Replicated.Replicas = &replicas
	call(t, w, spec)
	old.Start()
	if !w.Until(60*time.Second, func() bool { return converged(w, 6) }) {
		t.Errorf("the plans do not converge: %+v", w.Hosts[0].Plan().Published)
	}
	held := map[netip.Addr]state.TaskID{}
	for task := range w.Leader().Store().Draft().Tasks() {
		if task.Mesh.IsValid() && !task.Status.State.Terminal() {
			if other, twice := held[task.Mesh]; twice {
				t.Errorf("%s is %s's and %s's", task.Mesh, other, task.ID)
			}
			held[task.Mesh] = task.ID
		}
	}
}
