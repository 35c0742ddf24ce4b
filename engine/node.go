package engine

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A Node is one member of the swarm, or one that may become a member. Its zero
// value waits for [Started].
type Node struct {
	identity    Identity
	description swarm.NodeDescription
	mint        *entropy.Source
	offset      time.Duration // wall time less monotonic time
	mesh        bool          // the node's network can carry the mesh

	store    *state.Store
	known    state.NodeID   // the leader as far as known, "" when not
	guessed  bool           // known is what others say, or less; the log does not tell
	managers []wire.Manager // those that a worker may ask for the leader
	leader   *leader        // nil unless this node leads
	worker   worker

	lock     lock
	renewal  membership.Renewal
	founding *founding  // a swarm that is being made here
	joining  *joining   // a swarm that is being joined from here
	changing bool       // a change of role is under way
	unplayed bool       // one has come to nothing: the next beat asks for it again
	banished bool       // the swarm has removed this node, which leaves
	leaving  *RequestID // the call that asked to leave
	waiting  []waitingCall

	forwardings []forwarding
}

// A Step is what a node wants after one event.
type Step struct {
	Effects []Effect
	Wake    time.Time // zero: nothing is due until an event comes
}

func (s *Step) do(e ...Effect) { s.Effects = append(s.Effects, e...) }

// Step advances the node by one event. It must not be called concurrently, and
// now must not go back.
func (n *Node) Step(now time.Time, event Event) Step {
	var out Step
	switch e := event.(type) {
	case Started:
		n.start(now, e)
	case Woken: // being awake is the point: what is due is done below
	case ClockAdjusted:
		if n.leader != nil && mutant.On(mutant.HeartbeatOnWall) {
			n.leader.dispatcher.Leap(e.Offset - n.offset)
		}
		n.adjusted(now, e)
	case Called:
		n.called(now, e, &out)
	case ForwardReturned:
		n.forwardReturned(now, e, &out)
	case Joined:
		n.joined(now, e, &out)
	case Unlocked:
		n.unlocked(now, e, &out)
	case RoleChanged:
		n.roleChanged(now, e, &out)
	case VoterChanged:
		n.leader.voterChanged(e, now)
	case RootMade:
		n.leader.rootMade(e, &out)
	case Certified:
		n.certified(now, e)
	case Renewed:
		n.renewal.End(e.Err != nil, now)
	case Refounded:
		n.refounded(e, &out)
	case AuthorityCreated:
		n.foundWith(e, &out)
	case Elected:
		n.elected(now, e, &out)
	case Deposed:
		n.deposed(now, &out)
	case LeaderChanged:
		n.leaderChanged(now, e, &out)
	case Committed:
		n.committed(now, e, &out)
	case Restored:
		n.restored(e, &out)
	case Verified:
		n.leader.verified(e, &out)
	case Left:
		n.left(now, &out)
	case Received:
		n.received(now, e, &out)
	case ContainersFound:
		n.worker.agent.Found(e.Containers, now)
	case ImagePulled:
		n.worker.agent.Pulled(e.Task, e.Err, now)
	case ContainerCreated:
		n.worker.agent.Created(e.Task, e.Health, e.Err, now)
	case ContainerStarted:
		n.worker.agent.Started(e.Task, e.PID, e.Err, now)
	case ContainerProbed:
		n.worker.agent.Probed(e.Task, e.Healthy, e.Output, now)
	case ContainerExited:
		n.worker.agent.Exited(e.Task, e.Code, e.OOM, e.Err, now)
	case ContainerRemoved:
		n.worker.agent.Removed(e.Task, e.Err, now)
	case NetworkApplied:
		n.worker.agent.Networked(e.Generation, e.Failed, e.Err, now)
	default:
		invariant.Violated("unknown event %T", event)
	}
	n.settle(now, &out)
	out.Wake = n.wake(now)
	return out
}

// Freeze returns the replicated state as it is now, to be written out beside the
// loop that goes on changing it.
func (n *Node) Freeze() *state.Snapshot { return n.store.Freeze() }

// Store is the replicated state, for observers: it must not be changed, nor kept
// across a Step.
func (n *Node) Store() *state.Store { return n.store }

// settle lets the two halves of the node work until neither has anything for
// the other: what the worker tells a leader that is this very node, and the
// reverse, does not go through the driver.
func (n *Node) settle(now time.Time, out *Step) {
	const rounds = 16 // each hands over all there is; two suffice but for retries
	n.expire(now, out)
	n.giveUp(now, out)
	n.impatient(now, out)
	n.renew(now, out)
	for range rounds {
		n.worker.tick(n, now, out)
		n.leader.decide(n, now, out)
		n.leader.convene(n, now, out)
		if !n.exchange(now, out) {
			return
		}
	}
}

// wake is the earliest time at which something is due.
func (n *Node) wake(now time.Time) time.Time {
	at := n.worker.wake()
	at = earlier(at, n.leader.wake())
	for _, w := range n.waiting {
		at = earlier(at, w.until)
	}
	for _, f := range n.forwardings {
		at = earlier(at, f.until)
	}
	if j := n.joining; j != nil && !j.answered {
		at = earlier(at, j.until)
	}
	if n.renewable() {
		at = earlier(at, n.renewal.Wake())
	}
	if !at.IsZero() && at.Before(now) {
		return now
	}
	return at
}

// wall is the time of day at now.
func (n *Node) wall(now time.Time) state.Wall { return state.Wall(now.Add(n.offset).UnixNano()) }

// member reports whether the node belongs to a swarm.
func (n *Node) member() bool { return n.identity.Node != "" }

func (n *Node) start(now time.Time, e Started) {
	n.identity = e.Identity
	n.description = e.Description
	n.offset = e.Offset
	n.mesh = e.Mesh
	n.mint = entropy.New(e.Seed)
	n.store = state.NewStore()
	n.managers = e.Managers
	n.lock.locked = e.Locked
	n.worker.begin(n, now)
	if n.identity.Manager { // its log will tell who leads, if it has one
		n.worker.follow(n, now)
	} else {
		n.worker.seek(n, now)
	}
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	switch {
	case a.IsZero():
		return b
	case b.IsZero(), a.Before(b):
		return a
	default:
		return b
	}
}

func fail(kind control.Kind, message string) control.Answer {
	return control.Failed{Kind: kind, Message: message}
}
