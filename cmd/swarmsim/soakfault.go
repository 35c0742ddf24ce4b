//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

// How long faults last, and how long they are apart.
const (
	soakFaultMin = time.Second
	soakFaultMax = 8 * time.Second
	soakApartMax = 5 * time.Second
)

// inject breaks one manager after another until ctx ends, and leaves all whole.
// Whoever has taken a host from idle may break it.
func (s *soak) inject(ctx, parent context.Context, draws *rand.Rand, idle chan *lab.Host, managers []*lab.Host) error {
	for {
		pause(ctx, time.Duration(draws.Int64N(int64(soakApartMax))))
		if ctx.Err() != nil {
			return nil
		}
		for range draws.IntN(len(idle) + 1) { // whose turn it is, is drawn
			idle <- <-idle
		}
		h := <-idle
		err := s.breakHost(ctx, parent, draws, h, managers)
		idle <- h
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// breakHost breaks one manager for a while.
func (s *soak) breakHost(ctx, parent context.Context, draws *rand.Rand, h *lab.Host, managers []*lab.Host) error {
	length := soakFaultMin + time.Duration(draws.Int64N(int64(soakFaultMax-soakFaultMin)))
	kind := []string{"killed", "stopped", "cut off", "cut off, hears nobody", "cut off, not heard"}[draws.IntN(5)]
	// One at a time changes hosts: what a host is is written down with it.
	change := func(how func() error) error {
		s.faulty.Lock()
		defer s.faulty.Unlock()
		return how()
	}
	spoil, mend := s.isolate(h, managers, kind)
	switch kind {
	case "killed":
		spoil, mend = h.Kill, func() error { return h.Start(parent) }
	case "stopped":
		spoil, mend = h.Pause, h.Resume
	default:
	}
	if err := change(func() error { s.faults[kind]++; return spoil() }); err != nil {
		return err
	}
	pause(ctx, length)
	return change(mend)
}

// isolate returns what cuts a manager off from the others, and what heals that.
func (s *soak) isolate(h *lab.Host, managers []*lab.Host, kind string) (spoil, mend func() error) {
	all := func(change func(from, to *lab.Host) error) func() error {
		return func() error {
			var failed []error
			for _, o := range managers {
				if o == h {
					continue
				}
				if kind != "cut off, not heard" {
					failed = append(failed, change(o, h))
				}
				if kind != "cut off, hears nobody" {
					failed = append(failed, change(h, o))
				}
			}
			return errors.Join(failed...)
		}
	}
	return all(s.cluster.Cut), all(s.cluster.Heal)
}
