package sim_test

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// join has a host join by a manager, and waits for the answer.
func join(t *testing.T, w *sim.World, h, by *sim.Host, manager bool) {
	t.Helper()
	var answer control.Answer
	w.Call(h, control.SwarmJoin{
		AdvertiseAddr: h.Addr(), RemoteAddrs: []string{by.Addr()}, JoinToken: w.Token(manager),
	}, func(a control.Answer) { answer = a })
	if !w.Until(30*time.Second, func() bool { return answer != nil }) {
		t.Fatalf("%s: no answer to its join; %v", h.Name, w.Violations())
	}
	if _, ok := answer.(control.Done); !ok {
		t.Fatalf("%s: the join was answered with %#v", h.Name, answer)
	}
}

// votes counts the managers that the leader's store shows.
func votes(w *sim.World) int {
	n := 0
	if w.Leader() == nil {
		return -1
	}
	for node := range w.Leader().Store().Draft().Nodes() {
		if node.Manager && node.State == state.NodeReady {
			n++
		}
	}
	return n
}

func setRole(w *sim.World, h *sim.Host, role swarm.NodeRole) {
	node := w.Leader().Store().Draft().Node(h.ID)
	spec := node.Spec
	spec.Role = role
	w.Call(w.Leader(), control.NodeUpdate{Ref: string(h.ID), Version: node.SpecVersion, Spec: spec}, func(control.Answer) {})
}

// One host becomes a swarm of five: workers join, managers join, the leader is
// lost, a worker is promoted, a manager demoted.
func TestMembership(t *testing.T) {
	for seed := range uint64(30) {
		list := hosts(3, 2)
		for i := range list {
			list[i].Outside = i > 0
		}
		w, err := sim.New(sim.Config{Seed: seed, Hosts: list})
		if err != nil {
			t.Fatal(err)
		}
		if !w.Until(10*time.Second, func() bool { return w.Leader() != nil }) {
			t.Fatal("no leader within 10 s")
		}
		m1, m2, m3, w1 := w.Hosts[0], w.Hosts[1], w.Hosts[2], w.Hosts[3]
		join(t, w, w1, m1, false)
		join(t, w, w.Hosts[4], m1, false)
		join(t, w, m2, m1, true)
		join(t, w, m3, m1, true)
		if !w.Until(20*time.Second, func() bool { return votes(w) == 3 }) {
			t.Fatalf("seed %d: %d managers, want 3; %v", seed, votes(w), w.Violations())
		}
		m1.Kill()
		if !w.Until(20*time.Second, func() bool { return w.Leader() != nil && w.Leader() != m1 }) {
			t.Fatalf("seed %d: the others elected nobody", seed)
		}
		m1.Start()
		w.Run(w.Now() + 20*time.Second)
		setRole(w, w1, swarm.NodeRoleManager)
		if !w.Until(20*time.Second, func() bool { return votes(w) == 4 }) {
			t.Fatalf("seed %d: %d managers after a promotion, want 4; %v", seed, votes(w), w.Violations())
		}
		leader := w.Leader()
		setRole(w, leader, swarm.NodeRoleWorker)
		if !w.Until(30*time.Second, func() bool { return votes(w) == 3 && w.Leader() != leader && !leader.Manager }) {
			t.Fatalf("seed %d: the leader was demoted, and %d manage; leads %v; %v", seed, votes(w), w.Leader(), w.Violations())
		}
		w.Run(w.Now() + time.Minute)
		ready := 0
		for n := range w.Leader().Store().Draft().Nodes() {
			if n.State == state.NodeReady {
				ready++
			}
		}
		if ready != 5 || len(w.Violations()) > 0 {
			t.Errorf("seed %d: %d of 5 nodes are ready; %v", seed, ready, w.Violations())
		}
	}
}
