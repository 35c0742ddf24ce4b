//go:build !windows

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// followSize tells a command the size of the terminal, at first and whenever it
// changes, until ctx is done.
func (s *session) followSize(ctx context.Context, id string) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	defer signal.Stop(changes)
	for {
		s.resize(ctx, id)
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
	}
}

// rawScreen has nothing to do: the screen follows the keyboard.
func rawScreen(*os.File) (restore func()) { return func() {} }
