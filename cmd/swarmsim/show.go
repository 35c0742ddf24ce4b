package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// traceLineBytesMax is how long a line of a trace may be.
const traceLineBytesMax = 8 << 20

func newShow(c console) *cobra.Command {
	var (
		hosts    []string
		from, to time.Duration
		all      bool
	)
	cmd := &cobra.Command{
		Use:   "show [OPTIONS] TRACE",
		Short: "Show a trace as a timeline",
		Long: "Show a trace as a timeline: the time, the host, and what happened.\n\n" +
			"  !  a command of the scenario, or a fault\n  <  what a host's engine took in\n  >  what it asked for\n  #  what really happened\n\n" +
			"What only keeps things going (wake-ups, heartbeats and the like) is left out, unless --all is given.",
		Example: "  swarmsim show --host leader,m2 --from 40s --to 45s trace.txt",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("the trace cannot be read: %w", err)
			}
			defer func() { _ = f.Close() }()
			out := bufio.NewWriter(c.out)
			defer func() { _ = out.Flush() }()
			lines := bufio.NewScanner(f)
			lines.Buffer(nil, traceLineBytesMax)
			naming := newNaming()
			for number := 1; lines.Scan(); number++ {
				line := lines.Text()
				e, ok := parseEntry(line)
				if !ok {
					return fmt.Errorf("%s:%d: found %.40q, expected a time, a host, a sign and what happened: is it a trace of swarmsim run --trace?", args[0], number, line)
				}
				naming.learn(line)
				switch {
				case e.at < from, to > 0 && e.at > to:
				case len(hosts) > 0 && e.host != "-" && !slices.Contains(hosts, e.host):
				case !all && e.routine():
				default:
					_, _ = fmt.Fprintln(out, naming.show(e))
				}
			}
			return lines.Err()
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&hosts, "host", nil, "only these hosts (commands and faults are always shown)")
	flags.DurationVar(&from, "from", 0, "only from this time on")
	flags.DurationVar(&to, "to", 0, "only up to this time")
	flags.BoolVarP(&all, "all", "a", false, "everything")
	return cmd
}
