package runtime

import (
	"sync"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

// benchImage makes an image whose containers do nothing and end when told to.
func benchImage(b *testing.B, h *testHost) {
	h.load(b, tinyImage, imageOf(b, v1.Config{Cmd: sh("trap 'exit 0' TERM; sleep 100000 & wait")}))
}

// inTurn runs launch for each of n containers, as many at a time as the runtime
// admits, and reports the pace.
func inTurn(b *testing.B, h *testHost, n int, launch func(int) error) {
	b.Helper()
	b.ResetTimer()
	var group sync.WaitGroup
	room := make(chan struct{}, cap(h.launches))
	for number := range n {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			if err := launch(number); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "containers/s")
}

// BenchmarkLaunch creates and starts containers.
func BenchmarkLaunch(b *testing.B) {
	h := startHost(b)
	benchImage(b, h)
	var all []agent.Container
	for range b.N {
		all = append(all, task("bench", swarm.ContainerSpec{}))
	}
	inTurn(b, h, b.N, func(n int) error {
		if _, err := h.create(h.ctx, all[n]); err != nil {
			return err
		}
		_, err := h.Runtime.start(h.ctx, h.instance(all[n].Task), all[n].Task)
		return err
	})
	for _, c := range all {
		h.watch(h.instance(c.Task))
		h.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: c.Task}})
	}
	for range all {
		await(b, h, func(engine.ContainerRemoved) bool { return true })
	}
}

// BenchmarkContainerd does the same with nothing but containerd: no log, no
// seccomp, none of what Docker adds to a container, a shim for each.
func BenchmarkContainerd(b *testing.B) {
	h := startHost(b)
	benchImage(b, h)
	images, err := h.client.ListImages(h.ctx)
	if err != nil || len(images) != 1 {
		b.Fatalf("one image was expected: %v, %v", images, err)
	}
	if err := images[0].Unpack(h.ctx, h.host.snapshotter); err != nil {
		b.Fatal(err)
	}
	running := make([]containerd.Task, b.N)
	inTurn(b, h, b.N, func(n int) error {
		id := task("bare", swarm.ContainerSpec{}).ID
		c, err := h.client.NewContainer(h.ctx, id, containerd.WithSnapshotter(h.host.snapshotter),
			containerd.WithNewSnapshot(id, images[0]), containerd.WithNewSpec(oci.WithImageConfig(images[0]), oci.WithCgroup(h.cgroupPath(id))))
		if err != nil {
			return err
		}
		if running[n], err = c.NewTask(h.ctx, cio.NullIO); err != nil {
			return err
		}
		return running[n].Start(h.ctx)
	})
	for _, process := range running {
		if process != nil {
			endBare(b, h, process)
		}
	}
}

// endBare makes a container be gone that the runtime does not know.
func endBare(b *testing.B, h *testHost, process containerd.Task) {
	b.Helper()
	if _, err := process.Delete(h.ctx, containerd.WithProcessKill); err != nil {
		b.Error(err)
	}
	c, err := h.client.LoadContainer(h.ctx, process.ID())
	if err != nil {
		b.Error(err)
		return
	}
	if err := c.Delete(h.ctx, containerd.WithSnapshotCleanup); err != nil {
		b.Error(err)
	}
}
