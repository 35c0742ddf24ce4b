package runtime

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
)

// clockTicks is how many of /proc/stat's units make a second, on every Linux.
const clockTicks = 100

// StatsContainer measures once. One that does not run has no numbers.
func (l *Local) StatsContainer(_ context.Context, ref string) (container.StatsResponse, error) {
	i, err := l.r.find(ref)
	if err != nil {
		return container.StatsResponse{}, err
	}
	s := container.StatsResponse{ID: i.id(), Name: "/" + i.name(), OSType: "linux", Read: time.Now()}
	now := i.now()
	if !now.running() {
		s.Read = time.Time{}
		return s, nil
	}
	id := i.id()
	if l.r.host.cgroup2 {
		l.r.measure2(id, &s)
	} else {
		l.r.measure1(id, &s)
	}
	s.CPUStats.SystemUsage = systemCPU()
	s.CPUStats.OnlineCPUs = uint32(goruntime.NumCPU())
	if total := memoryTotal(); s.MemoryStats.Limit == 0 || s.MemoryStats.Limit > total {
		s.MemoryStats.Limit = total
	}
	s.NumProcs = 0 // Windows'
	s.Networks = networkStats(now.PID)
	return s, nil
}

func (r *Runtime) measure1(id string, s *container.StatsResponse) {
	number := func(controller, name string) uint64 { return fileNumber(r.cgroupFile(id, controller, name)) }
	s.CPUStats.CPUUsage.TotalUsage = number("cpuacct", "cpuacct.usage")
	ticks := keyedNumbers(r.cgroupFile(id, "cpuacct", "cpuacct.stat"))
	s.CPUStats.CPUUsage.UsageInUsermode = ticks["user"] * uint64(time.Second) / clockTicks
	s.CPUStats.CPUUsage.UsageInKernelmode = ticks["system"] * uint64(time.Second) / clockTicks
	throttling := keyedNumbers(r.cgroupFile(id, "cpu", "cpu.stat"))
	s.CPUStats.ThrottlingData = container.ThrottlingData{
		Periods: throttling["nr_periods"], ThrottledPeriods: throttling["nr_throttled"], ThrottledTime: throttling["throttled_time"],
	}
	s.MemoryStats = container.MemoryStats{
		Usage: number("memory", "memory.usage_in_bytes"), MaxUsage: number("memory", "memory.max_usage_in_bytes"),
		Failcnt: number("memory", "memory.failcnt"), Limit: number("memory", "memory.limit_in_bytes"),
		Stats: keyedNumbers(r.cgroupFile(id, "memory", "memory.stat")),
	}
	s.PidsStats = container.PidsStats{Current: number("pids", "pids.current"), Limit: number("pids", "pids.max")}
	s.BlkioStats.IoServiceBytesRecursive = blkio1(r.cgroupFile(id, "blkio", "blkio.throttle.io_service_bytes_recursive"))
}

func (r *Runtime) measure2(id string, s *container.StatsResponse) {
	number := func(name string) uint64 { return fileNumber(r.cgroupFile(id, "", name)) }
	cpu := keyedNumbers(r.cgroupFile(id, "", "cpu.stat"))
	s.CPUStats.CPUUsage = container.CPUUsage{
		TotalUsage: cpu["usage_usec"] * 1000, UsageInUsermode: cpu["user_usec"] * 1000, UsageInKernelmode: cpu["system_usec"] * 1000,
	}
	s.CPUStats.ThrottlingData = container.ThrottlingData{
		Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], ThrottledTime: cpu["throttled_usec"] * 1000,
	}
	s.MemoryStats = container.MemoryStats{
		Usage: number("memory.current"), Limit: number("memory.max"), Stats: keyedNumbers(r.cgroupFile(id, "", "memory.stat")),
	}
	s.PidsStats = container.PidsStats{Current: number("pids.current"), Limit: number("pids.max")}
	s.BlkioStats.IoServiceBytesRecursive = io2(r.cgroupFile(id, "", "io.stat"))
}

// fileNumber reads a file that is one number; "max" and what is not there are 0.
func fileNumber(path string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// keyedNumbers reads a file of lines "key number".
func keyedNumbers(path string) map[string]uint64 {
	numbers := make(map[string]uint64)
	text, err := os.ReadFile(path)
	if err != nil {
		return numbers
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				numbers[key] = n
			}
		}
	}
	return numbers
}

// blkio1 reads lines "8:0 Read 4096".
func blkio1(path string) []container.BlkioStatEntry {
	var list []container.BlkioStatEntry
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 {
			list = appendBlkio(list, fields[0], fields[1], fields[2])
		}
	}
	return list
}

// io2 reads lines "8:0 rbytes=4096 wbytes=0 …".
func io2(path string) []container.BlkioStatEntry {
	var list []container.BlkioStatEntry
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for _, f := range fields[min(1, len(fields)):] {
			switch key, value, _ := strings.Cut(f, "="); key {
			case "rbytes":
				list = appendBlkio(list, fields[0], "read", value)
			case "wbytes":
				list = appendBlkio(list, fields[0], "write", value)
			}
		}
	}
	return list
}

func appendBlkio(list []container.BlkioStatEntry, device, op, value string) []container.BlkioStatEntry {
	major, minor, _ := strings.Cut(device, ":")
	a, err1 := strconv.ParseUint(major, 10, 64)
	b, err2 := strconv.ParseUint(minor, 10, 64)
	n, err3 := strconv.ParseUint(value, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return list
	}
	return append(list, container.BlkioStatEntry{Major: a, Minor: b, Op: op, Value: n})
}

// systemCPU is the time that all CPUs have spent, in nanoseconds.
func systemCPU() uint64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first)
	var ticks uint64
	const counted = 8 // the rest is in these already
	for _, f := range fields[min(1, len(fields)):min(1+counted, len(fields))] {
		n, _ := strconv.ParseUint(f, 10, 64)
		ticks += n
	}
	return ticks * uint64(time.Second) / clockTicks
}

func memoryTotal() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kilobytes, _ := strconv.ParseUint(fields[1], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// networkStats reads what a process's network interfaces have carried.
func networkStats(pid int) map[string]container.NetworkStats {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil
	}
	stats := make(map[string]container.NetworkStats)
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		fields := strings.Fields(rest)
		if !ok || name == "lo" || len(fields) < 12 {
			continue
		}
		var n [12]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(fields[i], 10, 64)
		}
		stats[name] = container.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return stats
}

// TopContainer lists processes; args are those of ps, "" for -ef.
func (l *Local) TopContainer(ctx context.Context, ref, args string) (container.TopResponse, error) {
	var answer container.TopResponse
	i, err := l.r.find(ref)
	if err != nil {
		return answer, err
	}
	if !i.now().running() {
		return answer, conflictf("container %s is not running", i.id())
	}
	if args == "" {
		args = "-ef"
	}
	pids, err := l.r.pids(i.id())
	if err != nil {
		return answer, fmt.Errorf("cannot list the processes of container %s: %w", i.id(), err)
	}
	out, err := exec.CommandContext(ctx, "ps", strings.Fields(args)...).Output()
	if err != nil {
		return answer, invalidf("error running ps: %s", err)
	}
	return parsePS(out, pids)
}

// pids are those of a container's processes, as the host numbers them.
func (r *Runtime) pids(id string) ([]string, error) {
	root := filepath.Dir(r.cgroupFile(id, "pids", "cgroup.procs"))
	var pids []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
			return err
		}
		text, err := os.ReadFile(path)
		pids = append(pids, strings.Fields(string(text))...)
		return err
	})
	return pids, err
}

// parsePS keeps the lines of ps that are about pids.
func parsePS(out []byte, pids []string) (container.TopResponse, error) {
	var answer container.TopResponse
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return answer, invalidf("ps has no output")
	}
	answer.Titles = strings.Fields(lines.Text())
	at := slices.Index(answer.Titles, "PID")
	if at < 0 {
		return answer, invalidf("couldn't find PID field in ps output")
	}
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		last := len(answer.Titles) - 1
		if len(fields) <= at || !slices.Contains(pids, fields[at]) {
			continue
		}
		if len(fields) > last {
			fields = append(fields[:last:last], strings.Join(fields[last:], " "))
		}
		answer.Processes = append(answer.Processes, fields)
	}
	return answer, nil
}
