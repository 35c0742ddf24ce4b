package state_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// The sizes that targets are stated for.
const (
	benchNodes = 1000
	benchTasks = 100_000
)

// BenchmarkTaskInLog says how many bytes of the log a task costs that is made
// and placed in one commit.
func BenchmarkTaskInLog(b *testing.B) {
	s, _ := fill(benchNodes, 4000)
	var entry int
	for b.Loop() {
		d := s.Draft()
		mint, node := entropy.New(entropy.Seed{2}), state.NodeID("")
		for n := range d.Nodes() {
			node = n.ID
		}
		for i := range 1000 {
			d.PutTask(&state.Task{
				ID: state.TaskID(mint.ID()), Service: "2q8y5uwd8vqx1n4rlsk0c7mze", Slot: uint64(5000 + i), Template: 3, Node: node,
				Meta:      state.Meta{Created: 1795000000000000000, Updated: 1795000000000000000},
				Desired:   state.TaskRunning,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})},
				Status:    state.TaskStatus{State: state.TaskAssigned, At: 1795000000000000000, Message: "scheduler assigned task to node"},
			})
		}
		entry = len(state.Entry{Base: d.Base(), Changes: d.Changes()}.Append(nil))
	}
	b.ReportMetric(float64(entry)/1000, "B/task")
}

// BenchmarkHeap says what a manager's memory grows by with every task and node.
func BenchmarkHeap(b *testing.B) {
	for b.Loop() {
		empty := heap()
		nodes := filledNodes(benchNodes)
		withNodes := heap()
		full, _ := fill(benchNodes, benchTasks)
		withTasks := heap()
		b.ReportMetric(float64(withNodes-empty)/benchNodes, "B/node")
		b.ReportMetric(float64(withTasks-withNodes-(withNodes-empty))/benchTasks, "B/task")
		runtime.KeepAlive(nodes)
		runtime.KeepAlive(full)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// filledNodes is a store of nodes that say of themselves what real ones do.
func filledNodes(count int) *state.Store {
	mint := entropy.New(entropy.Seed{1})
	s := state.NewStore()
	d := s.Draft()
	for i := range count {
		d.PutNode(&state.Node{
			ID: state.NodeID(mint.ID()), State: state.NodeReady, Addr: "10.0.0.1",
			Spec: swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive},
			Description: swarm.NodeDescription{
				Hostname: fmt.Sprintf("host-%d", i), Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"},
				Resources: swarm.Resources{NanoCPUs: 8e9, MemoryBytes: 16 << 30},
				Engine:    swarm.EngineDescription{EngineVersion: "1.0.0"},
			},
		})
	}
	s.Apply(1, d.Changes())
	return s
}

// BenchmarkApply applies an entry that moves a thousand tasks on.
func BenchmarkApply(b *testing.B) {
	s, ids := fill(benchNodes, benchTasks)
	b.ReportAllocs()
	entries := make([][]state.Change, 2)
	for i := range entries {
		d := s.Draft()
		for _, id := range ids[:1000] {
			t := *d.Task(id)
			t.Status.State = state.TaskRunning + state.TaskState(64*i)
			d.PutTask(&t)
		}
		entries[i] = d.Changes()
	}
	index := s.Index()
	for b.Loop() {
		index++
		s.Apply(index, entries[index%2])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/task")
}

// BenchmarkSnapshot freezes, saves and restores a hundred thousand tasks. Only
// the freezing stops the store.
func BenchmarkSnapshot(b *testing.B) {
	s, _ := fill(benchNodes, benchTasks)
	b.Run("freeze", func(b *testing.B) {
		for b.Loop() {
			s.Freeze()
		}
	})
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Freeze().WriteTo(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	var saved bytes.Buffer
	if _, err := s.Freeze().WriteTo(&saved); err != nil {
		b.Fatal(err)
	}
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(saved.Len()))
		for b.Loop() {
			if _, err := state.Restore(bytes.NewReader(saved.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
