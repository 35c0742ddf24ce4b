package sim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
)

func hosts(managers, workers int) []sim.HostConfig {
	var list []sim.HostConfig
	for i := range managers {
		list = append(list, sim.HostConfig{Name: fmt.Sprintf("m%d", i+1), Manager: true})
	}
	for i := range workers {
		list = append(list, sim.HostConfig{Name: fmt.Sprintf("w%d", i+1)})
	}
	return list
}

func service(name string, replicas uint64) control.ServiceCreate {
	return control.ServiceCreate{Spec: swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx:alpine"}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}}
}

func running(w *sim.World) int {
	n := 0
	for _, h := range w.Hosts {
		for _, c := range h.Containers() {
			if c.Running {
				n++
			}
		}
	}
	return n
}

// A swarm elects a leader, runs what it is asked to, and survives the loss of
// its leader without touching a container.
func TestStory(t *testing.T) {
	w, err := sim.New(sim.Config{Seed: 1, Hosts: hosts(3, 3)})
	if err != nil {
		t.Fatal(err)
	}
	if !w.Until(10*time.Second, func() bool { return w.Leader() != nil }) {
		t.Fatal("no leader within 10 s")
	}
	var answer control.Answer
	w.Call(w.Hosts[1], service("website", 5), func(a control.Answer) { answer = a })
	if !w.Until(20*time.Second, func() bool { return running(w) == 5 }) {
		t.Fatalf("%d of 5 run after 20 s; the answer was %v; %v", running(w), answer, w.Violations())
	}
	if _, ok := answer.(control.Created); !ok {
		t.Fatalf("the service was answered with %#v", answer)
	}
	lost := w.Leader()
	lost.Kill()
	if !w.Until(10*time.Second, func() bool { return w.Leader() != nil && w.Leader() != lost }) {
		t.Fatal("no new leader within 10 s")
	}
	w.Run(w.Now() + 2*time.Minute)
	lost.Start()
	w.Run(w.Now() + 2*time.Minute)
	if n := running(w); n != 5 {
		t.Errorf("%d containers run, want 5", n)
	}
	t.Logf("%d steps, trace %s, probes %v", w.Steps(), w.Trace().Sum(), w.Probes())
}
