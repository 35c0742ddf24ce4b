package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
	"github.com/swarmd/swarmd/sim/plan"
)

// exploreShrinkMost is how long explore makes one failing plan smaller, and
// exploreShrinksMax how many it does so with: one of each sentence.
const (
	exploreShrinkMost = 2 * time.Minute
	exploreShrinksMax = 8
)

type exploreFlags struct {
	during time.Duration
	world  worldChoice
	seeds  seedRange
	faults []string
	out    string
	json   bool
	jobs   int
	shrink time.Duration
}

func newExplore(c console) *cobra.Command {
	f := &exploreFlags{seeds: seedRange{1, 1000}}
	cmd := &cobra.Command{
		Use:   "explore [OPTIONS]",
		Short: "Play random plans, and make those that fail small",
		Long: "Play random plans, and make those that fail small.\n\n" +
			"Each seed is a swarm, what its users ask for and what goes wrong; then a core is healed and must do all\n" +
			"that was asked. A plan that breaks a sentence is made smaller and written as a scenario.\n\n" +
			"Kinds of faults: " + strings.Join(plan.Faults(), ", ") + ".",
		Example: "  swarmsim explore --for 60s\n  swarmsim explore --seeds 1..100000 --faults crash,isolate --out found",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind := plan.Unknown(f.faults); kind != "" {
				return fmt.Errorf("there is no fault %q; there are: %s", kind, strings.Join(plan.Faults(), ", "))
			}
			if f.jobs < 1 {
				return fmt.Errorf("--jobs is %d; at least 1 run goes on at a time", f.jobs)
			}
			if f.during > 0 && !cmd.Flags().Changed("seeds") {
				f.seeds = seedRange{1, seedsMax}
			}
			return explore(cmd.Context(), c, f)
		},
	}
	flags := cmd.Flags()
	f.world.add(flags)
	flags.DurationVar(&f.during, "for", 0, "stop after so long in real time")
	flags.Var(&f.seeds, "seeds", "draw plans from every seed from A to B")
	flags.StringSliceVar(&f.faults, "faults", nil, "only these kinds of faults")
	flags.StringVar(&f.out, "out", ".", "folder for the scenarios of plans that failed")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a run that failed, and one at the end")
	flags.IntVarP(&f.jobs, "jobs", "j", runtime.GOMAXPROCS(0), "runs at the same time")
	flags.DurationVar(&f.shrink, "shrink", exploreShrinkMost, "how long to make a failing plan smaller; 0 is not at all")
	return cmd
}

// An exploration is what explore has come to so far.
type exploration struct {
	c console
	f *exploreFlags
	w world

	began, shown time.Time
	runs         int
	virtual      time.Duration
	steps        uint64
	probes       map[string]uint64
	failed       map[string][]uint64 // seeds by sentence
	shrunk       int
}

// An explored is one plan with what it came to.
type explored struct {
	plan   *plan.Plan
	result *plan.Result
	err    error
}

func explore(ctx context.Context, c console, f *exploreFlags) (err error) {
	w, err := f.world.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if w.name == worldRaft && f.faults == nil {
		f.faults = append(plan.Faults(), plan.RaftFaults()...)
	}
	e := &exploration{c: c, f: f, w: w, began: time.Now(), probes: map[string]uint64{}, failed: map[string][]uint64{}}
	if f.during > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.during)
		defer cancel()
	}
	for x := range e.runAll(ctx) {
		if x.err != nil {
			return fmt.Errorf("seed %d: %w", x.plan.Seed, x.err)
		}
		if err := e.add(x); err != nil {
			return err
		}
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(ended, context.DeadlineExceeded) {
		return errors.New("interrupted")
	}
	return e.end()
}

// runAll runs a plan of every seed, several at a time, and yields them as they end.
func (e *exploration) runAll(parent context.Context) func(func(explored) bool) {
	return func(yield func(explored) bool) {
		ctx, cancel := context.WithCancel(parent)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		seeds, done := make(chan uint64), make(chan explored)
		all.Go(func() {
			defer close(seeds)
			for seed := e.f.seeds.first; seed <= e.f.seeds.last; seed++ {
				select {
				case seeds <- seed:
				case <-ctx.Done():
					return
				}
			}
		})
		var workers sync.WaitGroup
		for range e.f.jobs {
			workers.Go(func() {
				for seed := range seeds {
					x := e.w.exploreOne(seed, e.f.faults)
					select {
					case done <- x:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		all.Go(func() {
			workers.Wait()
			close(done)
		})
		for x := range done {
			if !yield(x) {
				return
			}
		}
	}
}

// exploreOne draws the plan of a seed and runs it.
func (w world) exploreOne(seed uint64, faults []string) explored {
	p := plan.Draw(sim.NewStream(seed, "plan"), seed, faults)
	r, err := w.stage().Run(p)
	return explored{p, r, err}
}

// add takes in a run.
func (e *exploration) add(x explored) error {
	e.runs++
	e.virtual += x.result.Virtual
	e.steps += x.result.Steps
	for name, n := range x.result.Probes {
		e.probes[name] += n
	}
	e.progress()
	sentence := x.result.Sentence()
	if sentence == "" {
		return nil
	}
	first := len(e.failed[sentence]) == 0
	e.failed[sentence] = append(e.failed[sentence], x.plan.Seed)
	if !first {
		return nil
	}
	v := x.result.Violations[0]
	e.clear()
	e.print("FAILED  seed %d, at %v: %s\n    %.600s\n", x.plan.Seed, v.At, v.Sentence, v.Text)
	return e.keep(x.plan, sentence)
}

// keep makes a failing plan smaller, and writes it.
func (e *exploration) keep(p *plan.Plan, sentence string) error {
	if e.f.shrink > 0 && e.shrunk < exploreShrinksMax {
		e.shrunk++
		small, _, err := shrinkPlan(e.c, e.w, p, e.f.shrink, !e.f.json)
		if err != nil {
			return err
		}
		p = small
	}
	file := filepath.Join(e.f.out, fmt.Sprintf("%s-%d.txt", strings.ToLower(strings.Fields(sentence)[0]), p.Seed))
	if err := writePlan(file, p, sentence); err != nil {
		return err
	}
	operations, faults := p.Counts()
	if e.f.json {
		return e.printJSON(map[string]any{
			"seed": p.Seed, "sentence": sentence, "file": file, "operations": operations, "faults": faults, "necessary": p.Necessary(),
		})
	}
	e.print("    %d operations and %d faults are left, in %s\n", operations, faults, file)
	for _, n := range p.Necessary() {
		e.print("    necessary: %s\n", n)
	}
	e.print("    once more:  swarmsim replay %s%s\n\n", e.w.flags(), file)
	return nil
}

// writePlan writes a plan as a scenario.
func writePlan(file string, p *plan.Plan, sentence string) error {
	p.Sentence = []string{
		fmt.Sprintf("A random plan, of seed %d, made small. It broke:", p.Seed),
		sentence + ".",
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("the plan cannot be written: %w", err)
	}
	if err := os.WriteFile(file, []byte(p.Scenario()), 0o644); err != nil {
		return fmt.Errorf("the plan cannot be written: %w", err)
	}
	return nil
}

func (e *exploration) progress() {
	now := time.Now()
	if !e.c.terminal || e.f.json || now.Sub(e.shown) < progressEach {
		return
	}
	e.shown = now
	_, _ = fmt.Fprintf(e.c.errs, "\r\033[K%d plans, %d failed, %s simulated", e.runs, e.failures(), seconds(e.virtual.Seconds()))
}

func (e *exploration) clear() {
	if e.c.terminal && !e.shown.IsZero() {
		_, _ = fmt.Fprint(e.c.errs, "\r\033[K")
	}
}

func (e *exploration) print(format string, args ...any) {
	if !e.f.json {
		_, _ = fmt.Fprintf(e.c.out, format, args...)
	}
}

func (e *exploration) printJSON(v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(e.c.out, "%s\n", data)
	}
	return err
}

func (e *exploration) failures() int {
	n := 0
	for _, seeds := range e.failed {
		n += len(seeds)
	}
	return n
}

// end tells what all came to.
func (e *exploration) end() error {
	e.clear()
	wall := time.Since(e.began).Seconds()
	unreached := check.Unreached(e.probes)
	if e.f.json {
		if err := e.printJSON(map[string]any{
			"runs": e.runs, "failed": e.failed, "virtual_s": e.virtual.Seconds(), "wall_s": wall, "events": e.steps, "unreached": unreached, "probes": e.probes,
		}); err != nil {
			return err
		}
	}
	for _, sentence := range slices.Sorted(maps.Keys(e.failed)) {
		seeds := e.failed[sentence]
		e.print("%s: %d plans, of seeds %v\n", sentence, len(seeds), seeds[:min(seedsShown, len(seeds))])
	}
	for _, probe := range unreached {
		e.print("never reached: %s\n", probe)
	}
	e.print("%d plans, %d failed; %s simulated in %s (%.0f times real time), %d events; %d of %d known probes reached\n",
		e.runs, e.failures(), seconds(e.virtual.Seconds()), seconds(wall), e.virtual.Seconds()/max(wall, 1e-9), e.steps,
		len(check.Probes())-len(unreached), len(check.Probes()))
	if len(e.failed) > 0 {
		return errViolated
	}
	return nil
}
