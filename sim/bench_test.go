package sim_test

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
)

// BenchmarkIdle lets time pass in a swarm of 5 managers, 10 workers and 100
// tasks, and says how much faster than real time.
func BenchmarkIdle(b *testing.B) {
	w, err := sim.New(sim.Config{Seed: 1, Hosts: hosts(5, 10)})
	if err != nil {
		b.Fatal(err)
	}
	w.Until(10*time.Second, func() bool { return w.Leader() != nil })
	w.Call(w.Leader(), service("website", 100), func(control.Answer) {})
	if !w.Until(time.Minute, func() bool { return running(w) == 100 }) {
		b.Fatalf("%d of 100 run", running(w))
	}
	began := w.Now()
	b.ReportAllocs()
	for b.Loop() {
		w.Run(w.Now() + time.Minute)
	}
	b.ReportMetric((w.Now()-began).Seconds()/b.Elapsed().Seconds(), "x-real-time")
}

// BenchmarkChurn does the same while a service is scaled up and down every few
// seconds.
func BenchmarkChurn(b *testing.B) {
	w, err := sim.New(sim.Config{Seed: 1, Hosts: hosts(5, 10)})
	if err != nil {
		b.Fatal(err)
	}
	w.Until(10*time.Second, func() bool { return w.Leader() != nil })
	w.Call(w.Leader(), service("website", 100), func(control.Answer) {})
	if !w.Until(time.Minute, func() bool { return running(w) == 100 }) {
		b.Fatalf("%d of 100 run", running(w))
	}
	began := w.Now()
	b.ReportAllocs()
	for b.Loop() {
		for _, replicas := range []uint64{110, 90} {
			w.Call(w.Leader(), control.ServiceInspect{Ref: "website"}, func(a control.Answer) {
				s := a.(control.Services).Services[0]
				spec := s.Spec
				spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}
				w.Call(w.Leader(), control.ServiceUpdate{Ref: "website", Version: s.SpecVersion, Spec: spec}, func(control.Answer) {})
			})
			w.Run(w.Now() + 5*time.Second)
		}
	}
	b.ReportMetric((w.Now()-began).Seconds()/b.Elapsed().Seconds(), "x-real-time")
}
