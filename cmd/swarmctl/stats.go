package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

func newContainerStats(s *session) *cobra.Command {
	var all, once bool
	l := &listing{
		columns: []column{
			{"Container", "CONTAINER"},
			{"ID", "CONTAINER ID"},
			{"Name", "NAME"},
			{"CPUPerc", "CPU %"},
			{"MemUsage", "MEM USAGE / LIMIT"},
			{"MemPerc", "MEM %"},
			{"NetIO", "NET I/O"},
			{"BlockIO", "BLOCK I/O"},
			{"PIDs", "PIDS"},
		},
		shown: "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
	}
	c := &cobra.Command{
		Use:               "stats [OPTIONS] [CONTAINER...]",
		Short:             "Display a live stream of container(s) resource usage statistics",
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			return showStats(c.Context(), s, l, args, all, once)
		},
	}
	c.Flags().StringVar(&l.format, "format", "", formatUsage)
	l.trunc(c)
	c.Flags().BoolVarP(&all, "all", "a", false, "Show all containers (default shows just running)")
	c.Flags().BoolVar(&once, "no-stream", false, "Disable streaming stats and only pull the first result")
	return c
}

func showStats(ctx context.Context, s *session, l *listing, names []string, all, once bool) error {
	if once {
		running, err := s.statsNames(ctx, names, all)
		if err != nil {
			return err
		}
		return s.statsOnce(ctx, l, running)
	}
	const period = 500 * time.Millisecond
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	board := &statsBoard{s: s, rows: map[string]row{}, following: map[string]bool{}}
	defer board.wait.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		// Without names the containers come and go: ask again.
		current, err := s.statsNames(ctx, names, all)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, name := range current {
			board.follow(ctx, name)
		}
		rows, failed := board.now(current)
		if len(names) > 0 && failed != nil {
			return failed
		}
		if l.format == "" || strings.HasPrefix(l.format, "table") {
			s.print("\x1b[H\x1b[J") // the whole screen anew
		}
		if err := l.writeStats(s, rows); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *session) statsNames(ctx context.Context, names []string, all bool) ([]string, error) {
	if len(names) > 0 {
		return names, nil
	}
	found, err := s.client.ContainerList(ctx, client.ContainerListOptions{All: all})
	for _, summary := range found.Items {
		names = append(names, summary.ID)
	}
	return names, err
}

// statsOnce asks for one sample of each container, all at once.
func (s *session) statsOnce(ctx context.Context, l *listing, names []string) error {
	rows, failed := make([]row, len(names)), make([]error, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			sample, err := s.client.ContainerStats(ctx, name, client.ContainerStatsOptions{IncludePreviousSample: true})
			if err != nil {
				failed[i] = err
				return
			}
			defer sample.Body.Close()
			var stats container.StatsResponse
			if failed[i] = json.NewDecoder(sample.Body).Decode(&stats); failed[i] == nil {
				rows[i] = statsRow(name, stats)
			}
		})
	}
	wait.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return l.writeStats(s, rows)
}

func (l *listing) writeStats(s *session, rows []row) error {
	shown := make([]row, 0, len(rows))
	for _, r := range rows {
		copied := maps.Clone(r)
		copied["ID"] = l.short(fmt.Sprint(r["ID"]))
		shown = append(shown, copied)
	}
	return l.write(s, shown)
}

// A statsBoard has the newest sample of every container that is followed.
type statsBoard struct {
	s    *session
	wait sync.WaitGroup

	lock      sync.Mutex
	rows      map[string]row
	following map[string]bool
	failed    error
}

// follow reads the samples of a container, unless somebody does.
func (b *statsBoard) follow(ctx context.Context, name string) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.following[name] {
		return
	}
	b.following[name] = true
	b.wait.Go(func() {
		err := b.read(ctx, name)
		b.lock.Lock()
		defer b.lock.Unlock()
		delete(b.rows, name)
		if err != nil && ctx.Err() == nil {
			b.failed = errors.Join(b.failed, err)
		}
	})
}

func (b *statsBoard) read(ctx context.Context, name string) error {
	stream, err := b.s.client.ContainerStats(ctx, name, client.ContainerStatsOptions{Stream: true})
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	decoder := json.NewDecoder(stream.Body)
	for {
		var stats container.StatsResponse
		switch err := decoder.Decode(&stats); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		b.lock.Lock()
		b.rows[name] = statsRow(name, stats)
		b.lock.Unlock()
	}
}

// now returns what is known of some containers; dashes where there is no sample.
func (b *statsBoard) now(names []string) ([]row, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	rows := make([]row, 0, len(names))
	for _, name := range names {
		r, ok := b.rows[name]
		if !ok {
			r = row{
				"Container": name, "ID": name, "Name": "--", "CPUPerc": "--", "MemUsage": "-- / --",
				"MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--",
			}
		}
		rows = append(rows, r)
	}
	return rows, b.failed
}

// statsRow describes a sample. IDs are whole: writeStats cuts them.
func statsRow(name string, stats container.StatsResponse) row {
	var received, sent, read, written uint64
	for _, network := range stats.Networks {
		received += network.RxBytes
		sent += network.TxBytes
	}
	for _, entry := range stats.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(entry.Op) {
		case "read":
			read += entry.Value
		case "write":
			written += entry.Value
		}
	}
	used, limit := memoryUsed(stats.MemoryStats), float64(stats.MemoryStats.Limit)
	share := 0.0
	if limit > 0 {
		share = used / limit * 100
	}
	pair := func(a, b uint64) string {
		return units.HumanSizeWithPrecision(float64(a), 3) + " / " + units.HumanSizeWithPrecision(float64(b), 3)
	}
	return row{
		"Container": name, "ID": stats.ID, "Name": strings.TrimPrefix(stats.Name, "/"),
		"CPUPerc":  fmt.Sprintf("%.2f%%", cpuShare(stats)),
		"MemUsage": units.BytesSize(used) + " / " + units.BytesSize(limit),
		"MemPerc":  fmt.Sprintf("%.2f%%", share),
		"NetIO":    pair(received, sent), "BlockIO": pair(read, written),
		"PIDs": fmt.Sprint(stats.PidsStats.Current),
	}
}

// memoryUsed leaves out what the kernel would give back first, as docker does.
func memoryUsed(memory container.MemoryStats) float64 {
	for _, cache := range []string{"total_inactive_file", "inactive_file"} { // cgroup v1, v2
		if inactive, ok := memory.Stats[cache]; ok && inactive < memory.Usage {
			return float64(memory.Usage - inactive)
		}
	}
	return float64(memory.Usage)
}

// cpuShare is in per cent of one CPU.
func cpuShare(stats container.StatsResponse) float64 {
	cpus := float64(stats.CPUStats.OnlineCPUs)
	if cpus == 0 {
		cpus = float64(len(stats.CPUStats.CPUUsage.PercpuUsage))
	}
	own := float64(stats.CPUStats.CPUUsage.TotalUsage) - float64(stats.PreCPUStats.CPUUsage.TotalUsage)
	whole := float64(stats.CPUStats.SystemUsage) - float64(stats.PreCPUStats.SystemUsage)
	if own <= 0 || whole <= 0 {
		return 0
	}
	return own / whole * cpus * 100
}
