package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/engine/mutant"
)

type mutantsFlags struct {
	each  time.Duration
	first uint64
	only  []string
	seeds int
	json  bool
}

func newMutants(c console) *cobra.Command {
	f := &mutantsFlags{}
	cmd := &cobra.Command{
		Use:   "mutants [OPTIONS]",
		Short: "Plant bugs, and see which oracle finds each",
		Long: "Plant bugs in the engine one after the other, and see which oracle finds each in random plans, after how many\n" +
			"seeds and how much core time. A build with the tag mutants has them.",
		Example: "  go run -tags mutants ./cmd/swarmsim mutants --each 60s\n  go run -tags mutants ./cmd/swarmsim mutants --only start-first-plus-one --seeds 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !mutant.Possible {
				return errors.New("this build has no bugs to plant: build it with -tags mutants")
			}
			return plantAll(cmd.Context(), c, f)
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&f.each, "each", time.Minute, "core time for each bug")
	flags.Uint64Var(&f.first, "first", 1, "seed of the first plan")
	flags.StringSliceVar(&f.only, "only", nil, "only these bugs")
	flags.IntVar(&f.seeds, "seeds", 1, "from how many seeds each bug is to be found")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a bug")
	return cmd
}

// A score is what became of one planted bug.
type score struct {
	Bug      mutant.Bug     `json:"bug"`
	Where    string         `json:"where"`
	Row      int            `json:"row,omitempty"`
	Text     string         `json:"text"`
	Reached  uint64         `json:"reached"`   // how often its place was
	ReachRun int            `json:"reach_run"` // the first run in which it was, 0 for none
	Detected int            `json:"detected"`  // runs in which an oracle noticed
	By       map[string]int `json:"by"`        // by the number of the sentence
	Runs     int            `json:"runs"`      // until it was detected, or in all
	Core     float64        `json:"core_s"`    // until it was detected, or in all
	Seed     uint64         `json:"seed"`      // that showed it first
	Example  string         `json:"example,omitempty"`
}

func plantAll(ctx context.Context, c console, f *mutantsFlags) error {
	bugs := mutant.All()
	if f.only != nil {
		bugs = slices.DeleteFunc(bugs, func(p mutant.Planted) bool { return !slices.Contains(f.only, string(p.Bug)) })
		if len(bugs) != len(f.only) {
			return fmt.Errorf("not all of %s are bugs; see engine/mutant", strings.Join(f.only, ", "))
		}
	}
	if !f.json {
		_, _ = fmt.Fprintf(c.out, "%-26s %-13s %8s %5s %8s  %s\n", "bug", "in", "reached", "seeds", "core s", "found by")
	}
	detected, quick, reachedOnly := 0, 0, 0
	for _, b := range bugs {
		s, err := plantOne(ctx, b, f)
		if err != nil {
			return err
		}
		switch {
		case s.Detected > 0:
			detected++
			if s.Core <= time.Minute.Seconds() {
				quick++
			}
		case s.Reached > 0:
			reachedOnly++
		}
		if f.json {
			data, err := json.Marshal(s)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(c.out, "%s\n", data)
			continue
		}
		_, _ = fmt.Fprintf(c.out, "%-26s %-13s %8d %5d %8.1f  %s\n", s.Bug, s.Where, s.Reached, s.Runs, s.Core, s.found())
	}
	if !f.json {
		_, _ = fmt.Fprintf(c.out, "%d of %d bugs found, %d of them within a minute of core time; %d reached and not found, %d not reached\n",
			detected, len(bugs), quick, reachedOnly, len(bugs)-detected-reachedOnly)
	}
	if detected < len(bugs) {
		return errViolated
	}
	return nil
}

// plantOne runs plans with a bug planted until it is detected often enough.
func plantOne(ctx context.Context, b mutant.Planted, f *mutantsFlags) (*score, error) {
	s := &score{Bug: b.Bug, Where: b.Where, Row: b.Row, Text: b.Text, By: map[string]int{}}
	defer mutant.Plant("")
	began, runs := coreTime(), 0
	for seed := f.first; s.Detected < f.seeds; seed++ {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		mutant.Plant(b.Bug)
		x := world{name: worldModel}.exploreOne(seed, nil)
		if x.err != nil {
			return nil, fmt.Errorf("seed %d: %w", seed, x.err)
		}
		runs++
		spent := coreTime() - began
		if n := mutant.Reached(); n > 0 {
			s.Reached += n
			if s.ReachRun == 0 {
				s.ReachRun = runs
			}
		}
		if s.Detected == 0 {
			s.Runs, s.Core = runs, spent.Seconds()
		}
		if sentence := x.result.Sentence(); sentence != "" && mutant.Reached() > 0 {
			if sound, err := passesWithout(seed); err != nil || !sound {
				if err != nil {
					return nil, err
				}
				continue // that is a bug that nobody has planted
			}
			if s.Detected == 0 {
				s.Seed, s.Example = seed, x.result.Violations[0].Text
			}
			s.Detected++
			s.By[strings.Fields(sentence)[0]]++
		}
		if spent > f.each {
			break
		}
	}
	return s, nil
}

// passesWithout reports whether the plan of a seed breaks nothing when no bug is
// planted.
func passesWithout(seed uint64) (bool, error) {
	mutant.Plant("")
	x := world{name: worldModel}.exploreOne(seed, nil)
	if x.err != nil {
		return false, fmt.Errorf("seed %d: %w", seed, x.err)
	}
	return x.result.Sentence() == "", nil
}

// found says who found the bug.
func (s *score) found() string {
	switch {
	case s.Detected > 0:
		var by []string
		for sentence := range s.By {
			by = append(by, sentence)
		}
		slices.Sort(by)
		return fmt.Sprintf("%s (seed %d)", strings.Join(by, " "), s.Seed)
	case s.Reached > 0:
		return "nobody"
	default:
		return "not reached"
	}
}

// coreTime is what the process has used of its processors so far.
func coreTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
