package state_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

func network(id, name string) *state.Network {
	n := &state.Network{ID: state.NetworkID(id), VNI: 4097}
	n.Spec.Name = name
	return n
}

// A network is found by its name until it is removed; another may have the name
// then. What is drafted is seen before what is committed.
func TestNetworkNames(t *testing.T) {
	store := state.NewStore()
	d := store.Draft()
	d.PutNetwork(network("n1", "front"))
	d.PutNetwork(network("n2", "back"))
	store.Apply(1, d.Changes())

	d = store.Draft()
	gone := *d.NetworkByName("front")
	gone.Removed = true
	d.PutNetwork(&gone)
	if n := d.NetworkByName("front"); n != nil {
		t.Errorf("%s is found by its name: it has been removed", n.ID)
	}
	d.PutNetwork(network("n3", "front"))
	store.Apply(2, d.Changes())
	store = restored(t, store)

	d = store.Draft()
	if n := d.NetworkByName("front"); n == nil || n.ID != "n3" {
		t.Errorf("front is %v, want n3", n)
	}
	d.DeleteNetwork("n1")
	store.Apply(3, d.Changes())
	var ids []string
	for n := range store.Draft().Networks() {
		ids = append(ids, string(n.ID))
	}
	if diff := cmp.Diff([]string{"n2", "n3"}, ids); diff != "" {
		t.Error(diff)
	}
}

// A task keeps the addresses alone: which networks they are on its template says.
func TestAttachments(t *testing.T) {
	addr := netip.MustParseAddr
	task := &state.Task{Addresses: []netip.Addr{addr("10.0.1.3"), addr("fd00::3"), addr("10.0.2.7")}}
	made := &state.Template{Spec: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "n1"}, {Target: "n2"}}}}
	want := []state.Attachment{
		{Network: "n1", Addresses: []netip.Addr{addr("10.0.1.3"), addr("fd00::3")}},
		{Network: "n2", Addresses: []netip.Addr{addr("10.0.2.7")}},
	}
	if diff := cmp.Diff(want, task.Attachments(made), compareObjects()); diff != "" {
		t.Error(diff)
	}
	if !task.Addressed(made) || (&state.Task{}).Addressed(made) || !(&state.Task{}).Addressed(&state.Template{}) {
		t.Error("a task is addressed once it has what its template needs")
	}
	if made.Meshed() {
		t.Error("no port is published")
	}
	made.Ports = []swarm.PortConfig{{TargetPort: 80, PublishMode: swarm.PortConfigPublishModeIngress}}
	if !made.Meshed() {
		t.Error("a published port of all nodes leads through the mesh")
	}
}
