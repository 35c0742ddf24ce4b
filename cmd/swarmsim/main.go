// Swarmsim plays scenarios in simulated swarms: a whole swarm in one process,
// with time, network, disks and containers of its own, so that a minute costs a
// few milliseconds and the same seed gives the same run, to the byte.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the program is built.
var version = "dev"

// Exit codes.
const (
	exitPassed   = 0
	exitViolated = 1 // a sentence was broken
	exitInput    = 2 // the command line, or a scenario, cannot be understood
)

// errViolated ends the program after the report, which has said everything.
var errViolated = errors.New("a sentence was broken")

// A console is where a command writes.
type console struct {
	out, errs io.Writer
	terminal  bool // errs is one: progress may be shown
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{out: os.Stdout, errs: os.Stderr, terminal: isTerminal(os.Stderr)})
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, c console) int {
	root := newRoot(c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitPassed
	case errors.Is(err, errViolated):
		return exitViolated
	default:
		_, _ = fmt.Fprintln(c.errs, "swarmsim:", err)
		return exitInput
	}
}

// newRoot returns the command tree: a command is added here, and has a file of
// its own.
func newRoot(c console) *cobra.Command {
	root := &cobra.Command{
		Use:           "swarmsim",
		Short:         "Play scenarios in simulated swarms",
		Long:          "Play scenarios in simulated swarms.\n\nExit codes: 0 all passed, 1 a sentence was broken, 2 bad input.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(c.out)
	root.SetErr(c.errs)
	for _, cmd := range []*cobra.Command{newRun(c), newShow(c), newExplore(c), newReplay(c), newShrink(c), newMutants(c), newLab(c), newSoak(c)} {
		cmd.DisableFlagsInUseLine = true // [OPTIONS] says it
		root.AddCommand(cmd)
	}
	return root
}
