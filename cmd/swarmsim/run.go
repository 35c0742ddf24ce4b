package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/sim/script"
)

type runFlags struct {
	world   worldChoice
	seed    uint64
	seeds   seedRange
	own     bool // no seed was given: a scenario that has one of its own is drawn from that
	trace   string
	json    bool
	verbose bool
	jobs    int
	swarmd  string // of world real
	keep    bool
}

func newRun(c console) *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [OPTIONS] FILE...",
		Short: "Play scenarios and tell what does not hold",
		Long: "Play scenarios and tell what does not hold.\n\n" +
			"A FILE is a scenario, as scenarios/README.md tells, or a folder of them (*.txt).",
		Example: "  swarmsim run scenarios/leader-loss.txt\n" +
			"  swarmsim run --seeds 1..1000 scenarios\n" +
			"  sudo swarmsim run --world real scenarios/leader-loss.txt\n" +
			"  swarmsim run --seed 17 --trace /tmp/17.trace scenarios/drain.txt && swarmsim show /tmp/17.trace",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say which scenario to play, such as swarmsim run scenarios/leader-loss.txt, or a folder of them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("seeds") {
				f.seeds = seedRange{f.seed, f.seed}
				f.own = !cmd.Flags().Changed("seed")
			} else if cmd.Flags().Changed("seed") {
				return errors.New("--seed and --seeds cannot both be given")
			}
			return runAll(cmd.Context(), c, f, args)
		},
	}
	flags := cmd.Flags()
	f.world.real = true
	f.world.add(flags)
	flags.Uint64Var(&f.seed, "seed", 1, "what everything random is drawn from, rather than the seed of the scenario's swarm line")
	flags.Var(&f.seeds, "seeds", "play each scenario with every seed from A to B")
	flags.StringVar(&f.trace, "trace", "", "write the trace to this file (one scenario, one seed)")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a run")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print a line for every run, and what is known of rare things: those that happened, and those that never did")
	flags.IntVarP(&f.jobs, "jobs", "j", runtime.GOMAXPROCS(0), "runs at the same time (world real: always one)")
	flags.StringVar(&f.swarmd, "swarmd", "", "world real: the daemon's file (default: beside swarmsim, or on PATH)")
	flags.BoolVar(&f.keep, "keep", false, "world real: leave the hosts as they are when the story is over, for swarmsim lab")
	return cmd
}

func runAll(ctx context.Context, c console, f *runFlags, args []string) (err error) {
	if f.jobs < 1 {
		return fmt.Errorf("--jobs is %d; at least 1 run goes on at a time", f.jobs)
	}
	scripts, err := readAll(args)
	if err != nil {
		return err
	}
	if f.trace != "" && (len(scripts) != 1 || f.seeds.first != f.seeds.last) {
		return errors.New("--trace is for one scenario and one seed; add --seed N")
	}
	w, err := f.world.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	runs := playAll(ctx, f, w, scripts)
	if w.name == worldReal {
		if err := checkRealRuns(f, scripts); err != nil {
			return err
		}
		runs = playAllReal(ctx, c, f, scripts)
	}
	total := newSummary(c, f, w, len(scripts))
	for r := range runs {
		if r.err != nil {
			return r.err
		}
		total.add(r.report)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return total.end()
}

// readAll reads scenarios, and those in folders.
func readAll(args []string) ([]*script.Script, error) {
	var (
		list   []*script.Script
		failed []error
	)
	for _, arg := range args {
		files := []string{arg}
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(arg, "*.txt")); err != nil || len(files) == 0 {
				failed = append(failed, fmt.Errorf("there is no scenario (*.txt) in %s", arg))
			}
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				failed = append(failed, fmt.Errorf("the scenario cannot be read: %w", err))
				continue
			}
			s, err := script.Parse(file, string(text), parser{})
			if err != nil {
				failed = append(failed, err)
				continue
			}
			list = append(list, s)
		}
	}
	return list, errors.Join(failed...)
}

type result struct {
	report *report
	err    error
}

// playAll plays every scenario with every seed, several at the same time, and
// yields what they came to in order.
func playAll(parent context.Context, f *runFlags, w world, scripts []*script.Script) func(func(result) bool) {
	return func(yield func(result) bool) {
		ctx, cancel := context.WithCancel(parent)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		type job struct {
			seeded
			done chan result
		}
		queue, order := make(chan job), make(chan job, 4*f.jobs)
		all.Go(func() {
			defer close(order)
			defer close(queue)
			for _, s := range scripts {
				for seed := f.seeds.first; ; seed++ {
					j := job{seeded{s, seed}, make(chan result, 1)}
					if f.own && s.Config.Seed != 0 {
						j.seed = s.Config.Seed
					}
					select {
					case order <- j:
					case <-ctx.Done():
						return
					}
					select {
					case queue <- j:
					case <-ctx.Done():
						return
					}
					if seed == f.seeds.last {
						break
					}
				}
			}
		})
		for range f.jobs {
			all.Go(func() {
				for j := range queue {
					report, err := w.playTo(j.seeded, f.trace)
					j.done <- result{report, err}
				}
			})
		}
		for j := range order {
			select {
			case r := <-j.done:
				if !yield(r) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// playTo plays one run, with its trace in a file if that has a name.
func (w world) playTo(s seeded, file string) (*report, error) {
	if file == "" {
		return w.play(s.script, s.seed, nil)
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("the trace cannot be written: %w", err)
	}
	buffer := bufio.NewWriter(f)
	r, err := w.play(s.script, s.seed, buffer)
	return r, errors.Join(err, buffer.Flush(), f.Close())
}

// printJSON prints a report as one line.
func printJSON(c console, r *report) {
	data, err := json.Marshal(r)
	if err != nil {
		_, _ = fmt.Fprintln(c.errs, "swarmsim: the report cannot be written:", err)
		return
	}
	_, _ = fmt.Fprintf(c.out, "%s\n", data)
}
