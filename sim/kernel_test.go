package sim_test

import (
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/sim"
)

// While the kernel refuses, a network is as it should be in part only; and then as a
// whole, since what failed is tried again.
func TestNetworkMadeInPart(t *testing.T) {
	w := joined(t, 4)
	for _, h := range w.Hosts {
		h.SetMishaps(func(m *sim.Mishaps) { m.NetworkFail, m.NetworkSlow = 1, 0.5 })
	}
	spec := webSpec(w)
	replicas := uint64(7)
	spec.Spec.Mode.Replicated.Replicas = &replicas
	call(t, w, spec)
	if w.Until(5*time.Second, func() bool { return converged(w, 7) }) {
		t.Error("the network is as it should be, though the kernel refuses")
	}
	for _, h := range w.Hosts {
		h.ClearMishaps()
	}
	if !w.Until(2*time.Minute, func() bool { return converged(w, 7) }) {
		t.Errorf("the plans do not converge: %+v", w.Hosts[0].Plan().Published)
	}
	for _, name := range []string{"network was made in part", "network was made late"} {
		if w.Probes()[name] == 0 {
			t.Errorf("it never happened that the %s", name)
		}
	}
}

// A task whose place in the network cannot be made does not run; another comes in its
// stead.
func TestEndpointNotMade(t *testing.T) {
	w := joined(t, 5)
	for _, h := range w.Hosts {
		h.SetMishaps(func(m *sim.Mishaps) { m.EndpointFail = 0.7 })
	}
	spec := webSpec(w)
	replicas := uint64(9)
	spec.Spec.Mode.Replicated.Replicas = &replicas
	call(t, w, spec)
	if !w.Until(5*time.Minute, func() bool { return running(w) == 11 && converged(w, 9) }) {
		t.Errorf("%d of 11 run", running(w))
	}
	if w.Probes()["endpoint could not be made"] == 0 {
		t.Error("every endpoint could be made")
	}
}

// The network outlives the daemon, and not the machine.
func TestNetworkAndPower(t *testing.T) {
	w := joined(t, 6)
	h := w.Hosts[4]
	before := h.Plan()
	h.Kill()
	w.Until(time.Second, func() bool { return false })
	if after := h.Plan(); len(after.Published) != 1 || len(after.Endpoints) != len(before.Endpoints) {
		t.Errorf("of %+v the daemon's end has left %+v", before, after)
	}
	h.PowerOff()
	if after := h.Plan(); len(after.Published)+len(after.Endpoints)+len(after.Networks) != 0 || after.Mesh.VNI != 0 {
		t.Errorf("the machine's end has left %+v", after)
	}
	for _, c := range h.Containers() {
		if place := c.Place(); place.Address.IsValid() || place.Mesh.IsValid() {
			t.Errorf("%s is still at %+v", c.Task, place)
		}
	}
	h.Start()
	if !w.Until(time.Minute, func() bool { return running(w) == 6 && converged(w, 4) }) {
		t.Errorf("%d of 6 run", running(w))
	}
	var none netplan.Plan
	if h.Plan().Generation == none.Generation {
		t.Error("nothing was planned anew")
	}
}
