package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/sim/script"
)

// newReplay is run with nothing to choose: the plan has its seed.
func newReplay(c console) *cobra.Command {
	f := &runFlags{seed: 1, seeds: seedRange{1, 1}, own: true, jobs: 1}
	cmd := &cobra.Command{
		Use:     "replay [OPTIONS] PLAN",
		Short:   "Play a plan once more, exactly as it was",
		Long:    "Play a plan once more, exactly as it was.\n\nA PLAN is a scenario whose swarm line has a seed, such as explore writes.",
		Example: "  swarmsim replay --trace t.txt s30-4711.txt && swarmsim show t.txt",
		Args:    onePlan,
		RunE: func(cmd *cobra.Command, args []string) error {
			scripts, err := readAll(args)
			if err != nil {
				return err
			}
			if err := seededAll(scripts); err != nil {
				return err
			}
			return runAll(cmd.Context(), c, f, args)
		},
	}
	f.world.add(cmd.Flags())
	cmd.Flags().StringVar(&f.trace, "trace", "", "write the trace to this file")
	cmd.Flags().BoolVar(&f.json, "json", false, "print what it came to as a JSON object")
	return cmd
}

// onePlan sees to it that one plan is named.
func onePlan(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("say which plan, a scenario whose swarm line has a seed, such as swarmsim explore writes")
	}
	return nil
}

func seededAll(scripts []*script.Script) error {
	for _, s := range scripts {
		if s.Config.Seed == 0 {
			return fmt.Errorf("%s has no seed of its own: add --seed N to its swarm line, or play it with swarmsim run --seed N", s.File)
		}
	}
	return nil
}
