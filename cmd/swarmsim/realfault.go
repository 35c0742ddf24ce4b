//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

// killedCode is the exit code of who was killed.
const killedCode = 137

// Do has something go wrong with the lab, or right again.
func (s *realStage) Do(f script.Fault) error {
	s.dirty = true
	switch f := f.(type) {
	case script.Start:
		s.switchOn(s.hosts[f.Host])
		return nil
	case script.Kill:
		return s.host(f.Host).Kill()
	case script.PowerOff:
		return s.host(f.Host).PowerOff()
	case script.Pause:
		if h := s.host(f.Host); h.State() == lab.Running {
			return h.Pause()
		}
		return nil
	case script.Resume:
		if h := s.host(f.Host); h.State() == lab.Paused {
			return h.Resume()
		}
		return nil
	case script.ChangePath:
		path := sim.Path{Cut: s.cuts[[2]string{f.From, f.To}]}
		f.Change(&path)
		return s.setCut(f.From, f.To, path.Cut)
	case script.HealPath:
		return s.setCut(f.From, f.To, false)
	case script.EndContainer:
		if f.OOM {
			return errors.New("memory cannot be made to run out in the real world")
		}
		return s.endContainer(f)
	default:
		return fmt.Errorf("the real world cannot do that: %T", f)
	}
}

// host is one that nothing is being done with: what was begun is waited for.
func (s *realStage) host(name string) *realHost {
	h := s.hosts[name]
	if h.starting != nil {
		<-h.starting
		h.starting = nil
	}
	return h
}

// switchOn starts a host that does not run, while the story goes on.
func (s *realStage) switchOn(h *realHost) {
	s.host(h.Name)
	if is := h.State(); is == lab.Running || is == lab.Paused {
		return
	}
	over := make(chan struct{})
	h.starting = over
	go func() {
		err := h.Start(s.ctx)
		close(over)
		s.later(func() {
			s.dirty = true
			if err != nil && s.ctx.Err() == nil {
				s.Violate("hosts start", "%v", err)
			}
		})
	}()
}

// busy reports whether a host is being started.
func (s *realStage) busy() bool {
	for _, h := range s.hosts {
		if h.starting == nil {
			continue
		}
		select {
		case <-h.starting:
		default:
			return true
		}
	}
	return false
}

// setCut cuts the way from one host to another, or mends it.
func (s *realStage) setCut(from, to string, cut bool) error {
	way := [2]string{from, to}
	if s.cuts[way] == cut {
		return nil
	}
	s.cuts[way] = cut
	change := s.cluster.Heal
	if cut {
		change = s.cluster.Cut
	}
	return change(s.hosts[from].Host, s.host(to).Host)
}

// endContainer ends a container with a code. The images are ours: they end with the
// code that they are given when they are told to.
func (s *realStage) endContainer(f script.EndContainer) error {
	containers := s.hosts[f.Host].Containers()
	i := slices.IndexFunc(containers, func(c lab.Container) bool { return c.Task == string(f.Task) })
	if i < 0 || containers[i].PID == 0 {
		return nil // it has ended by itself
	}
	pid := containers[i].PID
	if f.Code == killedCode {
		return ignoreGone(unix.Kill(pid, unix.SIGKILL))
	}
	err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "root/tmp/code"), []byte(strconv.Itoa(f.Code)), 0o644)
	if err != nil {
		return fmt.Errorf("container of task %s on %s: %w", f.Task, f.Host, err)
	}
	return ignoreGone(unix.Kill(pid, unix.SIGUSR1))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// StartClients is for worlds that keep a history.
func (s *realStage) StartClients(sim.ClientsConfig) error {
	return errors.New("the real world keeps no history of what clients are told")
}

// Linearizable is for worlds that keep a history.
func (s *realStage) Linearizable() error {
	return errors.New("the real world keeps no history of what clients are told")
}
