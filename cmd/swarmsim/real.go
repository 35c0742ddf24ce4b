//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim/script"
)

// readyPatience is how long a swarm that was just made may take until all of its
// nodes are ready.
const readyPatience = time.Minute

// checkRealRuns says what is missing for scenarios to be played in the real world,
// and what they ask for that it does not have.
func checkRealRuns(f *runFlags, scripts []*script.Script) error {
	var failed []error
	for _, s := range scripts {
		failed = append(failed, checkReal(s))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("the real world cannot play this:\n%w", err)
	}
	l := labFlags{name: labName}
	if err := l.check(); err != nil {
		return err
	}
	programs := labPrograms()
	programs["busybox"] = "busybox-static"
	if err := needPrograms(programs); err != nil {
		return err
	}
	program, err := findSwarmd(f.swarmd)
	f.swarmd = program
	return err
}

// playAllReal plays one scenario after another on labs of their own.
func playAllReal(ctx context.Context, c console, f *runFlags, scripts []*script.Script) func(func(result) bool) {
	return func(yield func(result) bool) {
		for _, s := range scripts {
			for seed := f.seeds.first; ; seed++ {
				own := seed
				if f.own && s.Config.Seed != 0 {
					own = s.Config.Seed
				}
				report, err := playReal(ctx, c, f, seeded{s, own})
				if ctx.Err() != nil || !yield(result{report, err}) {
					return
				}
				if seed == f.seeds.last {
					break
				}
			}
		}
	}
}

// playReal plays one scenario once, on a lab that is made for it and taken away.
func playReal(ctx context.Context, c console, f *runFlags, s seeded) (r *report, err error) {
	began := time.Now()
	last, sum := &tail{}, sha256.New()
	trace, done, err := traceTo(f, io.MultiWriter(last, sum))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if c.terminal && !f.json {
		trace = io.MultiWriter(trace, &follower{c: c})
	}
	l := &labFlags{name: "story-" + strconv.Itoa(os.Getpid())}
	if err := l.clear(c); err != nil {
		return nil, err
	}
	cluster, err := lab.NewCluster(l.dirs())
	if err != nil {
		return nil, err
	}
	defer func() {
		if f.keep && ctx.Err() == nil {
			_, _ = fmt.Fprintf(c.errs, "the lab of %s is kept: %s; %s\n", s.script.Name, l.command("ls"), l.command("down"))
			err = errors.Join(err, cluster.MarkComplete(), cluster.Close())
			return
		}
		err = errors.Join(err, cluster.Remove())
		_, _ = os.Remove(labsDir), os.Remove(labsDataDir) // if it was the last
	}()
	if err := makeStory(ctx, cluster, f.swarmd, s.script); err != nil {
		return nil, fmt.Errorf("the lab of %s: %w", s.script.File, err)
	}
	// Others may look while the story goes on.
	if err := cluster.Close(); err != nil {
		return nil, err
	}
	stage := newRealStage(ctx, s.script, cluster, s.seed, trace)
	if !stage.pass(readyPatience, stage.ready) && ctx.Err() == nil {
		return nil, fmt.Errorf("the nodes of %s are not ready within %v", s.script.File, readyPatience)
	}
	stage.began = time.Now()
	outcome := script.Play(s.script, stage)
	r = newReport(s, worldReal, outcome, stage.Probes())
	r.Events, r.Trace = stage.changes, hex.EncodeToString(sum.Sum(nil))
	if r.Verdict == violated {
		r.tail, r.hosts = last.lines(), map[string]string{}
	}
	r.Wall = time.Since(began).Seconds()
	return r, nil
}

// traceTo is where the trace of a run is written, and what ends that.
func traceTo(f *runFlags, last io.Writer) (io.Writer, func() error, error) {
	if f.trace == "" {
		return last, func() error { return nil }, nil
	}
	file, err := os.Create(f.trace)
	if err != nil {
		return nil, nil, fmt.Errorf("the trace cannot be written: %w", err)
	}
	return io.MultiWriter(last, file), file.Close, nil
}

// makeStory makes the swarm that a scenario asks for.
func makeStory(ctx context.Context, cluster *lab.Cluster, program string, s *script.Script) error {
	var images []string
	for i, image := range realImages(s) {
		images = append(images, filepath.Join(cluster.Dir, fmt.Sprintf("image-%d.tar", i)))
		if err := image.WriteFile(images[i]); err != nil {
			return err
		}
	}
	for _, h := range s.Config.Hosts {
		config := lab.Config{Name: h.Name, Daemon: lab.Swarmd, Program: program, Manager: h.Manager, Availability: h.Availability}
		for _, key := range sortedKeys(h.EngineLabels) {
			config.Args = append(config.Args, "--label", key+"="+h.EngineLabels[key])
		}
		for _, g := range h.Generic {
			kind := ""
			if g.NamedResourceSpec != nil {
				kind = g.NamedResourceSpec.Kind + "=" + g.NamedResourceSpec.Value
			} else {
				kind = g.DiscreteResourceSpec.Kind + "=" + strconv.FormatInt(g.DiscreteResourceSpec.Value, 10)
			}
			config.Args = append(config.Args, "--generic-resource", kind)
		}
		if _, err := cluster.Add(config); err != nil {
			return err
		}
	}
	if err := startAll(ctx, cluster, images); err != nil {
		return err
	}
	spec := swarm.Spec{Dispatcher: swarm.DispatcherConfig{HeartbeatPeriod: s.Config.Heartbeat}}
	if err := cluster.FormSwarm(ctx, spec); err != nil {
		return err
	}
	return labelNodes(ctx, cluster, s)
}

// labelNodes gives the nodes the labels that the scenario says.
func labelNodes(ctx context.Context, cluster *lab.Cluster, s *script.Script) error {
	c, err := apiOf(cluster.Hosts[0])
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // its connections are idle
	for _, h := range s.Config.Hosts {
		if len(h.NodeLabels) == 0 {
			continue
		}
		found, err := c.NodeInspect(ctx, h.Name, client.NodeInspectOptions{})
		if err != nil {
			return err
		}
		node := found.Node
		if node.Spec.Labels == nil {
			node.Spec.Labels = map[string]string{}
		}
		maps.Copy(node.Spec.Labels, h.NodeLabels)
		if _, err := c.NodeUpdate(ctx, node.ID, client.NodeUpdateOptions{Version: node.Version, Spec: node.Spec}); err != nil {
			return err
		}
	}
	return nil
}

// ready reports whether all hosts are nodes that are ready, and the managers lead
// or follow.
func (s *realStage) ready() bool {
	v := s.View()
	ready := 0
	for _, n := range v.Nodes {
		if h := s.hosts[n.Host]; h != nil && h.manager == h.Manager && n.State == state.NodeReady {
			ready++
		}
	}
	return s.leader != "" && ready == len(s.hosts)
}

// follower shows on a terminal how far the story is.
type follower struct{ c console }

func (f *follower) Write(p []byte) (int, error) {
	if e, ok := parseEntry(strings.TrimSuffix(string(p), "\n")); ok {
		_, _ = fmt.Fprintf(f.c.errs, "\r\033[K%6.1fs %.100s", e.at.Seconds(), e.what)
	}
	return len(p), nil
}
