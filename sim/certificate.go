package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A certificate is what a host shows to others. Of TLS nothing is modelled: a
// certificate is what it says.
type certificate struct {
	membership.Certificate
	manager bool
	issued  int64 // in the world's time, which no clock shows
}

// certLifetime is how long certificates are good that the swarm is founded with.
const certLifetime = 90 * 24 * time.Hour

// certificateOf is what a host gets that was admitted, by the clock of the manager
// that signs.
func certificateOf(a control.Admitted, by *Host) certificate {
	wall := state.Wall(by.clock.now(by.w.now).Add(by.clock.offset).UnixNano())
	return certificate{membership.Certificate{Version: a.Version, From: wall, Until: wall.Add(a.Expiry)}, a.Manager, by.w.now}
}

// CertificateAge is how long ago the host's certificate was issued, and for how long
// it was to be good, in time that passes, whatever clocks show. Both are zero while
// the host has none.
func (h *Host) CertificateAge() (age, life time.Duration) {
	if h.cert.Until == 0 {
		return 0, 0
	}
	return time.Duration(h.w.now - h.cert.issued), h.cert.Until.Sub(h.cert.From)
}

// bearer is who the host is to those that it speaks to.
func (h *Host) bearer() membership.Bearer {
	return membership.Bearer{Node: h.ID, Manager: h.cert.manager, Key: h.key(), Version: h.cert.Version}
}

// showCertificate tells the engine which certificate the host has.
func (h *Host) showCertificate() {
	if h.Member() && !h.locked {
		h.take(engine.Certified{Certificate: h.cert.Certificate})
	}
}

// hears reports whether the host takes a message from another, as real/peer does.
func (h *Host) hears(from *Host, m wire.Message) bool {
	v := h.roster.Judge(from.bearer())
	switch m.(type) {
	case wire.Hello:
		return true
	case wire.Heartbeat:
		return v.Member || v.Removed
	case wire.Assign, wire.Bye:
		return v.Manager
	default:
		return v.Member
	}
}

// renew gets another certificate from any manager.
func (h *Host) renew() {
	failed := func(err error) { h.later(time.Second, engine.Renewed{Err: err}) }
	if len(h.managers) == 0 {
		failed(errors.New("no manager is known"))
		return
	}
	to := h.w.Host(string(Pick(h.draws, h.managers).ID))
	if h.Manager && h.draws.Chance(0.5) {
		to = h // managers sign for themselves
	}
	h.ask(to, control.NodeRenew{Node: h.ID, Key: h.key(), Held: h.key()}, func(a control.Admitted, err error) {
		if err == nil && a.Manager != h.identity.Manager {
			err = errors.New("the node is to have another role")
		}
		if err != nil {
			failed(err)
			return
		}
		h.cert = certificateOf(a, to)
		h.showCertificate()
		h.take(engine.Renewed{})
	})
}

// makeRoot makes a root; the one that is given is good.
func (h *Host) makeRoot(f engine.MakeRoot) {
	root := control.Root{Cert: f.Root.Cert, Key: f.Root.Key, Old: f.Root.OldCert}
	if len(root.Cert) == 0 {
		root.Cert = fmt.Appendf(nil, "simulated %d", h.draws.Between(0, time.Hour))
		root.Key = root.Cert
	}
	root.Digest = strings.Repeat("1", 50)
	root.Cross = fmt.Appendf(nil, "%s by %s", root.Cert, root.Old)
	h.later(time.Millisecond, engine.RootMade{Request: f.Request, Root: root})
}

// refound makes the host's log one of its own alone, with all that is in it. The
// others keep the one that there was.
func (h *Host) refound(f engine.Refound) {
	life := h.life
	h.w.after(10*time.Millisecond, func() {
		old := h.replica
		if h.life != life {
			return
		}
		if old == nil { // its log is production's
			h.take(engine.Refounded{Identity: h.identity, Err: errors.New("the simulator does not rewrite logs of world raft")})
			return
		}
		h.note("founded anew")
		old.gone = true
		old.depose()
		m := &raftModel{w: h.w, draws: old.model.draws, threshold: old.model.threshold}
		fresh := &replica{
			h: h, id: h.ID, model: m, promised: old.promised, base: old.base, baseTerm: old.baseTerm, snapshot: old.snapshot,
			entries: append([]logEntry(nil), old.entries...), votes: true, slowDisk: old.slowDisk, stuckDisk: old.stuckDisk,
		}
		m.replicas = []*replica{fresh}
		h.replica, h.w.log = fresh, m
		h.identity.Addr = f.Addr
		h.take(engine.Refounded{Identity: h.identity})
		if h.life != life {
			return
		}
		fresh.learn(fresh.last())
		m.reconsider()
	})
}
