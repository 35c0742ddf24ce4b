package engine

import (
	"fmt"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// Docker's words for a node that cannot serve a call.
const (
	textNotMember   = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	textWorker      = `This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.`
	textMember      = `This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`
	textNoSwarm     = `This node is not part of a swarm`
	textNoLeader    = `rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.`
	textUnknown     = `rpc error: code = Unknown desc = raft: failed to process the request: node lost leader status; the change may or may not take effect: look before you repeat it`
	textBusy        = `rpc error: code = Unavailable desc = too many calls are waiting for a leader; try again`
	textCrowded     = `rpc error: code = Unavailable desc = too many calls are waiting for this manager; try again`
	textLastLeave   = "You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. "
	textQuorumLeave = "You are attempting to leave the swarm on a node that is participating as a manager. Removing this node leaves %d managers out of %d. Without a Raft quorum your swarm will be inaccessible. The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message. "
	textBetween     = `This node is changing its role, or leaving the swarm; wait for it to finish`
	textFounding    = `This node is being made the first manager of a swarm; wait for it to finish`
)

// Limits of what waits on a manager.
const (
	waitingCallsMax     = 1024            // calls that wait for a leader
	waitingCallPatience = 5 * time.Second // how long each waits before it is refused
)

// A waitingCall waits for a leader to be known.
type waitingCall struct {
	call  Called
	until time.Time
}

// A founding is a swarm being made on this node by an API call.
type founding struct {
	request   RequestID
	call      control.SwarmInit
	node      state.NodeID
	cluster   state.ClusterID
	authority AuthorityCreated
	again     bool // the swarm that there is, with this node for its only manager
	recovered bool // the log of such a one is ready
}

// ready reports whether the swarm's first objects are to be written.
func (f *founding) ready() bool { return f != nil && (!f.again || f.recovered) }

// called takes in an API call. What concerns this node alone is answered at
// once; the rest is the leader's.
func (n *Node) called(now time.Time, e Called, out *Step) {
	if n.refuseLocked(e, out) {
		return
	}
	switch c := e.Call.(type) {
	case control.Info:
		out.do(Reply{e.Request, n.info()})
		return
	case control.SwarmInit:
		n.found(e.Request, c, out)
		return
	case control.SwarmJoin:
		n.join(now, e.Request, c, out)
		return
	case control.SwarmLeave:
		n.leave(e.Request, c, out)
		return
	case control.SwarmUnlock:
		n.unlock(e.Request, c, out)
		return
	default:
	}
	switch {
	case !n.member():
		out.do(Reply{e.Request, fail(control.Unavailable, textNotMember)})
	case !n.identity.Manager:
		out.do(Reply{e.Request, fail(control.Unavailable, textWorker)})
	case n.leader != nil:
		n.leader.called(n, e, out)
	case n.follows() && e.Forwarded:
		out.do(Reply{e.Request, fail(control.Unavailable, textNotLeader)})
	case n.follows():
		n.pass(e, out)
	default: // a leader is about to be elected
		n.await(now, e, out)
	}
}

// follows reports whether another manager is known to lead. One that was only
// guessed is known to once this node is in session with it.
func (n *Node) follows() bool {
	return n.known != "" && n.known != n.identity.Node && (!n.guessed || n.worker.sequence > 0)
}

// expire refuses the calls that have waited long enough for a leader.
func (n *Node) expire(now time.Time, out *Step) {
	for len(n.waiting) > 0 && !now.Before(n.waiting[0].until) {
		out.do(Reply{n.waiting[0].call.Request, fail(control.Internal, textNoLeader)})
		n.waiting = n.waiting[1:]
	}
}

// info answers what this node knows of itself, without asking anybody.
func (n *Node) info() control.Answer {
	info := control.NodeInfo{State: swarm.LocalNodeStateInactive}
	if n.lock.locked {
		return n.lockedInfo()
	}
	switch {
	case n.founding != nil, n.joining != nil:
		info.State = swarm.LocalNodeStatePending
	case n.member():
		info.State = swarm.LocalNodeStateActive
	}
	if !n.member() {
		return info
	}
	info.NodeID = string(n.identity.Node)
	info.NodeAddr = host(n.identity.Addr)
	info.Manager = n.identity.Manager
	for _, m := range n.managers {
		info.Managers = append(info.Managers, swarm.Peer{NodeID: string(m.ID), Addr: m.Addr})
	}
	d := n.store.Draft()
	if !info.Manager || d.Cluster() == nil {
		return info
	}
	info.Managers = nil
	info.Cluster = d.Cluster()
	info.NodeCount = d.NodeCount()
	for node := range d.Nodes() {
		if node.Manager {
			info.ManagerCount++
			info.Managers = append(info.Managers, swarm.Peer{NodeID: string(node.ID), Addr: node.ManagerAddr})
		}
	}
	return info
}

// found begins a swarm: first its certificate authority, then its log, then its
// first objects; the call is answered when those have committed.
func (n *Node) found(request RequestID, call control.SwarmInit, out *Step) {
	refuse := func(text string) { out.do(Reply{request, fail(control.Unavailable, text)}) }
	switch {
	case n.member() && !call.ForceNewCluster:
		refuse(textMember)
		return
	case n.lock.locked:
		refuse(textLocked)
		return
	case n.member() && !n.identity.Manager:
		refuse(textWorker)
		return
	case n.leaving != nil, n.changing:
		refuse(textBetween)
		return
	case n.joining != nil:
		refuse(textJoining)
		return
	case n.founding != nil:
		refuse(textFounding)
		return
	}
	if failed, bad := control.CheckInit(call); bad {
		out.do(Reply{request, failed})
		return
	}
	if n.member() {
		n.founding = &founding{request: request, call: call, node: n.identity.Node, cluster: n.identity.Cluster, again: true}
		out.do(Refound{Addr: call.AdvertiseAddr})
		return
	}
	n.founding = &founding{
		request: request,
		call:    call,
		node:    state.NodeID(n.mint.ID()),
		cluster: state.ClusterID(n.mint.ID()),
	}
	out.do(CreateAuthority{n.founding.cluster})
}

// refounded takes in that the log has this node for its only voter. What is in it
// comes anew.
func (n *Node) refounded(e Refounded, out *Step) {
	f := n.founding
	if f == nil || !f.again {
		return
	}
	if e.Err != nil {
		n.founding = nil
		out.do(Reply{f.request, fail(control.Internal, "the log could not be made one of this node alone: "+e.Err.Error())})
		return
	}
	f.recovered = true
	n.identity = e.Identity
	n.store = state.NewStore()
	n.managers = nil
	n.forgetTrust(out)
}

func (n *Node) foundWith(e AuthorityCreated, out *Step) {
	f := n.founding
	if f == nil || f.cluster != e.Cluster {
		return
	}
	if e.Err != nil {
		n.founding = nil
		out.do(Reply{f.request, fail(control.Internal, "the swarm's root certificate could not be made: "+e.Err.Error())})
		return
	}
	f.authority = e
	n.identity = Identity{Node: f.node, Cluster: f.cluster, Addr: f.call.AdvertiseAddr, DataPath: f.call.DataPathAddr, Manager: true}
	out.do(Bootstrap{n.identity, e.Cert, e.Key, e.NodeKey})
}

// textLeave warns, in Docker's words, of what it means that a manager leaves.
func (n *Node) textLeave() string {
	managers := 0
	for node := range n.store.Draft().Nodes() {
		if node.Manager {
			managers++
		}
	}
	if managers < 2 {
		return textLastLeave
	}
	return fmt.Sprintf(textQuorumLeave, managers-1, managers)
}

// leave takes the node out of the swarm. What it runs is stopped and removed.
func (n *Node) leave(request RequestID, call control.SwarmLeave, out *Step) {
	switch {
	case !n.member(), n.founding != nil:
		out.do(Reply{request, fail(control.Unavailable, textNoSwarm)})
	case n.leaving != nil:
		out.do(Reply{request, fail(control.Unavailable, "This node is leaving the swarm already")})
	case !call.Force && n.identity.Manager:
		out.do(Reply{request, fail(control.Unavailable, n.textLeave())})
	default:
		n.leaving = &request
		n.worker.quit(n, out)
		out.do(Leave{})
	}
}

func (n *Node) left(now time.Time, out *Step) {
	n.deposed(now, out)
	for _, w := range n.waiting {
		out.do(Reply{w.call.Request, fail(control.Unavailable, textNotMember)})
	}
	n.waiting = nil
	n.lock, n.renewal = lock{}, membership.Renewal{}
	n.forgetTrust(out)
	n.identity, n.managers, n.joining, n.changing, n.banished = Identity{}, nil, nil, false, false
	n.store = state.NewStore()
	n.known = ""
	n.worker.dismiss(now)
	if n.leaving != nil {
		out.do(Reply{*n.leaving, control.Done{}})
		n.leaving = nil
	}
}

// elected makes the node lead. A log without a swarm in it is one whose
// founding died before it was acknowledged: nobody was promised it.
func (n *Node) elected(now time.Time, e Elected, out *Step) {
	if n.store.Draft().Cluster() == nil && !n.founding.ready() {
		out.do(Leave{})
		return
	}
	n.leader = lead(n, e.Term, membership.New(e.Voters), now)
	n.known, n.guessed = n.identity.Node, false
	n.worker.follow(n, now)
	for _, w := range n.waiting {
		n.leader.called(n, w.call, out)
	}
	n.waiting = nil
	n.passAgain(now, out)
}

func (n *Node) deposed(now time.Time, out *Step) {
	if n.leader != nil && n.leader.inFlight != nil && mutant.On(mutant.UnknownRetried) {
		for _, c := range n.leader.inFlight.calls {
			n.waiting = append(n.waiting, waitingCall{c, now.Add(waitingCallPatience)})
		}
		n.leader.inFlight.replies = nil
	}
	n.leader.abdicate(out)
	n.leader = nil
	n.known = ""
	n.worker.follow(n, now)
	if f := n.founding; f.ready() { // one whose log is not ready yet was not what led
		out.do(Reply{f.request, fail(control.Internal, textUnknown)})
		n.founding = nil
	}
}

// leaderChanged has the worker report to the leader, and passes on the calls that
// waited for one.
func (n *Node) leaderChanged(now time.Time, e LeaderChanged, out *Step) {
	n.known, n.guessed = e.Leader, false
	n.worker.follow(n, now)
	if !n.follows() {
		return
	}
	n.passAgain(now, out)
	waiting := n.waiting
	n.waiting = nil
	for _, w := range waiting {
		if w.call.Forwarded {
			out.do(Reply{w.call.Request, fail(control.Unavailable, textNotLeader)})
			continue
		}
		n.pass(w.call, out)
	}
}

// committed applies an entry. An entry decided on another state than the one it
// meets does nothing, on every manager alike; the leader that proposed it decides
// anew.
func (n *Node) committed(now time.Time, e Committed, out *Step) {
	stale := e.Entry.Base != n.store.Index() && !mutant.On(mutant.BaseIgnored)
	if stale {
		e.Entry.Changes = nil
	}
	delta := n.store.Apply(e.Index, e.Entry.Changes)
	n.worker.term = max(n.worker.term, e.Entry.Proposal.Term)
	n.trust(&delta, e.Index, out)
	for _, c := range delta.Clusters {
		n.seal(c.After, out)
	}
	if events := control.Events(&delta, e.Index, n.wall(now)); len(events) > 0 {
		out.do(Publish{events})
	}
	switch {
	case !n.leader.proposed(e.Entry.Proposal):
	case stale:
		n.leader = n.leader.renewed(n, now)
		n.worker.follow(n, now)
	default:
		n.leader.settle(n, now, out)
	}
}

// restored takes in a snapshot.
func (n *Node) restored(e Restored, out *Step) {
	n.store = e.Store
	out.do(Trust{membership.RosterOf(n.store.Draft())})
	n.seal(n.store.Draft().Cluster(), out)
}

// host is the address without its port.
func host(addr string) string {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			h := addr[:i]
			if len(h) > 1 && h[0] == '[' && h[len(h)-1] == ']' {
				h = h[1 : len(h)-1]
			}
			return h
		}
	}
	return addr
}
