package state_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
)

// fill returns a store of that many nodes and tasks.
func fill(nodes, tasks int) (*state.Store, []state.TaskID) {
	mint := entropy.New(entropy.Seed{1})
	s := state.NewStore()
	d := s.Draft()
	var nodeIDs []state.NodeID
	for i := range nodes {
		id := state.NodeID(mint.ID())
		nodeIDs = append(nodeIDs, id)
		d.PutNode(&state.Node{ID: id, State: state.NodeReady, Description: swarm.NodeDescription{Hostname: fmt.Sprintf("n%d", i)}})
	}
	service := state.ServiceID(mint.ID())
	d.PutService(&state.Service{ID: service, Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "web"}}})
	s.Apply(1, d.Changes())
	var ids []state.TaskID
	index := uint64(1)
	d = s.Draft()
	for i := range tasks {
		id := state.TaskID(mint.ID())
		ids = append(ids, id)
		d.PutTask(&state.Task{
			ID: id, Meta: state.Meta{Created: 1795000000000000000 + state.Wall(i), Updated: 1795000000000000000 + state.Wall(i)},
			Service: service, Slot: uint64(i + 1), Template: 3, Node: nodeIDs[i%nodes], Desired: state.TaskRunning,
			Status: state.TaskStatus{State: state.TaskAssigned, At: 1795000000000000000, Message: "scheduler assigned task to node"},
		})
		if d.Full() || i == tasks-1 {
			index++
			s.Apply(index, d.Changes())
			d = s.Draft()
		}
	}
	return s, ids
}

func TestSnapshotRestoresTheSameBytes(t *testing.T) {
	s, ids := fill(7, 5000)
	var b bytes.Buffer
	if _, err := s.Freeze().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	r, err := state.Restore(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if r.Hash() != s.Hash() || r.Index() != s.Index() {
		t.Errorf("restored %x at %d, want %x at %d", r.Hash(), r.Index(), s.Hash(), s.Index())
	}
	if got := r.Draft().Task(ids[17]); got == nil || got.Slot != 18 {
		t.Errorf("task 17 is %+v", got)
	}
}

func BenchmarkPutTasks(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		fill(1000, 100_000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/task")
}
