package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/network"
	"github.com/swarmd/swarmd/real/runtime"
)

// cleanup ends and removes the containers of a daemon that does not run, and its
// part of the host's network.
func cleanup(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	log, err := o.logger()
	if err != nil {
		return err
	}
	lock, err := disk.LockDir(o.dataDir)
	if err != nil {
		return err
	}
	defer lock.Unlock() //nolint:errcheck // the kernel unlocks it at the latest
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the daemon's own file: %w", err)
	}
	net, err := network.Start(o.network(program, log, func(engine.Event) {}))
	if err != nil {
		return err
	}
	failed := removeContainers(ctx, o, net.Netns)
	return errors.Join(failed, net.Remove(), net.Close())
}

// removeContainers ends and removes every container of the daemon.
func removeContainers(ctx context.Context, o options, netns func(state.TaskID) string) error {
	log, err := o.logger()
	if err != nil {
		return err
	}
	answers := make(chan engine.Event)
	var found []agent.Found
	var posting sync.WaitGroup
	defer posting.Wait()
	r, err := runtime.Start(ctx, runtime.Config{
		Address: o.containerd, Root: filepath.Join(o.dataDir, "runtime"), State: filepath.Join(o.runDir, "runtime"),
		Namespace: o.namespace(), Netns: netns, LoggerBinary: []string{"/bin/false"}, Logger: log,
		Post: func(e engine.Event) {
			if f, ok := e.(engine.ContainersFound); ok {
				found = f.Containers
				return
			}
			posting.Go(func() { answers <- e })
		},
	})
	if err != nil {
		return err
	}
	for _, c := range found {
		r.StopContainer(engine.StopContainer{Stop: agent.Stop{Task: c.Task}})
	}
	var failed error
	for left := len(found); left > 0; {
		switch e := (<-answers).(type) {
		case engine.ContainerExited:
			failed = errors.Join(failed, e.Err)
			r.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: e.Task}})
		case engine.ContainerRemoved:
			failed = errors.Join(failed, e.Err)
			left--
		default:
		}
	}
	return errors.Join(failed, r.Close())
}
