package check

import (
	"fmt"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
)

// BenchmarkIdle lets time pass in a swarm of 5 managers, 10 workers and 100 tasks,
// watched by every oracle or by none, and says how much faster than real time.
func BenchmarkIdle(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			var config sim.Config
			for i := range 15 {
				config.Hosts = append(config.Hosts, sim.HostConfig{Name: fmt.Sprintf("h%d", i), Manager: i < 5})
			}
			w, err := sim.New(config)
			if err != nil {
				b.Fatal(err)
			}
			if watched {
				Watch(w, All()...)
			}
			w.Until(10*time.Second, func() bool { return w.Leader() != nil })
			w.Call(w.Leader(), control.ServiceCreate{Spec: serviceSpec("web", 100)}, func(control.Answer) {})
			w.Run(w.Now() + time.Minute)
			began := w.Now()
			b.ReportAllocs()
			for b.Loop() {
				w.Run(w.Now() + time.Minute)
			}
			b.ReportMetric((w.Now()-began).Seconds()/b.Elapsed().Seconds(), "x-real-time")
		})
	}
}
