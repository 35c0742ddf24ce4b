package check

import (
	"net/netip"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

// aRunning is one of the containers of web, with its host.
func (f *fixture) aRunning() (*sim.Host, *sim.Container) {
	f.t.Helper()
	for _, h := range f.w.Hosts {
		for x := range h.Live() {
			if x.Place().Mesh.IsValid() {
				return h, x
			}
		}
	}
	f.t.Fatal("nothing runs that is in the mesh")
	return nil, nil
}

// plantedNetworks are stories of addresses of the swarm's networks, and of what leads
// to them.
func plantedNetworks() map[string]func(*fixture) {
	return map[string]func(*fixture){
		"S37 an address twice": func(f *fixture) {
			_, x := f.aRunning()
			f.setNode("h3", func(n *state.Node) { n.Mesh = f.c.View().Task(x.Task).Mesh })
		},
		"S37 an address of no network": func(f *fixture) {
			f.setNode("h3", func(n *state.Node) { n.Mesh = addr("192.0.2.1") })
		},
		"S37 a gateway's address": func(f *fixture) {
			f.setNode("h3", func(n *state.Node) { n.Mesh = f.c.View().Ingress().Subnets[0].Addr() })
		},
		"S37 a number twice": func(f *fixture) {
			f.commit(func(d *state.Draft) { d.PutNetwork(&state.Network{ID: "other", VNI: d.Ingress().VNI}) })
		},
		"S37 a subnet twice": func(f *fixture) {
			f.commit(func(d *state.Draft) {
				within := netip.PrefixFrom(d.Ingress().Subnets[0].Addr(), 28)
				d.PutNetwork(&state.Network{ID: "other", VNI: 5000, Subnets: []netip.Prefix{within}})
			})
		},
		"S38": func(f *fixture) {
			rest[*addressesKept](f)
			f.clean()
			oracle[*addressesKept](f).judge(f.c, f.w.Leader(), "something else")
		},
		"S39 in the mesh": func(f *fixture) {
			_, x := f.aRunning()
			o := oracle[*quarantine](f)
			given := &state.Task{ID: "other", Mesh: x.Place().Mesh}
			delta := &state.Delta{Tasks: []state.Diff[state.Task]{{After: given}}}
			given.ID = x.Task
			o.Committed(f.c, 0, state.Entry{}, delta)
			f.clean()
			given.ID = "other"
			o.Committed(f.c, 0, state.Entry{}, delta)
		},
		"S40 stopped before its own ports let go": func(f *fixture) {
			h, x := f.aRunning()
			oracle[*portsOrder](f).stopped(f.c, h, x)
		},
		"S40 stopped too early": func(f *fixture) {
			h, x := f.aRunning()
			stopped := engine.StopContainer{}
			stopped.Task = x.Task
			stop := engine.Step{Effects: []engine.Effect{stopped}}
			o := oracle[*lettingGo](f)
			o.Stepped(f.c, h, engine.Woken{}, stop) // of its own accord
			f.clean()
			o.told[x.Task] = f.w.Now()
			o.Stepped(f.c, h, engine.Woken{}, stop)
		},
		"S40 tables too full": func(f *fixture) {
			rest[*tablesConverge](f)
			f.clean()
			f.setTask(f.tasks("web")[0], func(t *state.Task) { t.Desired = state.TaskShutdown })
			rest[*tablesConverge](f)
		},
	}
}
