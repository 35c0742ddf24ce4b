// Package real runs one engine on real clocks, sockets and containers.
//
// A [Driver] owns an [engine.Node]: one goroutine feeds it events in the order
// they are posted and carries out the effects of each step by handing them to
// the ports (log, runtime, network, authority), which do their work elsewhere
// and post what came of it. The ports are in the packages below this one; none
// of them knows another, and cmd/swarmd puts them together.
package real

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Log replicates proposals. No method blocks; each posts its answer.
type Log interface {
	Bootstrap(engine.Bootstrap)
	ChangeVoter(engine.ChangeVoter)
	Propose(state.Entry)
	Verify(engine.VerifyID)
	Refound(engine.Refound)
	Leave()
}

// Runtime runs containers. No method blocks; each posts its answer.
type Runtime interface {
	PullImage(engine.PullImage)
	CreateContainer(engine.CreateContainer)
	StartContainer(engine.StartContainer)
	ProbeContainer(engine.ProbeContainer)
	StopContainer(engine.StopContainer)
	RemoveContainer(engine.RemoveContainer)
}

// Network makes the kernel match a plan. Apply does not block; it posts its answer.
type Network interface{ Apply(netplan.Plan) }

// Authority makes root certificates. No method blocks; each posts its answer.
type Authority interface {
	CreateAuthority(state.ClusterID)
	MakeRoot(engine.MakeRoot)
}

// Peers carry messages to other nodes. Send does not block and may lose. Forward
// does not block; it posts its answer.
type Peers interface {
	Send(to state.NodeID, m wire.Message)
	Forward(engine.Forward)
	// Join and ChangeRole post their answers, when what they make is on disk; Unlock
	// when what is on disk can be read.
	Join(engine.Join)
	ChangeRole(engine.ChangeRole)
	Unlock(engine.Unlock)
	// Lock is done in the order in which it is asked for.
	Lock(engine.Lock)
	// Renew posts its answer.
	Renew()
	// Trust has come into force when it returns: what comes over a connection after
	// that is judged by it.
	Trust(membership.RosterChange)
	// Reach says which managers to keep in touch with, and to remember.
	Reach([]wire.Manager)
}

// Ports are what a driver needs of the world.
type Ports struct {
	Log       Log
	Runtime   Runtime
	Network   Network
	Authority Authority
	Peers     Peers
	// Publish takes swarm events, in order. It must not block.
	Publish func([]control.Event)
	// Clock returns the time of day, with its monotonic reading; nil is time.Now.
	Clock  func() time.Time
	Logger *slog.Logger
	// Observe, if set, sees every step after its effects have been handed on.
	Observe func(now time.Time, e engine.Event, s engine.Step)
}

// Limits of a driver.
const (
	eventQueueMax    = 4096        // events posted and not yet stepped; posting blocks beyond it
	clockTolerance   = time.Second // how far the wall clock may wander before the engine is told
	clockCheckPeriod = 10 * time.Second
)

// A Driver owns a node.
type Driver struct {
	ports Ports
	node  engine.Node
	queue chan item
	done  chan struct{}

	origin time.Time     // the start by the clock, with its monotonic reading
	offset time.Duration // last told to the engine

	mu      sync.Mutex
	nextID  engine.RequestID
	pending map[engine.RequestID]chan control.Answer
}

// An item is what waits for the driver's goroutine: an event to be stepped, or a
// function that wants to see the node as it is when its turn has come.
type item struct {
	event engine.Event
	ask   func(*engine.Node)
}

// ErrStopped says that the driver has stopped.
var ErrStopped = errors.New("the engine has stopped")

// New returns a driver that does nothing until [Driver.Run]. Ports may be given
// later, with [Driver.Connect], as they need the driver to post to.
func New() *Driver {
	return &Driver{
		queue:   make(chan item, eventQueueMax),
		done:    make(chan struct{}),
		pending: make(map[engine.RequestID]chan control.Answer),
	}
}

// Connect gives the driver its ports. It is called once, before Run.
func (d *Driver) Connect(p Ports) {
	if p.Clock == nil {
		p.Clock = time.Now
	}
	if p.Logger == nil {
		p.Logger = slog.New(slog.DiscardHandler)
	}
	d.ports = p
	d.origin = p.Clock()
}

// Post queues an event. It blocks while the queue is full, and drops the event
// once the driver has stopped.
func (d *Driver) Post(e engine.Event) {
	select {
	case d.queue <- item{event: e}:
	case <-d.done:
	}
}

// Ask runs f on the driver's goroutine when everything posted before has been
// stepped, and nothing after, and returns when it has run. f must not block and
// must not keep the node.
func (d *Driver) Ask(f func(*engine.Node)) error {
	ran := make(chan struct{})
	select {
	case d.queue <- item{ask: func(n *engine.Node) { f(n); close(ran) }}:
	case <-d.done:
		return ErrStopped
	}
	select {
	case <-ran:
		return nil
	case <-d.done:
		return ErrStopped
	}
}

// Call makes an API call and waits for its answer.
func (d *Driver) Call(ctx context.Context, call control.Call) (control.Answer, error) {
	return d.call(ctx, engine.Called{Call: call})
}

// CallForwarded makes a call that another manager has passed on: it is answered
// here, or not at all.
func (d *Driver) CallForwarded(ctx context.Context, call control.Call) (control.Answer, error) {
	return d.call(ctx, engine.Called{Call: call, Forwarded: true})
}

func (d *Driver) call(ctx context.Context, called engine.Called) (control.Answer, error) {
	answer := make(chan control.Answer, 1)
	d.mu.Lock()
	d.nextID++
	id := d.nextID
	d.pending[id] = answer
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.pending, id)
		d.mu.Unlock()
	}()
	called.Request = id
	d.Post(called)
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the call was given up, its outcome is not known: %w", ctx.Err())
	case <-d.done:
		return nil, ErrStopped
	}
}

// Run steps the node until ctx ends. started is the node's first event.
func (d *Driver) Run(ctx context.Context, started engine.Started) {
	defer close(d.done)
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	clock := time.NewTicker(clockCheckPeriod)
	defer clock.Stop()
	d.offset = started.Offset
	due := d.step(started)
	for {
		d.rearm(wake, due)
		select {
		case <-ctx.Done():
			return
		case i := <-d.queue:
			if i.ask != nil {
				i.ask(&d.node)
				continue
			}
			due = d.step(i.event)
		case <-wake.C:
			due = d.step(engine.Woken{})
		case <-clock.C:
			if offset := d.wallOffset(); offset-d.offset >= clockTolerance || d.offset-offset >= clockTolerance {
				d.offset = offset
				due = d.step(engine.ClockAdjusted{Offset: offset})
			}
		}
	}
}

// now is monotonic time: the start plus what has passed since by the clock that
// nobody sets.
func (d *Driver) now() time.Time {
	return d.origin.Round(0).Add(d.ports.Clock().Sub(d.origin))
}

// wallOffset is how far the time of day has moved away from now.
func (d *Driver) wallOffset() time.Duration {
	t := d.ports.Clock()
	return t.Round(0).Sub(d.origin.Round(0).Add(t.Sub(d.origin)))
}

func (d *Driver) rearm(timer *time.Timer, due time.Time) {
	if due.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, due.Sub(d.now())))
}

func (d *Driver) step(e engine.Event) time.Time {
	now := d.now()
	s := d.node.Step(now, e)
	for _, f := range s.Effects {
		d.perform(f)
	}
	if d.ports.Observe != nil {
		d.ports.Observe(now, e, s)
	}
	return s.Wake
}

// perform hands an effect to the port that carries it out.
func (d *Driver) perform(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.Reply:
		d.reply(f)
	case engine.Forward:
		d.ports.Peers.Forward(f)
	case engine.Publish:
		d.ports.Publish(f.Events)
	case engine.CreateAuthority:
		d.ports.Authority.CreateAuthority(f.Cluster)
	case engine.MakeRoot:
		d.ports.Authority.MakeRoot(f)
	case engine.Renew:
		d.ports.Peers.Renew()
	case engine.Trust:
		d.ports.Peers.Trust(f.Change)
	case engine.Refound:
		d.ports.Log.Refound(f)
	case engine.Bootstrap:
		d.ports.Log.Bootstrap(f)
	case engine.ChangeVoter:
		d.ports.Log.ChangeVoter(f)
	case engine.Join:
		d.ports.Peers.Join(f)
	case engine.ChangeRole:
		d.ports.Peers.ChangeRole(f)
	case engine.Lock:
		d.ports.Peers.Lock(f)
	case engine.Unlock:
		d.ports.Peers.Unlock(f)
	case engine.Reach:
		d.ports.Peers.Reach(f.Managers)
	case engine.Leave:
		d.ports.Log.Leave()
	case engine.Propose:
		d.ports.Log.Propose(f.Entry)
	case engine.Verify:
		d.ports.Log.Verify(f.ID)
	case engine.Send:
		d.ports.Peers.Send(f.To, f.Message)
	case engine.PullImage:
		d.ports.Runtime.PullImage(f)
	case engine.CreateContainer:
		d.ports.Runtime.CreateContainer(f)
	case engine.StartContainer:
		d.ports.Runtime.StartContainer(f)
	case engine.ProbeContainer:
		d.ports.Runtime.ProbeContainer(f)
	case engine.StopContainer:
		d.ports.Runtime.StopContainer(f)
	case engine.RemoveContainer:
		d.ports.Runtime.RemoveContainer(f)
	case engine.ApplyNetwork:
		d.ports.Network.Apply(f.Plan)
	default:
		invariant.Violated("the driver does not know how to carry out %T", effect)
	}
}

func (d *Driver) reply(r engine.Reply) {
	d.mu.Lock()
	answer := d.pending[r.Request]
	delete(d.pending, r.Request)
	d.mu.Unlock()
	if answer != nil {
		answer <- r.Answer
	}
}
