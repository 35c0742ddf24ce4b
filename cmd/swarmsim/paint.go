package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// A paint colours the timeline, on a terminal.
type paint bool

// newPaint paints if out is a terminal, and NO_COLOR does not forbid it.
func newPaint(out io.Writer) paint {
	f, ok := out.(*os.File)
	return paint(ok && os.Getenv("NO_COLOR") == "" && isTerminal(f))
}

// Colours, as terminals number them.
const (
	faint  = "2"
	bold   = "1"
	red    = "1;31"
	green  = "32"
	yellow = "1;33"
	blue   = "34"
	violet = "35"
)

func (p paint) in(colour, text string) string {
	if !p || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line renders an entry, in columns.
func (p paint) line(e entry, width int, what string) string {
	host := fmt.Sprintf("%-*s", width, e.host)
	if e.host != "-" {
		host = p.in(bold, host)
	}
	return fmt.Sprintf("%s  %s %s %s\n", p.in(faint, clock(e.at)), host, p.in(faint, e.sign), p.in(colourOf(e), what))
}

// colourOf is the colour of what happened.
func colourOf(e entry) string {
	first, _, _ := strings.Cut(e.what, " ")
	switch {
	case e.sign == "!" && first == "raft:":
		return violet
	case e.sign == "!" && slices.Contains([]string{"line", "done:", "host", "user:"}, first):
		return bold
	case e.sign == "!":
		return yellow
	case first == "violated:":
		return red
	case e.sign == "#":
		return green
	case slices.Contains([]string{"elected", "deposed", "leader-changed"}, first):
		return violet
	case first == "committed", first == "propose":
		return blue
	case e.routine():
		return faint
	default:
		return ""
	}
}
