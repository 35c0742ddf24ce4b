package main

import (
	"testing"

	"github.com/swarmd/swarmd/sim/script"
)

// Scenarios that say how much faster than real time a run is, oracles included: 5
// managers, 10 workers, 100 tasks.
const (
	benchStart = `# How fast a run is.
swarm --managers 5 --workers 10 --seed 1
service create --name website --replicas 100 --restart-delay 1s --update-parallelism 5 nginx:1
await 2m website 100/100
`
	benchIdle   = benchStart + "idle 30m\n"
	benchUpdate = benchStart + `service update --image nginx:2 website
await 10m update website completed
service update --image nginx:1 website
await 10m update website completed
`
	benchFaults = benchStart + `storm 5m --kill 0.05/s --poweroff 0.02/s --pause 0.03/s --isolate 0.03/s --cut 0.05/s --flaky 0.05/s --mishaps 0.05/s --end 0.2/s --last 1s..30s
advance 5m
settle
`
)

// BenchmarkRun plays each of them, as swarmsim run does.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"idle", benchIdle}, {"updates", benchUpdate}, {"faults", benchFaults}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := script.Parse(c.name+".txt", c.text, parser{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			virtual := 0.0
			for b.Loop() {
				r, err := play(s, 1, nil)
				if err != nil {
					b.Fatal(err)
				}
				if r.Verdict != passed {
					b.Fatal(r.Violations)
				}
				virtual += r.Virtual
			}
			b.ReportMetric(virtual/b.Elapsed().Seconds(), "x-real-time")
		})
	}
}
