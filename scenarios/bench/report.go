package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/real/lab"
)

// A goal is what a row of the table is held against: a share of another's value,
// or a value of its own.
type goal struct {
	name  string
	unit  string
	ratio float64 // at most this share of the other's; at least, if more is better
	value float64 // at most this; at least, if more is better
	more  bool    // more is better
	other string  // "" is dockerd
}

// goals are the rows, in the table's order.
func goals() []goal {
	return []goal{
		{name: "place: 1k nodes × 100k tasks", unit: "/cpu-s", value: 150_000, more: true},
		{name: "place: 5k nodes × 150k tasks", unit: "/cpu-s", value: 150_000, more: true},
		{name: "place: 100k nodes × 1k tasks", unit: "/cpu-s", value: 75_000, more: true},
		{name: "place: 5k × 100k, constraint", unit: "/cpu-s", value: 75_000, more: true},
		{name: "a task in the log", unit: "bytes", value: 200},
		{name: "a task in memory", unit: "bytes", value: 1024},
		{name: "a node in memory", unit: "bytes", value: 2048},
		{name: "snapshot save, 100k tasks", unit: "s", value: 0.2},
		{name: "snapshot restore, 100k tasks", unit: "s", value: 0.5},
		{name: fmt.Sprintf(launched, 1), unit: "s", ratio: 0.6},
		{name: fmt.Sprintf(launched, 10), unit: "s", ratio: 0.6},
		{name: fmt.Sprintf(launched, launchMax), unit: "s", ratio: 0.6},
		{name: fmt.Sprintf(launchedPace, launchMax), unit: "/s", value: 15, more: true},
		{name: fmt.Sprintf(launchedBare, launchMax), unit: "s", ratio: 1.2, other: containerd},
		{name: removed, unit: "s", ratio: 1},
		{name: replaced, unit: "s", value: 0.4},
		{name: rolled, unit: "s", value: 0.6},
		{name: rolledTail, unit: "s", value: 0.4},
		{name: scaledUp, unit: "s", ratio: 0.8},
		{name: scaledDown, unit: "s", ratio: 0.8},
		{name: createSerial, unit: "/s", ratio: 1, more: true},
		{name: createMany, unit: "/s", ratio: 1, more: true},
		{name: idleMemory, unit: "MiB", value: 40},
		{name: idleChild, unit: "MiB"},
		{name: idleCPU, unit: "%", value: 1},
		{name: idleWrites, unit: "KiB", value: 1},
		{name: idleEntries, unit: "", value: 0.5},
		{name: joined, unit: "s", ratio: 1},
		{name: leaderLost, unit: "s", value: 2},
		{name: workerDown, unit: "s", value: 5},
		{name: workerMoved, unit: "s", value: 6},
		{name: managerMemory, unit: "MiB", value: 40},
		{name: managerCPU, unit: "%", value: 1},
		{name: wayDirect + perKept, unit: "/s"},
		{name: wayDirect + perNew, unit: "/s"},
		{name: wayLocal + ratioKept, value: 0.85, more: true},
		{name: wayLocal + ratioNew},
		{name: wayRemote + ratioKept, value: 0.65, more: true},
		{name: wayRemote + ratioNew},
		{name: wayRemoteMasked + ratioKept, value: 0.65, more: true},
		{name: wayRemoteMasked + ratioNew},
		{name: wayContainer + ratioKept},
		{name: wayContainer + ratioNew},
		{name: wayVIP + ratioKept, value: 0.65, more: true},
		{name: wayVIP + ratioNew},
		{name: wayVIPLocal + ratioKept, value: 0.85, more: true},
		{name: wayVIPLocal + ratioNew},
		{name: fmt.Sprintf(storyPace, 1), unit: "/s"},
		{name: fmt.Sprintf(storyPace, storyTasks), unit: "/s"},
		{name: nameLatency, unit: "ms"},
		{name: nameLatencyMost, unit: "ms"},
		{name: mapsRebuilt, unit: "ms", value: 100},
		{name: mapsChanged, unit: "ms", value: 1},
	}
}

// A report is every value by daemon and name.
type report map[string]map[string][]float64

func newReport() report {
	return report{lab.Swarmd: make(map[string][]float64), lab.Dockerd: make(map[string][]float64), containerd: make(map[string][]float64)}
}

func (r report) add(daemon string, values map[string]float64) {
	for name, value := range values {
		r[daemon][name] = append(r[daemon][name], value)
	}
}

// readEngine takes the rows that the engine's own benchmarks give.
func (r report) readEngine(path string) error {
	rows := []struct{ benchmark, unit, name string }{
		{"Place/nodes=1000/tasks=100000", "placements/cpu-s", "place: 1k nodes × 100k tasks"},
		{"Place/nodes=5000/tasks=150000", "placements/cpu-s", "place: 5k nodes × 150k tasks"},
		{"Place/nodes=100000/tasks=1000", "placements/cpu-s", "place: 100k nodes × 1k tasks"},
		{"Place/nodes=5000/tasks=100000/constraint", "placements/cpu-s", "place: 5k × 100k, constraint"},
		{"TaskInLog", "B/task", "a task in the log"},
		{"Heap", "B/task", "a task in memory"},
		{"Heap", "B/node", "a node in memory"},
		{"Snapshot/save", "ns/op", "snapshot save, 100k tasks"},
		{"Snapshot/restore", "ns/op", "snapshot restore, 100k tasks"},
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was read only
	lines := bufio.NewScanner(file)
	name := regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?\s`)
	for lines.Scan() {
		found := name.FindStringSubmatch(lines.Text())
		fields := strings.Fields(lines.Text())
		for _, row := range rows {
			if found == nil || found[1] != row.benchmark || !slices.Contains(fields, row.unit) {
				continue
			}
			value, err := strconv.ParseFloat(fields[slices.Index(fields, row.unit)-1], 64)
			if err != nil {
				return err
			}
			if row.unit == "ns/op" {
				value /= 1e9
			}
			r.add(lab.Swarmd, map[string]float64{row.name: value})
		}
	}
	return lines.Err()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// print writes the table of medians, and then every value.
func (r report) print(w io.Writer) {
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(w, "\nMedians; the machine's load at the end was %s\n", strings.Join(strings.Fields(string(load))[:3], " "))
	fmt.Fprintf(w, "| %-60s | %12s | %12s | %6s | %-18s | %-3s |\n|%s|\n", "", "swarmd", "dockerd", "ratio", "target", "met", strings.Repeat("-", 128))
	for _, g := range goals() {
		if len(r[lab.Swarmd][g.name]) > 0 {
			fmt.Fprintln(w, r.row(g))
		}
	}
	fmt.Fprintln(w, "\nAll values:")
	for _, daemon := range []string{lab.Swarmd, lab.Dockerd, containerd} {
		for _, name := range slices.Sorted(maps.Keys(r[daemon])) {
			fmt.Fprintf(w, "%-10s %-60s", daemon, name)
			for _, value := range r[daemon][name] {
				fmt.Fprintf(w, " %.4g", value)
			}
			fmt.Fprintln(w)
		}
	}
}

func (r report) row(g goal) string {
	other := cmp.Or(g.other, lab.Dockerd)
	ours := median(r[lab.Swarmd][g.name])
	theirs, ratio, target, met := "", "", "", ""
	share := 0.0
	if values := r[other][g.name]; len(values) > 0 {
		theirs = quantity(median(values), g.unit)
		if median(values) > 0 {
			share = ours / median(values)
			ratio = fmt.Sprintf("%.2f", share)
		}
	}
	sign := map[bool]string{false: "≤", true: "≥"}[g.more]
	switch {
	case g.ratio > 0:
		target = fmt.Sprintf("%s %g × %s", sign, g.ratio, other)
		if share > 0 {
			met = verdict(share, g.ratio, g.more)
		}
	case g.value > 0:
		target = sign + " " + quantity(g.value, g.unit)
		met = verdict(ours, g.value, g.more)
	}
	return fmt.Sprintf("| %-60s | %12s | %12s | %6s | %-18s | %-3s |", g.name, quantity(ours, g.unit), theirs, ratio, target, met)
}

func quantity(value float64, unit string) string {
	if value >= 1000 {
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", value, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", value, unit))
}

func verdict(value, bound float64, more bool) string {
	if more == (value >= bound) || value == bound {
		return "yes"
	}
	return "no"
}
