package check

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// updating is a service of so many slots whose tasks run, and whose user has just
// asked for another template.
func (f *fixture) updating(replicas uint64, change func(*swarm.UpdateConfig)) *state.Service {
	s := f.addService("db", func(s *state.Service) { s.Spec.Mode.Replicated.Replicas = &replicas })
	for slot := range replicas {
		id := state.TaskID("old-" + string(rune('1'+slot)))
		f.addTask(s, id, "h3", func(t *state.Task) { t.Slot = slot + 1 })
		f.setTask(f.c.View().Task(id), func(t *state.Task) { t.Status.State, t.Ran = state.TaskRunning, 1 })
	}
	f.setService("db", func(s *state.Service) {
		previous := s.Spec
		config := swarm.UpdateConfig{Parallelism: 1, FailureAction: "pause", Monitor: time.Minute}
		change(&config)
		s.SpecVersion++
		s.Previous, s.PreviousTemplate = &previous, s.Template
		s.Spec.UpdateConfig = &config
		s.Template = f.c.Store.Index() + 1
		s.Update = &state.Update{State: swarm.UpdateStateUpdating, Started: 1, Template: s.Template, Dirty: replicas}
	})
	f.commit(func(d *state.Draft) { d.PutTemplate(templateOf(f.service("db"))) })
	f.clean()
	return f.service("db")
}

// move has the update replace the task of a slot, in one entry.
func (f *fixture) move(d *state.Draft, s *state.Service, slot uint64, stop bool) {
	n := string(rune('0' + slot))
	if stop {
		old := *d.Task(state.TaskID("old-" + n))
		old.Desired = state.TaskShutdown
		d.PutTask(&old)
	}
	f.draftTask(d, s, state.TaskID("new-"+n), "", func(t *state.Task) { t.Slot, t.Rollout = slot, true })
}

// end has a task end by itself, and told so.
func end(t *state.Task, how state.TaskState) {
	t.Status.State, t.Desired = how, state.TaskShutdown
}

func plantedUpdates() map[string]func(*fixture) {
	return map[string]func(*fixture){
		"S29": func(f *fixture) {
			s := f.updating(1, func(c *swarm.UpdateConfig) { c.Order = "start-first" })
			f.commit(func(d *state.Draft) { f.move(d, s, 1, true) }) // it has started nothing yet
		},
		"S30": func(f *fixture) {
			s := f.updating(3, func(c *swarm.UpdateConfig) { c.Parallelism = 1 })
			f.commit(func(d *state.Draft) { f.move(d, s, 1, true) })
			f.clean()
			f.commit(func(d *state.Draft) { f.move(d, s, 2, true) })
		},
		"S31": func(f *fixture) {
			s := f.updating(1, func(*swarm.UpdateConfig) {})
			f.commit(func(d *state.Draft) { f.move(d, s, 1, true) })
			f.setTask(f.c.View().Task("new-1"), func(t *state.Task) { t.Node, t.Status.State = f.w.Host("h3").ID, state.TaskAssigned })
			f.clean()
			f.setTask(f.c.View().Task("new-1"), func(t *state.Task) { end(t, state.TaskFailed) }) // and the update goes on
		},
		"S32": func(f *fixture) {
			f.updating(1, func(*swarm.UpdateConfig) {})
			f.setService("db", func(s *state.Service) {
				was := s.Spec
				s.SpecVersion++
				s.Spec.Labels = map[string]string{"neither": "nor"}
				s.Update = &state.Update{State: swarm.UpdateStateRollbackStarted, Started: 2}
				s.Previous = &was
			})
		},
		"S33": func(f *fixture) {
			attempts := uint64(1)
			s := f.addService("db", func(s *state.Service) {
				s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{MaxAttempts: &attempts, Delay: new(time.Duration)}
			})
			f.addTask(s, "t", "h3", nil)
			f.restart(s, "t", "u")
			f.clean()
			f.restart(s, "u", "v")
		},
		"S34": func(f *fixture) {
			s := f.addService("db", func(s *state.Service) {
				one := uint64(1)
				s.Spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &one}}
			})
			job := func(t *state.Task) { t.Job, t.Slot, t.Desired = true, 0, state.TaskComplete }
			f.addTask(s, "t", "h3", job)
			f.setTask(f.c.View().Task("t"), func(t *state.Task) { end(t, state.TaskComplete) })
			f.clean()
			f.addTask(s, "u", "", job)
		},
		"S35": func(f *fixture) {
			s := f.addService("db", func(s *state.Service) {
				s.Spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
				s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.zone==b"}}
			})
			f.addTask(s, "t", "", func(t *state.Task) { t.Global, t.Slot, t.Node = true, 0, f.w.Host("h3").ID })
		},
	}
}

// restart has a task fail, and another follow it in one entry.
func (f *fixture) restart(s *state.Service, old, next state.TaskID) {
	f.commit(func(d *state.Draft) {
		t := *d.Task(old)
		end(&t, state.TaskFailed)
		d.PutTask(&t)
		f.draftTask(d, s, next, "h3", nil)
	})
}

// plantedAtRest are stories that are broken only at rest, by number.
func plantedAtRest() map[string]func(*fixture) {
	return map[string]func(*fixture){
		"L1": func(f *fixture) {
			f.w.Host("h2").Kill() // one of two
			oracle[*leaderElected](f).Healed(f.c)
		},
		"L2": func(f *fixture) {
			f.w.Host("h1").SetDisk(0, true)
			f.w.Host("h2").SetDisk(0, true)
			oracle[*writesCommit](f).Healed(f.c)
		},
		"L3": func(f *fixture) {
			f.addService("db", keep) // which no manager has
			oracle[*followersCatchUp](f).Healed(f.c)
		},
		"L4": func(f *fixture) {
			h := f.w.Host(string(f.tasks("web")[0].Node))
			rest[*desiredActual](f)
			f.clean()
			h.Pause()
			h.EndContainer(f.tasks("web")[0].ID, 0, false)
			rest[*desiredActual](f)
		},
		"L5": func(f *fixture) {
			f.updating(1, func(*swarm.UpdateConfig) {})
			rest[*updatesEnd](f)
		},
		"L6": func(f *fixture) {
			rest[*drainedEmpty](f)
			f.clean()
			f.setNode(f.w.Host(string(f.tasks("web")[0].Node)).Name, func(n *state.Node) {
				n.Spec.Availability = swarm.NodeAvailabilityDrain
				n.SpecVersion++
			})
			rest[*drainedEmpty](f)
		},
		"L7": func(f *fixture) {
			rest[*deadNoticed](f)
			f.clean()
			f.w.Host("h3").Kill()
			rest[*deadNoticed](f)
		},
		"L9": func(f *fixture) {
			rest[*nothingLeaks](f)
			f.clean()
			t := f.tasks("web")[0]
			h := f.w.Host(string(t.Node))
			h.Kill()
			f.setTask(t, func(t *state.Task) { t.Desired, t.Status.State = state.TaskRemove, state.TaskOrphaned })
			f.commit(func(d *state.Draft) { d.DeleteTask(t.ID) })
			rest[*nothingLeaks](f)
		},
		"L10": func(f *fixture) {
			o := oracle[*restQuiet](f)
			o.Resting(f.c, func() { f.w.Run(f.w.Now() + time.Minute) })
			f.clean()
			o.Resting(f.c, func() {
				f.w.Run(f.w.Now() + time.Second)
				f.append(state.Entry{})
			})
		},
		"L13": func(f *fixture) {
			s := f.addService("db", keep)
			rest[*pendingPlaced](f)
			f.clean()
			f.addTask(s, "t", "", nil)
			rest[*pendingPlaced](f)
		},
		"L15": func(f *fixture) {
			rest[*removalRemoves](f)
			f.clean()
			s := f.addService("db", keep)
			f.addTask(s, "t", "h3", nil)
			f.commit(func(d *state.Draft) { d.DeleteService(s.ID) })
			rest[*removalRemoves](f)
		},
		"L16": func(f *fixture) {
			f.w.At(f.w.Now()+time.Minute, f.fidget)
			Settle(f.c, nil, 30*time.Minute)
		},
		"L17": func(f *fixture) {
			rest[*certificatesFresh](f)
			o := oracle[*certificatesFresh](f)
			o.judge(f.c, "h3", time.Hour, time.Hour)
			f.clean()
			o.judge(f.c, "h3", time.Hour+1, time.Hour)
		},
	}
}

// fidget changes a node's spec again and again.
func (f *fixture) fidget() {
	if leader := f.w.Leader(); leader != nil {
		n := leader.Store().Draft().Node(f.w.Host("h3").ID)
		spec := n.Spec
		f.w.Call(leader, nodeUpdate(n, spec), ignore)
	}
	f.w.At(f.w.Now()+time.Minute, f.fidget)
}

func nodeUpdate(n *state.Node, spec swarm.NodeSpec) control.Call {
	return control.NodeUpdate{Ref: string(n.ID), Version: n.SpecVersion, Spec: spec}
}

func ignore(control.Answer) {}
