package main

import (
	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/api"
)

// metrics are what /metrics says of this daemon beside the API's own.
func (d *daemon) metrics() []api.Metric {
	of := func(f func(*engine.Node) float64) func() float64 {
		return func() (value float64) {
			_ = d.driver.Ask(func(n *engine.Node) { value = f(n) }) // a daemon that stops has no numbers
			return value
		}
	}
	objects := func(k state.Kind) func() float64 {
		return of(func(n *engine.Node) float64 { return float64(n.Store().Len(k)) })
	}
	return []api.Metric{
		{Name: "swarmd_log_index", Help: "Index of the last log entry that was applied.", Value: of(func(n *engine.Node) float64 { return float64(n.Store().Index()) })},
		{Name: "swarmd_nodes", Help: "Nodes of the swarm.", Value: objects(state.KindNode)},
		{Name: "swarmd_services", Help: "Services of the swarm.", Value: objects(state.KindService)},
		{Name: "swarmd_tasks", Help: "Tasks of the swarm, ended ones too.", Value: objects(state.KindTask)},
	}
}
