package script

import (
	"errors"
	"fmt"

	"github.com/swarmd/swarmd/sim"
)

// Do has something go wrong, or right again.
func (m *Model) Do(f Fault) error {
	defer m.changed()
	w := m.World
	switch f := f.(type) {
	case Start:
		w.Host(f.Host).Start()
	case Kill:
		w.Host(f.Host).Kill()
	case PowerOff:
		w.Host(f.Host).PowerOff()
	case Pause:
		w.Host(f.Host).Pause()
	case Resume:
		w.Host(f.Host).Resume()
	case Suspend:
		w.Host(f.Host).Suspend()
	case Wakeup:
		w.Host(f.Host).Wakeup()
	case ChangePath:
		w.SetPath(w.Host(f.From), w.Host(f.To), f.Change)
	case HealPath:
		w.Heal(w.Host(f.From), w.Host(f.To))
	case SetClock:
		m.Checker.Skew()
		w.Host(f.Host).SetWall(f.By)
	case SetDrift:
		m.Checker.Skew()
		w.Host(f.Host).SetDrift(f.PPM)
	case SetDisk:
		if h := w.Host(f.Host); !h.Manager {
			return fmt.Errorf("%s keeps no log: only managers' disks can be slow or stuck", f.Host)
		}
		w.Host(f.Host).SetDisk(f.Slow, f.Stuck)
	case BreakDisk:
		if !w.Host(f.Host).SetDiskFault(f.DiskFault) {
			return errors.New("in this world the log is a model, and so is its disk: play it with --world raft")
		}
	case Install:
		if !w.Host(f.Host).Install(f.Other) {
			return errors.New("there is no other build here: play it with --world raft --other-guest FILE")
		}
	case HandOver:
		if !w.Host(f.Host).HandOver(w.Host(f.To)) {
			return errors.New("in this world the log is a model, which hands nothing over: play it with --world raft")
		}
	case SetMishaps:
		w.Host(f.Host).SetMishaps(func(now *sim.Mishaps) { *now = f.Mishaps })
	case LoseRuntime:
		w.Host(f.Host).LoseRuntime(f.Away)
	case EndContainer:
		w.Host(f.Host).EndContainer(f.Task, f.Code, f.OOM)
	}
	return nil
}
