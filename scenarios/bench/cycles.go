package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerswarm "github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

// cyclesName is what -only has for services that come and go.
const cyclesName = "cycles"

const (
	cyclesWarm   = 3 // cycles after which a host has what it keeps for good
	cycleTasks   = 2
	cycleScaled  = 4
	leftPatience = 30 * time.Second
)

// runCycles makes, scales and removes a service with a published port on a network of
// its own, again and again, and holds what the hosts have afterwards against what they
// had before. The error is that something was left.
func runCycles(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "swarmd-cycles")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // Remove has said what is left
	archive := filepath.Join(dir, "image.tar")
	if err := (lab.Image{Names: []string{image}}).WriteFile(archive); err != nil {
		return err
	}
	l, err := newHosts(ctx, filepath.Join(dir, "c"), o.swarmd, archive, 1, 1)
	if l != nil {
		defer func() { err = errors.Join(err, l.Remove()) }()
	}
	if err != nil {
		return err
	}
	for n := range cyclesWarm {
		if err := l.cycle(ctx, n); err != nil {
			return err
		}
	}
	before := map[string]string{}
	err = until(ctx, func() (bool, error) { // nothing of the first ones is left, and nothing changes
		last := before
		before, err = l.inventories(ctx)
		return err == nil && maps.Equal(last, before) && before["tasks"] == "0" && before[l.Hosts[0].Name+": containers"] == "0", err
	})
	if err != nil {
		return err
	}
	began, memory := time.Now(), l.memory()
	for n := range o.cycles {
		if err := l.cycle(ctx, n); err != nil {
			return fmt.Errorf("cycle %d: %w", n+1, err)
		}
	}
	var left []string
	for wait := time.Now(); ; {
		after, err := l.inventories(ctx)
		if err != nil {
			return err
		}
		if left = differences(before, after); len(left) == 0 || time.Since(wait) > leftPatience {
			break
		}
		if err := rest(ctx, time.Second); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d times a service was created, scaled and removed in %.0f s; memory of the daemons: %s MiB before, %s after\n",
		o.cycles, time.Since(began).Seconds(), memory, l.memory())
	for _, line := range left {
		fmt.Fprintln(out, " ", line)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d things are not as they were", len(left))
	}
	fmt.Fprintln(out, "everything is as it was before")
	return nil
}

// cycle is the life of a service.
func (l *load) cycle(ctx context.Context, n int) error {
	name := fmt.Sprintf("cycle-%d", n)
	if err := l.s.post(ctx, "/networks/create", map[string]string{"Name": name, "Driver": "overlay"}); err != nil {
		return err
	}
	spec := l.s.spec("web", cycleTasks)
	spec.TaskTemplate.ContainerSpec.Command = nil
	spec.TaskTemplate.Networks = []dockerswarm.NetworkAttachmentConfig{{Target: name}}
	spec.EndpointSpec = webPorts()
	scaled := uint64(cycleScaled)
	err := l.s.post(ctx, "/services/create", spec)
	if err == nil {
		err = l.s.untilRunning(ctx, cycleTasks)
	}
	if err == nil {
		err = l.s.update(ctx, func(s *dockerswarm.ServiceSpec) { s.Mode.Replicated.Replicas = &scaled })
	}
	if err == nil {
		err = l.s.untilRunning(ctx, cycleScaled)
	}
	if err == nil {
		err = l.s.request(ctx, http.MethodDelete, "/services/web", nil, nil)
	}
	if err != nil {
		return err
	}
	return until(ctx, func() (bool, error) { // tasks hold it
		err := l.s.request(ctx, http.MethodDelete, "/networks/"+name, nil, nil)
		if err != nil && strings.Contains(err.Error(), "in use") {
			return false, nil
		}
		return err == nil, err
	})
}

// inventories are what there is of each kind, by host and kind.
func (l *load) inventories(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for _, h := range l.Hosts {
		has, err := inventory(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		for kind, what := range has {
			all[h.Name+": "+kind] = what
		}
	}
	var tasks []dockerswarm.Task
	if err := l.s.get(ctx, "/tasks", &tasks); err != nil {
		return nil, err
	}
	all["tasks"] = fmt.Sprint(len(tasks))
	return all, nil
}

// inventory is what a host's kernel, containerd and daemon have.
func inventory(ctx context.Context, h *lab.Host) (map[string]string, error) {
	has := map[string]string{}
	for kind, words := range map[string][]string{
		"interfaces": {"ip", "-br", "link"},
		"rules":      {"nft", "list", "ruleset"},
		"routes":     {"ip", "route", "show", "table", "all"},
		"neighbours": {"ip", "neigh", "show", "nud", "permanent"},
		"stations":   {"bridge", "fdb", "show", "dev", "ing-4096"},
	} {
		out, err := h.Command(ctx, words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%v: %w: %s", words, err, out)
		}
		has[kind] = string(out)
	}
	var containers []container.Summary
	if err := ask(ctx, h, http.MethodGet, "/containers/json?all=1", nil, &containers); err != nil {
		return nil, err
	}
	has["containers"] = fmt.Sprint(len(containers))
	spaces, err := filepath.Glob(filepath.Join(h.Dir, "run", "netns", "[0-9a-z]*"))
	if err != nil {
		return nil, err
	}
	has["network namespaces"] = fmt.Sprint(spaces)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	has["mounts"] = fmt.Sprint(strings.Count(string(mounts), h.Dir+"/"))
	has["processes"] = fmt.Sprint(len(children(h.PID())))
	return has, nil
}

// children are the processes that a process has started and that live.
func children(pid int) (list []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		list = append(list, strings.Fields(string(text))...)
	}
	return list
}

func (l *load) memory() string {
	var out []string
	for _, h := range l.Hosts {
		out = append(out, fmt.Sprintf("%.1f", resident(h.PID())/1024))
	}
	return strings.Join(out, ", ")
}

// differences are what there is now and was not, or the other way round.
func differences(before, after map[string]string) (out []string) {
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		if before[kind] != after[kind] {
			out = append(out, fmt.Sprintf("%s before:\n%s\nand after:\n%s", kind, before[kind], after[kind]))
		}
	}
	return out
}
