package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/sim/plan"
)

func newShrink(c console) *cobra.Command {
	during, out, choice := 5*time.Minute, "", &worldChoice{}
	cmd := &cobra.Command{
		Use:   "shrink [OPTIONS] PLAN",
		Short: "Make a plan that fails smaller",
		Long: "Make a plan that fails smaller, as long as it breaks the same sentence: fewer operations and faults, fewer\n" +
			"hosts, shorter times, simpler commands. What it comes to is written beside it, and the faults that are left\n" +
			"are those that were necessary.",
		Example: "  swarmsim shrink --for 10m s30-4711.txt",
		Args:    onePlan,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("the plan cannot be read: %w", err)
			}
			p, err := plan.Parse(string(text))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			w, err := choice.open()
			if err != nil {
				return err
			}
			defer w.close() //nolint:errcheck // the program is not needed any more
			small, sentence, err := shrinkPlan(c, w, p, during, true)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if sentence == "" {
				_, _ = fmt.Fprintf(c.out, "%s breaks nothing: there is nothing to shrink for\n", args[0])
				return nil
			}
			if out == "" {
				out = strings.TrimSuffix(args[0], filepath.Ext(args[0])) + "-small.txt"
			}
			if err := writePlan(out, small, sentence); err != nil {
				return err
			}
			was, wasFaults := p.Counts()
			is, faults := small.Counts()
			_, _ = fmt.Fprintf(c.out, "%s\n%d of %d operations and %d of %d faults are left, in %s\n", sentence, is, was, faults, wasFaults, out)
			for _, n := range small.Necessary() {
				_, _ = fmt.Fprintf(c.out, "necessary: %s\n", n)
			}
			return nil
		},
	}
	choice.add(cmd.Flags())
	cmd.Flags().DurationVar(&during, "for", during, "stop after so long in real time")
	cmd.Flags().StringVar(&out, "out", "", "file for what it comes to (default PLAN with -small)")
	return cmd
}

// shrinkPlan makes a plan smaller for at most so long.
func shrinkPlan(c console, w world, p *plan.Plan, during time.Duration, show bool) (*plan.Plan, string, error) {
	began := time.Now()
	shown := began
	s := plan.Shrinker{
		Stage:  w.stage(),
		Enough: func() bool { return time.Since(began) > during },
		Tried: func(tries int, best *plan.Plan) {
			now := time.Now()
			if !c.terminal || !show || now.Sub(shown) < progressEach {
				return
			}
			shown = now
			operations, faults := best.Counts()
			_, _ = fmt.Fprintf(c.errs, "\r\033[Kshrinking: %d tries, %d operations and %d faults are left", tries, operations, faults)
		},
	}
	small, sentence, err := s.Shrink(p)
	if shown != began {
		_, _ = fmt.Fprint(c.errs, "\r\033[K")
	}
	return small, sentence, err
}
