package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// traceLineBytesMax is how long a line of a trace may be.
const traceLineBytesMax = 8 << 20

type showFlags struct {
	hosts    []string
	from, to time.Duration
	all      bool
	html     bool
	out      string
}

func newShow(c console) *cobra.Command {
	f := &showFlags{}
	cmd := &cobra.Command{
		Use:   "show [OPTIONS] TRACE",
		Short: "Show a trace as a timeline",
		Long: "Show a trace as a timeline: the time in seconds, the host, and what happened.\n\n" +
			"  !  a command of the scenario, or a fault\n  <  what a host's engine took in\n  >  what it asked for\n  #  what really happened\n\n" +
			"What only keeps things going (wake-ups, heartbeats and the like) is left out, unless --all is given.\n\n" +
			"With --html it is a page for a browser, which needs nothing but the file: a lane for every host, with\n" +
			"leaders, containers, messages and faults; --host, --from and --to say what it shows first.",
		Example: "  swarmsim show --host m1,m2 --from 40s --to 45s leader-loss.trace\n" +
			"  swarmsim show --html leader-loss.trace    # writes leader-loss.html",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("say which trace to show, one that was written with: swarmsim run --trace FILE")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return show(c, f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.hosts, "host", nil, "only these hosts (commands and faults are always shown)")
	flags.DurationVar(&f.from, "from", 0, "only from this time on")
	flags.DurationVar(&f.to, "to", 0, "only up to this time")
	flags.BoolVarP(&f.all, "all", "a", false, "everything")
	flags.BoolVar(&f.html, "html", false, "write a page for a browser")
	flags.StringVarP(&f.out, "output", "o", "", "file to write, - for standard output (default with --html: TRACE with .html at its end)")
	return cmd
}

func show(c console, f *showFlags, file string) error {
	if f.to > 0 && f.to < f.from {
		return fmt.Errorf("--to %v is before --from %v", f.to, f.from)
	}
	lines, naming, err := readTrace(file)
	if err != nil {
		return err
	}
	if err := f.check(lines, naming); err != nil {
		return err
	}
	out := f.out
	if out == "" && f.html {
		out = strings.TrimSuffix(strings.TrimSuffix(file, ".txt"), ".trace") + ".html"
	}
	write := func(to io.Writer) error {
		if f.html {
			return writePage(to, file, lines, naming, pageView{f.hosts, f.from, f.to})
		}
		return writeLines(to, f, lines, naming, newPaint(to))
	}
	if out == "" || out == "-" {
		return write(c.out)
	}
	to, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("the timeline cannot be written: %w", err)
	}
	if err := errors.Join(write(to), to.Close()); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(c.out, out)
	return nil
}

// readTrace reads a trace, and the names that it gives.
func readTrace(file string) ([]string, *naming, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("the trace cannot be read: %w", err)
	}
	defer func() { _ = in.Close() }()
	var lines []string
	naming := newNaming()
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, traceLineBytesMax)
	for scan.Scan() {
		line := scan.Text()
		if _, ok := parseEntry(line); !ok {
			return nil, nil, fmt.Errorf("%s:%d: found %.40q, expected a time, a host, a sign and what happened: is it a trace of swarmsim run --trace?", file, len(lines)+1, line)
		}
		naming.learn(line)
		lines = append(lines, line)
	}
	if err := scan.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s:%d: the trace cannot be read: %w", file, len(lines)+1, err)
	}
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("%s is empty: is it a trace of swarmsim run --trace?", file)
	}
	return lines, naming, nil
}

// check refuses hosts that the trace does not know.
func (f *showFlags) check(lines []string, naming *naming) error {
	known := slices.Clone(naming.order)
	if len(f.hosts) > 0 && len(known) == 0 { // a trace that names none: its lines do
		for _, line := range lines {
			if e, _ := parseEntry(line); e.host != "-" && !slices.Contains(known, e.host) {
				known = append(known, e.host)
			}
		}
	}
	for _, h := range f.hosts {
		if !slices.Contains(known, h) {
			return fmt.Errorf("there is no host %q in the trace; there are %s", h, strings.Join(known, ", "))
		}
	}
	return nil
}

// writeLines writes the timeline for a terminal.
func writeLines(to io.Writer, f *showFlags, lines []string, naming *naming, paint paint) error {
	width := len("-")
	for _, name := range naming.order {
		width = max(width, len(name))
	}
	out := bufio.NewWriter(to)
	for _, line := range lines {
		e, _ := parseEntry(line)
		switch {
		case e.at < f.from, f.to > 0 && e.at > f.to:
		case len(f.hosts) > 0 && e.host != "-" && !slices.Contains(f.hosts, e.host):
		case !f.all && e.routine():
		default:
			_, _ = out.WriteString(paint.line(e, width, naming.words(e.what)))
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("the timeline cannot be written: %w", err)
	}
	return nil
}
