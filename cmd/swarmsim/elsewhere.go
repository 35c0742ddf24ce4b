//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/sim/script"
)

// errElsewhere is for systems that have no network namespaces.
var errElsewhere = errors.New("hosts on this machine need Linux; the simulated world does not: --world model")

func newLab(console) *cobra.Command {
	return linuxOnly("lab", "Try a swarm of several hosts on this machine")
}

func newSoak(console) *cobra.Command {
	return linuxOnly("soak", "See whether a real swarm stays linearizable while managers are killed, stopped and cut off")
}

func linuxOnly(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short + " (Linux only)",
		RunE: func(*cobra.Command, []string) error { return errElsewhere },
	}
}

func checkRealRuns(*runFlags, []*script.Script) error { return errElsewhere }

// playAllReal is not come to: checkRealRuns refuses.
func playAllReal(context.Context, console, *runFlags, []*script.Script) func(func(result) bool) {
	return func(func(result) bool) {}
}
