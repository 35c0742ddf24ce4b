//go:build wasip1

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	members "github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real"
	"github.com/swarmd/swarmd/sim/gate"
)

// A guest is a driver, and all of its ports. Those that are the host's to carry
// out remember what they were given, and are told to the host with the step.
type guest struct {
	driver     *real.Driver
	membership *membership
	inbox      *inbox
	disk       *fileSystem
	logger     *slog.Logger
	requests   requests

	// Of the driver's goroutine.
	performed []engine.Effect
	message   []byte
}

func newGuest(boot gate.Boot) *guest {
	g := &guest{driver: real.New(), disk: &fileSystem{waiting: map[uint64]chan gate.Errno{}}}
	g.logger = slog.New(slog.DiscardHandler)
	if boot.Verbose {
		g.logger = slog.New(slog.NewTextHandler(lines{}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	g.requests.theirs, g.requests.ours = map[engine.RequestID]engine.RequestID{}, map[engine.RequestID]engine.RequestID{}
	g.inbox = &inbox{guest: g}
	g.membership = newMembership(g, boot)
	return g
}

// lines are told to the host, a line a write.
type lines struct{}

func (lines) Write(p []byte) (int, error) {
	tell(gate.FromLine, p)
	return len(p), nil
}

// requests are the numbers of calls, which host and driver each give out. There is
// one thread, and a call goes from here to the driver's queue without waiting: the
// numbers that the driver gives are those that are counted here.
type requests struct {
	last         engine.RequestID
	theirs, ours map[engine.RequestID]engine.RequestID // each by the other
}

func (r *requests) add(theirs engine.RequestID) {
	r.last++
	r.theirs[r.last], r.ours[theirs] = theirs, r.last
}

// call makes a call, as the API does.
func (g *guest) call(e engine.Called) {
	theirs := e.Request
	g.requests.add(theirs)
	call := g.driver.Call
	if e.Forwarded {
		call = g.driver.CallForwarded
	}
	if _, err := call(context.Background(), e.Call); err == nil {
		tell(gate.FromAnswer, binary.LittleEndian.AppendUint64(nil, uint64(theirs)))
	}
}

// observe tells the host of a step, when the driver has handed all effects on.
func (g *guest) observe(_ time.Time, event engine.Event, s engine.Step) {
	step := gate.Step{Event: event}
	if !s.Wake.IsZero() {
		step.Wake = s.Wake.UnixNano()
	}
	switch e := event.(type) {
	case engine.Called:
		step.Called = uint64(g.requests.theirs[e.Request])
	case engine.Started, engine.Woken, engine.ClockAdjusted, engine.AuthorityCreated, engine.Elected, engine.Deposed,
		engine.VoterChanged, engine.Joined, engine.RoleChanged, engine.Unlocked, engine.LeaderChanged, engine.Committed, engine.Restored,
		engine.Verified, engine.Left:
	default:
		step.Posted = true
	}
	step.Effects = g.handedOn(s)
	g.performed = g.performed[:0]
	message, err := gate.AppendStep(g.message[:0], step)
	if err != nil {
		panic(fmt.Sprintf("a step cannot be told: %v", err))
	}
	tellWhole(message)
	g.message = message
}

// handedOn is the effects of a step as the ports were given them. What the driver
// has left out, or given another port, is a fault of its own.
func (g *guest) handedOn(s engine.Step) []engine.Effect {
	given := g.performed
	var all []engine.Effect
	for _, f := range s.Effects {
		if r, ok := f.(engine.Reply); ok {
			r.Request = g.requests.theirs[r.Request]
			all = append(all, r)
			continue
		}
		if len(given) == 0 || reflect.TypeOf(given[0]) != reflect.TypeOf(f) {
			panic(fmt.Sprintf("the driver has not carried out %T", f))
		}
		f, given = given[0], given[1:]
		if forward, ok := f.(engine.Forward); ok {
			forward.Request = g.requests.theirs[forward.Request]
			f = forward
		}
		all = append(all, f)
	}
	return all
}

func (g *guest) perform(f engine.Effect) { g.performed = append(g.performed, f) }

func (g *guest) publish(events []control.Event) { g.perform(engine.Publish{Events: events}) }

// The log is here.

// Bootstrap implements [real.Log].
func (g *guest) Bootstrap(f engine.Bootstrap) { g.perform(f) }

// ChangeVoter implements [real.Log].
func (g *guest) ChangeVoter(f engine.ChangeVoter) {
	g.perform(f)
	if log := g.membership.running(); log != nil {
		log.ChangeVoter(f.Change)
	}
}

// Propose implements [real.Log].
func (g *guest) Propose(e state.Entry) {
	g.perform(engine.Propose{Entry: e})
	if log := g.membership.running(); log != nil {
		log.Propose(e)
	}
}

// Verify implements [real.Log].
func (g *guest) Verify(id engine.VerifyID) {
	g.perform(engine.Verify{ID: id})
	if log := g.membership.running(); log != nil {
		log.Verify(id)
	}
}

// Leave implements [real.Log].
func (g *guest) Leave() {
	g.perform(engine.Leave{})
	g.membership.orders <- g.membership.leave
}

// The rest is the host's.

// PullImage implements [real.Runtime].
func (g *guest) PullImage(f engine.PullImage) { g.perform(f) }

// CreateContainer implements [real.Runtime].
func (g *guest) CreateContainer(f engine.CreateContainer) { g.perform(f) }

// StartContainer implements [real.Runtime].
func (g *guest) StartContainer(f engine.StartContainer) { g.perform(f) }

// ProbeContainer implements [real.Runtime].
func (g *guest) ProbeContainer(f engine.ProbeContainer) { g.perform(f) }

// StopContainer implements [real.Runtime].
func (g *guest) StopContainer(f engine.StopContainer) { g.perform(f) }

// RemoveContainer implements [real.Runtime].
func (g *guest) RemoveContainer(f engine.RemoveContainer) { g.perform(f) }

// Apply implements [real.Network].
func (g *guest) Apply(plan netplan.Plan) { g.perform(engine.ApplyNetwork{Plan: plan}) }

// CreateAuthority implements [real.Authority].
func (g *guest) CreateAuthority(cluster state.ClusterID) {
	g.perform(engine.CreateAuthority{Cluster: cluster})
}

// Send implements [real.Peers].
func (g *guest) Send(to state.NodeID, m wire.Message) { g.perform(engine.Send{To: to, Message: m}) }

// Forward implements [real.Peers].
func (g *guest) Forward(f engine.Forward) { g.perform(f) }

// Join implements [real.Peers].
func (g *guest) Join(f engine.Join) { g.perform(f) }

// ChangeRole implements [real.Peers].
func (g *guest) ChangeRole(f engine.ChangeRole) { g.perform(f) }

// Lock implements [real.Peers].
func (g *guest) Lock(f engine.Lock) { g.perform(f) }

// Unlock implements [real.Peers].
func (g *guest) Unlock(f engine.Unlock) { g.perform(f) }

// Renew implements [real.Peers].
func (g *guest) Renew() { g.perform(engine.Renew{}) }

// Trust implements [real.Peers].
func (g *guest) Trust(change members.RosterChange) { g.perform(engine.Trust{Change: change}) }

// MakeRoot implements [real.Authority].
func (g *guest) MakeRoot(f engine.MakeRoot) { g.perform(f) }

// Refound implements [real.Log].
func (g *guest) Refound(f engine.Refound) { g.perform(f) }

// Reach implements [real.Peers].
func (g *guest) Reach(managers []wire.Manager) { g.perform(engine.Reach{Managers: managers}) }
