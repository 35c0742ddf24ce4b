package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	dockerswarm "github.com/moby/moby/api/types/swarm"
)

// Names of what is measured, as the table has them.
const (
	launched     = "service create → %d running"
	launchedPace = "containers a second, of %d"
	launchedBare = "service create → %d beside bare containerd"
	removed      = "service rm of 50 → no container"
	replaced     = "killed container replaced, beyond the delay"
	rolled       = "rolling update of 20, per task"
	rolledTail   = "rolling update, end beyond the monitor"
	scaledUp     = "scale 3 → 50"
	scaledDown   = "scale 50 → 3"
	createSerial = "service create, one client, per second"
	createMany   = "service create, 16 clients, per second"
	idleMemory   = "idle memory (RSS), MiB"
	idleChild    = "idle memory of its containerd, MiB"
	idleCPU      = "idle CPU of both, % of a core"
	idleWrites   = "idle disk writes, KiB a minute"
	idleEntries  = "idle log entries"
)

// Sizes of what is measured.
const (
	launchMax     = 50
	updatedTasks  = 20
	createCount   = 64
	createClients = 16
)

// A measure takes values of a swarm, by their names.
type measure struct {
	name string
	take func(context.Context, *swarm) (map[string]float64, error)
	rare bool   // takes long: fewer rounds
	bare string // of its values, the one that bare containerd has as well
}

// less is how many times fewer rounds the measure gets.
func (m measure) less() int {
	if m.rare {
		return 2
	}
	return 1
}

func measures() []measure {
	return []measure{
		{name: "create 1", take: launch(1)},
		{name: "create 10", take: launch(10)},
		{name: "create 50", take: launch(launchMax), bare: fmt.Sprintf(launchedBare, launchMax)},
		{name: "replace", take: replace},
		{name: "rolling update", take: roll, rare: true},
		{name: "scale", take: scale, rare: true},
		{name: "create many", take: createServices, rare: true},
	}
}

// since is the time of one step in seconds.
func since(start time.Time) float64 { return time.Since(start).Seconds() }

func launch(count int) func(context.Context, *swarm) (map[string]float64, error) {
	return func(ctx context.Context, s *swarm) (map[string]float64, error) {
		start := time.Now()
		if err := s.create(ctx, "web", uint64(count)); err != nil {
			return nil, err
		}
		if err := s.untilRunning(ctx, count); err != nil {
			return nil, err
		}
		took := since(start)
		values := map[string]float64{fmt.Sprintf(launched, count): took}
		start = time.Now()
		if err := s.rm(ctx, "web"); err != nil {
			return nil, err
		}
		if count == launchMax {
			values[removed] = since(start)
			values[fmt.Sprintf(launchedPace, count)] = float64(count) / took
			values[fmt.Sprintf(launchedBare, count)] = took
		}
		return values, nil
	}
}

func replace(ctx context.Context, s *swarm) (map[string]float64, error) {
	if err := s.create(ctx, "web", 1); err != nil {
		return nil, err
	}
	if err := s.untilRunning(ctx, 1); err != nil {
		return nil, err
	}
	victims, err := s.containers(ctx, "")
	if err != nil || len(victims) != 1 {
		return nil, fmt.Errorf("one container was expected: %v, %w", victims, err)
	}
	start := time.Now()
	if err := s.post(ctx, "/containers/"+victims[0]+"/kill", nil); err != nil {
		return nil, err
	}
	err = until(ctx, func() (bool, error) {
		now, err := s.containers(ctx, "")
		if err != nil || len(now) != 1 || now[0] == victims[0] {
			return false, err
		}
		n, err := s.running(ctx, "web", false)
		return n == 1, err
	})
	if err != nil {
		return nil, err
	}
	delay := *s.spec("web", 1).TaskTemplate.RestartPolicy.Delay
	return map[string]float64{replaced: since(start) - delay.Seconds()}, s.rm(ctx, "web")
}

func roll(ctx context.Context, s *swarm) (map[string]float64, error) {
	if err := s.create(ctx, "web", updatedTasks); err != nil {
		return nil, err
	}
	if err := s.untilRunning(ctx, updatedTasks); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.update(ctx, func(spec *dockerswarm.ServiceSpec) { spec.TaskTemplate.ForceUpdate++ }); err != nil {
		return nil, err
	}
	err := until(ctx, func() (bool, error) {
		n, err := s.running(ctx, "web", true)
		return n == updatedTasks, err
	})
	if err != nil {
		return nil, err
	}
	values := map[string]float64{rolled: since(start) / updatedTasks}
	start = time.Now()
	err = until(ctx, func() (bool, error) {
		v, err := s.service(ctx, "web")
		return v.UpdateStatus != nil && v.UpdateStatus.State == dockerswarm.UpdateStateCompleted, err
	})
	if err != nil {
		return nil, err
	}
	values[rolledTail] = since(start) - s.spec("web", 1).UpdateConfig.Monitor.Seconds()
	return values, s.rm(ctx, "web")
}

func scale(ctx context.Context, s *swarm) (map[string]float64, error) {
	if err := s.create(ctx, "web", 3); err != nil {
		return nil, err
	}
	values := make(map[string]float64)
	for _, step := range []struct {
		name     string
		replicas int
	}{{"", 3}, {scaledUp, 50}, {scaledDown, 3}} {
		start := time.Now()
		replicas := uint64(step.replicas)
		err := s.update(ctx, func(spec *dockerswarm.ServiceSpec) { spec.Mode.Replicated.Replicas = &replicas })
		if err != nil {
			return nil, err
		}
		if err := s.untilRunning(ctx, step.replicas); err != nil {
			return nil, err
		}
		err = until(ctx, func() (bool, error) {
			now, err := s.containers(ctx, "")
			return len(now) == step.replicas, err
		})
		if err != nil {
			return nil, err
		}
		if step.name != "" {
			values[step.name] = since(start)
		}
	}
	return values, s.rm(ctx, "web")
}

// createServices makes services without tasks: how fast the swarm takes orders.
func createServices(ctx context.Context, s *swarm) (map[string]float64, error) {
	values := make(map[string]float64)
	for name, clients := range map[string]int{createSerial: 1, createMany: createClients} {
		failures := make(chan error, clients)
		var work sync.WaitGroup
		start := time.Now()
		for c := range clients {
			work.Go(func() {
				for n := range createCount / clients {
					if err := s.create(ctx, fmt.Sprintf("s-%d-%d", c, n), 0); err != nil {
						failures <- err
						return
					}
				}
			})
		}
		work.Wait()
		values[name] = createCount / since(start)
		close(failures)
		for err := range failures {
			return nil, err
		}
		for c := range clients {
			for n := range createCount / clients {
				if err := s.rm(ctx, fmt.Sprintf("s-%d-%d", c, n)); err != nil {
					return nil, err
				}
			}
		}
	}
	return values, nil
}
