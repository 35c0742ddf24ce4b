package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/cli/cli/command/service/progress"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
	"golang.org/x/term"
)

// converge shows how a service converges until it has. An interrupt leaves it
// converging by itself.
func (s *session) converge(ctx context.Context, service string, quiet bool) error {
	messages, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- progress.ServiceProgress(ctx, s.client, service, writer) }()
	out := s.out
	if quiet {
		out = io.Discard
	}
	shown := showMessages(messages, out)
	_ = messages.CloseWithError(shown) // what is still written has no reader
	err := <-done
	switch {
	case ctx.Err() != nil:
		if !quiet {
			s.print("Operation continuing in background.\nUse `swarmctl service ps %s` to check progress.\n", service)
		}
		return nil
	case err != nil:
		return err
	}
	return shown
}

// showMessages prints a stream of progress messages. On a terminal each ID keeps
// its line; elsewhere only what is not mere counting is printed.
func showMessages(in io.Reader, out io.Writer) error {
	const wide = 200
	screen := screen{out: out, width: wide, lines: map[string]int{}}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		screen.terminal = true
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			screen.width = width
		}
	}
	decoder := json.NewDecoder(in)
	for {
		var message jsonstream.Message
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case message.Error != nil:
			return message.Error
		case message.Aux == nil && !dockersOwn(message.Status):
			screen.show(message)
		}
	}
}

// A screen is where progress messages are shown.
type screen struct {
	out      io.Writer
	terminal bool
	width    int
	lines    map[string]int // which line belongs to an ID, from the first
}

func (s *screen) print(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func (s *screen) show(message jsonstream.Message) {
	up := 0
	if message.ID != "" && message.Progress != nil {
		line, known := s.lines[message.ID]
		if !known {
			line = len(s.lines)
			s.lines[message.ID] = line
			if s.terminal {
				s.print("\n")
			}
		}
		up = len(s.lines) - line
	} else {
		clear(s.lines) // a plain line: what is above is not ours to change any more
	}
	if s.terminal && up > 0 {
		s.print("\x1b[%dA", up)
		defer s.print("\x1b[%dB", up)
	}
	s.line(message)
}

func (s *screen) line(message jsonstream.Message) {
	moving := message.Progress != nil
	switch {
	case moving && s.terminal && message.Stream == "":
		s.print("\x1b[2K\r")
	case moving && (message.Progress.Current > 0 || message.Progress.Total > 0):
		return
	}
	if message.ID != "" {
		s.print("%s: ", message.ID)
	}
	switch {
	case moving && s.terminal:
		s.print("%s %s\r", message.Status, bar(*message.Progress, s.width))
	case message.Stream != "":
		s.print("%s", message.Stream)
	default:
		s.print("%s\n", message.Status)
	}
}

// bar draws how far something is, if it fits the terminal, and the numbers.
func bar(p jsonstream.Progress, width int) string {
	const length, fits = 50, 110
	amount := func(n int64) string { return fmt.Sprint(n) }
	if p.Units == "" {
		amount = func(n int64) string { return units.HumanSize(float64(n)) }
	}
	switch {
	case p.Current <= 0 && p.Total <= 0:
		return ""
	case p.Total <= 0:
		return strings.TrimRight(fmt.Sprintf("%8s %s", amount(p.Current), p.Units), " ")
	}
	drawn := ""
	if width > fits {
		filled := int(min(p.Current*length/p.Total, length))
		drawn = "[" + strings.Repeat("=", filled) + ">" + strings.Repeat(" ", length-filled) + "] "
	}
	switch {
	case p.HideCounts:
	case p.Units == "" && p.Current > p.Total:
		drawn += fmt.Sprintf("%8s", amount(p.Current))
	case p.Units == "":
		drawn += fmt.Sprintf("%8s/%s", amount(p.Current), amount(p.Total))
	default:
		drawn += fmt.Sprintf("%s/%s %s", amount(p.Current), amount(p.Total), p.Units)
	}
	return drawn
}

// dockersOwn reports whether a message is what docker's progress says at an
// interrupt: converge says it in this program's name.
func dockersOwn(status string) bool {
	return strings.HasPrefix(status, "Operation continuing in background") || strings.Contains(status, "`docker service ps")
}
