package runtime

import (
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

// BenchmarkLaunch creates and starts containers, as many at a time as the
// runtime admits.
func BenchmarkLaunch(b *testing.B) {
	h := startHost(b)
	h.load(b, tinyImage, imageOf(b, v1.Config{Cmd: []string{"sleep", "600"}}))
	b.ResetTimer()
	var all []agent.Container
	for range b.N {
		all = append(all, task("bench", swarm.ContainerSpec{}))
	}
	var group sync.WaitGroup
	room := make(chan struct{}, launchesMax)
	for _, c := range all {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			if _, err := h.create(h.ctx, c); err != nil {
				b.Error(err)
				return
			}
			if _, err := h.Runtime.start(h.ctx, h.instance(c.Task), c.Task); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "containers/s")
	for _, c := range all {
		h.watch(h.instance(c.Task))
		h.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: c.Task}})
	}
	for range all {
		await(b, h, func(engine.ContainerRemoved) bool { return true })
	}
}
