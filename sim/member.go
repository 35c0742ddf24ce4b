package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/wire"
)

// askPatience is how long a host waits for a manager that it asks for a
// certificate.
const askPatience = 5 * time.Second

// configurationPeriod is how often a leader that reaches no quorum tries again to
// change the log's configuration.
const configurationPeriod = 100 * time.Millisecond

// Token returns the join token of the swarm, as its leader has it; "" while there
// is no leader.
func (w *World) Token(manager bool) string {
	leader := w.Leader()
	if leader == nil {
		return ""
	}
	c := leader.Store().Draft().Cluster()
	secret := c.WorkerSecret
	if manager {
		secret = c.ManagerSecret
	}
	return "SWMTKN-1-" + c.RootDigest + "-" + secret
}

// Addr is where the host is reached, host:port.
func (h *Host) Addr() string { return h.addr() }

// Member reports whether the host is a member of the swarm, as far as it knows.
func (h *Host) Member() bool { return h.identity.Node != "" }

// key stands in for the digest of the host's public key.
func (h *Host) key() []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", h.Name, h.joins))
	return sum[:]
}

// join asks a manager for membership.
func (h *Host) join(f engine.Join) {
	h.joins++
	token, failed := control.ParseToken(f.Token)
	if failed != nil {
		h.later(time.Millisecond, engine.Joined{Err: errors.New(failed.Message)})
		return
	}
	to := h.w.hostAt(Pick(h.draws, f.Remotes))
	h.ask(to, control.NodeJoin{Secret: token.Secret, Key: h.key(), Addr: f.Addr, Availability: f.Availability}, func(a control.Admitted, err error) {
		if err != nil {
			h.take(engine.Joined{Err: err})
			return
		}
		id := engine.Identity{Node: a.Node, Cluster: a.Cluster, Addr: f.Addr, DataPath: f.DataPath, Manager: a.Manager}
		h.cert = certificateOf(a, to)
		h.managers = nil
		for _, m := range a.Managers {
			h.managers = append(h.managers, wire.Manager{ID: m.Node, Addr: m.Addr})
		}
		h.sealed = engine.Lock{Key: a.UnlockKey, Version: a.UnlockVersion}
		if h.box == nil { // else the guest saves it
			h.ID, h.identity = a.Node, id
			h.openLog()
		}
		h.showCertificate()
		h.take(engine.Joined{Identity: id, Managers: h.managers})
	})
}

// changeRole has the host certified in the role that it has by now.
func (h *Host) changeRole(f engine.ChangeRole) {
	if len(h.managers) == 0 {
		h.later(time.Second, engine.RoleChanged{Identity: h.identity, Err: errors.New("no manager is known")})
		return
	}
	to := h.w.Host(string(Pick(h.draws, h.managers).ID))
	h.ask(to, control.NodeRenew{Node: h.ID, Key: h.key(), Held: h.key()}, func(a control.Admitted, err error) {
		if err == nil && a.Manager != f.Manager {
			err = errors.New("the node is not to have that role")
		}
		if err != nil {
			h.later(time.Second, engine.RoleChanged{Identity: h.identity, Err: err})
			return
		}
		h.cert = certificateOf(a, to)
		h.showCertificate()
		h.sealed = engine.Lock{Key: a.UnlockKey, Version: a.UnlockVersion}
		id := h.identity
		id.Manager = f.Manager
		switch {
		case h.box != nil: // the guest saves it
		case h.w.raft != nil:
			h.promote(id)
			return
		case f.Manager:
			h.identity = id
			h.openLog()
		default:
			h.identity = id
			h.closeLog()
		}
		h.take(engine.RoleChanged{Identity: id})
	})
}

// promote makes a manager of a host whose daemon runs in this process: it is started
// again, in a sandbox, with the role that it is to have, and knows the key that its
// disk will be locked with.
func (h *Host) promote(id engine.Identity) {
	lock := h.sealed
	h.Kill()
	h.identity, h.Manager, h.sealed = id, id.Manager, engine.Lock{}
	*h.shadow = shadow{joins: id.Manager}
	h.Start()
	h.sealed = lock
}

// ask makes a call that nodes make on a manager, and waits for the answer.
func (h *Host) ask(to *Host, call control.Call, done func(control.Admitted, error)) {
	life, over := h.life, false
	finish := func(a control.Admitted, err error) {
		if !over && h.life == life {
			over = true
			done(a, err)
		}
	}
	h.w.after(askPatience, func() { finish(control.Admitted{}, errors.New("no manager answers")) })
	if to == nil {
		return
	}
	take := func(answer control.Answer) {
		switch a := answer.(type) {
		case control.Admitted:
			finish(a, nil)
		case control.Failed:
			finish(control.Admitted{}, errors.New(a.Message))
		default:
		}
	}
	if to == h {
		h.w.Call(h, call, take)
		return
	}
	h.w.carry(h, to, func() {
		h.w.Call(to, call, func(answer control.Answer) {
			h.w.carry(to, h, func() { take(answer) })
		})
	})
}

// hostAt returns the host with an address, nil if there is none.
func (w *World) hostAt(addr string) *Host {
	for _, h := range w.Hosts {
		if h.addr() == addr {
			return h
		}
	}
	return nil
}

// openLog gives a manager an empty log, unless it has one.
func (h *Host) openLog() {
	h.Manager = h.identity.Manager
	if h.Manager && h.replica == nil && h.w.raft == nil {
		h.replica = &replica{h: h, model: h.w.log}
	}
}

// closeLog takes a log away, with what was in it.
func (h *Host) closeLog() {
	h.Manager = false
	if r := h.replica; r != nil {
		r.gone = true
		r.depose()
		h.replica = nil
		h.w.log.reconsider()
	}
}

// unlock tries a key on what the host has on disk, and runs its log.
func (h *Host) unlock(f engine.Unlock) {
	life := h.life
	h.w.after(time.Millisecond, func() {
		switch {
		case h.life != life:
		case !bytes.Equal(f.Key, h.sealed.Key):
			h.take(engine.Unlocked{Err: errors.New("it is another key")})
		case h.box != nil: // the guest opens its log, and lets its engine know
			h.locked = false
			h.take(engine.Unlocked{Managers: h.managers})
		default:
			h.locked = false
			h.take(engine.Unlocked{Managers: h.managers})
			if h.replica != nil && h.life == life {
				h.replica.restart()
			}
			h.w.log.reconsider()
		}
	})
}

// leave makes the host one that is in no swarm.
func (h *Host) leave() {
	h.cert = certificate{}
	h.identity, h.managers, h.sealed = engine.Identity{}, nil, engine.Lock{}
	h.closeLog()
	h.later(time.Millisecond, engine.Left{})
}

// members is the log's configuration.
func (m *raftModel) members() []membership.Member {
	var all []membership.Member
	for _, r := range m.replicas {
		standing := membership.Nonvoter
		if r.votes {
			standing = membership.Voter
		}
		all = append(all, membership.Member{Node: r.id, Standing: standing})
	}
	return all
}

// configure changes the log's configuration, once its leader reaches a quorum.
func (r *replica) configure(c membership.Change) {
	life, term := r.h.life, r.term
	r.h.w.after(r.syncTime()+2*r.model.delay(r.h, r.h), func() {
		switch {
		case r.h.life != life || !r.leads || r.term != term:
			return
		case !r.quorate():
			r.h.w.after(configurationPeriod, func() {
				if r.h.life == life && r.leads && r.term == term {
					r.configure(c)
				}
			})
			return
		}
		err := r.model.configure(c.Member, r.h.w.Host(string(c.Node)))
		r.h.take(engine.VoterChanged{Member: c.Member, Err: err})
		if c.Node == r.h.ID && c.Standing == membership.None {
			r.depose()
		}
		r.model.reconsider()
	})
}

func (m *raftModel) configure(member membership.Member, h *Host) error {
	i := slices.IndexFunc(m.replicas, func(r *replica) bool { return r.id == member.Node })
	switch member.Standing {
	case membership.None:
		if i >= 0 {
			m.replicas[i].votes = false
			m.replicas = slices.Delete(m.replicas, i, i+1)
		}
		return nil
	case membership.Nonvoter, membership.Voter:
		if i < 0 && (h == nil || h.replica == nil) {
			return errors.New("the manager has no log yet")
		}
		if i < 0 {
			i = len(m.replicas)
			h.replica.id = member.Node
			m.replicas = append(m.replicas, h.replica)
		}
		m.replicas[i].votes = member.Standing == membership.Voter
	}
	return nil
}
