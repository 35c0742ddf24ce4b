package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// ticksPerSecond is the unit of CPU times in /proc, which Linux fixes for programs.
const ticksPerSecond = 100

// idle watches a daemon with a service that runs, and to which nothing happens.
func (s *swarm) idle(ctx context.Context, period time.Duration) (map[string]float64, error) {
	if err := s.create(ctx, "web", 3); err != nil {
		return nil, err
	}
	if err := s.untilRunning(ctx, 3); err != nil {
		return nil, err
	}
	settle := time.NewTimer(10 * time.Second) // what the start has set off
	defer settle.Stop()
	select {
	case <-settle.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	daemon := s.host.PID()
	child := childOf(daemon, "containerd")
	before, err := s.look(ctx, daemon, child)
	if err != nil {
		return nil, err
	}
	rest := time.NewTimer(period)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := s.look(ctx, daemon, child)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{
		idleMemory: resident(daemon) / 1024,
		idleChild:  resident(child) / 1024,
		idleCPU:    (after.seconds - before.seconds) / period.Seconds() * 100,
		idleWrites: (after.written - before.written) / 1024 / period.Minutes(),
	}
	if s.host.Daemon == lab.Swarmd {
		values[idleEntries] = after.index - before.index
	}
	return values, s.rm(ctx, "web")
}

// A look is what a daemon has used up.
type look struct{ seconds, written, index float64 }

func (s *swarm) look(ctx context.Context, pids ...int) (look, error) {
	var l look
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return l, err
		}
		// The fields after the name, which may have spaces: state is the third.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return l, err
			}
			l.seconds += ticks / ticksPerSecond
		}
		l.written += number(fmt.Sprintf("/proc/%d/io", pid), "write_bytes")
	}
	if s.host.Daemon == lab.Swarmd {
		response, err := s.client.Get("http://daemon/metrics")
		if err != nil {
			return l, err
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "swarmd_log_index "); ok {
				l.index, err = strconv.ParseFloat(text, 64)
			}
		}
		return l, err
	}
	return l, ctx.Err()
}

// resident is the memory of a process, in KiB.
func resident(pid int) float64 { return number(fmt.Sprintf("/proc/%d/status", pid), "VmRSS") }

// number is the value of a key in a file of "key: value" lines, 0 if there is none.
func number(path, key string) float64 {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return n
		}
	}
	return 0
}

// childOf is the process of that name which another has started, 0 if there is none.
func childOf(parent int, name string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range files {
		text, _ := os.ReadFile(path)
		if strings.HasPrefix(string(text), "Name:\t"+name+"\n") && number(path, "PPid") == float64(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}
