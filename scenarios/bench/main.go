// Bench measures a swarm of one host, and Docker's swarm mode beside it when
// dockerd is installed, and prints a table with the targets.
//
// Both run at the same niceness on hosts of [lab], and take turns within every
// round. What counts is the ratio within one run: machines differ.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// Options are the command line's.
type options struct {
	swarmd  string
	image   string // archive with the image that is run
	network string // tests of real/network, compiled: its tables are measured with them
	runtime string // tests of real/runtime, compiled: bare containerd is measured with them
	engine  string // output of go test -bench, to be put first in the table
	rounds  int
	idle    time.Duration
	dockerd bool
	only    string // measures whose names have this; all if empty

	requests int           // of the load, at least
	pause    time.Duration // of the load's clients
	ports    int           // of their own that its clients have, 0: as usual
	phase    string        // of the load: those whose names have this
	times    int           // that each phase comes
	cycles   int           // of a service that comes and goes
}

func main() {
	if len(os.Args) > 1 {
		if other := otherProgram(os.Args[1]); other != nil {
			if err := other(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
				os.Exit(1)
			}
			return
		}
	}
	var o options
	flag.StringVar(&o.swarmd, "swarmd", "bin/swarmd", "the daemon's file")
	flag.StringVar(&o.image, "image", "", "archive of the image nginx:alpine")
	flag.StringVar(&o.runtime, "runtime", "", "the tests of real/runtime, compiled, to measure bare containerd with")
	flag.StringVar(&o.network, "network", "", "the tests of real/network, compiled, to measure its tables with")
	flag.StringVar(&o.engine, "engine", "", "file with the output of the engine's benchmarks")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long the idle daemon is watched")
	flag.BoolVar(&o.dockerd, "dockerd", true, "measure dockerd too, if it is installed")
	flag.StringVar(&o.only, "only", "", "measure only what has this in its name: create, replace, rolling, scale, idle, hosts, network, load, cycles")
	flag.IntVar(&o.cycles, "cycles", 1000, "how often a service is created, scaled and removed")
	flag.DurationVar(&o.pause, "pause", 0, "how long clients of the load wait between two requests")
	flag.IntVar(&o.ports, "ports", 0, "how few ports of their own the load's clients have; 0: as many as the system gives")
	flag.StringVar(&o.phase, "phase", "", "have only those phases of the load that have this in their name")
	flag.IntVar(&o.times, "times", 1, "how often the phases of the load come")
	flag.IntVar(&o.requests, "requests", 100_000, "how many requests the load has at least")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// otherProgram is what this program is in containers and on hosts.
func otherProgram(argument string) func(arguments []string) error {
	switch argument {
	case serveArgument:
		return func([]string) error { return serveWeb() }
	case checkArgument:
		return func([]string) error { return checkWeb() }
	case clientsArgument:
		return runClients
	case lookupsArgument:
		return lookUps
	default:
		return nil
	}
}

func run(ctx context.Context, o options) (err error) {
	switch o.only {
	case loadName:
		return runLoad(ctx, o, os.Stdout)
	case cyclesName:
		return runCycles(ctx, o, os.Stdout)
	}
	dir, err := os.MkdirTemp("", "swarmd-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // Remove has said what is left
	report := newReport()
	if o.engine != "" {
		if err := report.readEngine(o.engine); err != nil {
			return err
		}
	}
	if strings.Contains(networkName, o.only) {
		if err := runNetwork(ctx, dir, o, report); err != nil {
			return err
		}
		if o.only == networkName {
			report.print(os.Stdout)
			return nil
		}
	}
	program, err := filepath.Abs(o.swarmd)
	if err != nil {
		return err
	}
	sides := []lab.Config{{Dir: filepath.Join(dir, "s"), Name: "swarm-00", Daemon: lab.Swarmd, Program: program}}
	if _, missing := exec.LookPath("dockerd"); missing == nil && o.dockerd {
		sides = append(sides, lab.Config{Dir: filepath.Join(dir, "d"), Name: "docker-00", Daemon: lab.Dockerd})
	}
	var swarms []*swarm
	for _, config := range sides {
		s, err := newSwarm(ctx, config, o.image)
		if err != nil {
			return err
		}
		defer s.remove()
		swarms = append(swarms, s)
	}
	defer report.print(os.Stdout) // what there is, if a measure fails
	for _, m := range measures() {
		if !strings.Contains(m.name, o.only) {
			continue
		}
		for range max(1, o.rounds/m.less()) {
			if err := round(ctx, m, swarms, o, report); err != nil {
				return err
			}
		}
	}
	for _, s := range swarms {
		if !strings.Contains("idle", o.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%-40s %s\n", "idle", s.host.Daemon)
		values, err := s.idle(ctx, o.idle)
		if err != nil {
			return err
		}
		report.add(s.host.Daemon, values)
	}
	if !strings.Contains("hosts", o.only) {
		return nil
	}
	for _, s := range swarms {
		s.remove() // several more are enough for this machine
	}
	return measureClusters(ctx, dir, sides, o, report)
}

// runNetwork measures what carries traffic.
func runNetwork(ctx context.Context, dir string, o options, report report) error {
	add := func(values map[string]float64) { report.add(lab.Swarmd, values) }
	if o.network != "" {
		values, err := measureTables(ctx, o.network)
		if err != nil {
			return err
		}
		add(values)
	}
	if err := measureNetwork(ctx, dir, o, add); err != nil {
		return fmt.Errorf("the network: %w", err)
	}
	return nil
}

// round takes a measure of every side once.
func round(ctx context.Context, m measure, swarms []*swarm, o options, report report) error {
	for _, s := range swarms {
		fmt.Fprintf(os.Stderr, "%-40s %s\n", m.name, s.host.Daemon)
		values, err := m.take(ctx, s)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", m.name, s.host.Daemon, err)
		}
		report.add(s.host.Daemon, values)
	}
	if m.bare == "" || o.runtime == "" {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%-40s %s\n", m.name, containerd)
	took, err := launchBare(ctx, o.runtime)
	if err != nil {
		return err
	}
	report.add(containerd, map[string]float64{m.bare: took})
	return nil
}

// measureClusters measures swarms of several hosts, one daemon after the other.
func measureClusters(ctx context.Context, dir string, sides []lab.Config, o options, report report) error {
	for _, config := range sides {
		fmt.Fprintf(os.Stderr, "%-40s %s\n", "several hosts", config.Daemon)
		add := func(values map[string]float64) { report.add(config.Daemon, values) }
		if err := measureCluster(ctx, dir, config, o.image, o.rounds, add); err != nil {
			return fmt.Errorf("several hosts of %s: %w", config.Daemon, err)
		}
	}
	return nil
}
