package main

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// followSize tells a command the size of the terminal, at first and whenever it
// changes, until ctx is done. Windows has no signal for it: it is looked at.
func (s *session) followSize(ctx context.Context, id string) {
	const interval = 250 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	known := consoleSize(terminal(s.out))
	s.resize(ctx, id)
	for {
		select {
		case <-ticker.C:
			if size := consoleSize(terminal(s.out)); size != known {
				known = size
				s.resize(ctx, id)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rawScreen lets the console obey the command's escape sequences.
func rawScreen(screen *os.File) (restore func()) {
	if screen == nil {
		return func() {}
	}
	handle := windows.Handle(screen.Fd())
	var mode uint32
	if windows.GetConsoleMode(handle, &mode) != nil {
		return func() {}
	}
	_ = windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING|windows.DISABLE_NEWLINE_AUTO_RETURN)
	return func() { _ = windows.SetConsoleMode(handle, mode) }
}
