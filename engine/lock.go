package engine

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// Docker's words about managers that are locked.
const (
	textLocked      = `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`
	textLockedLeave = "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message."
	textNotLocked   = "swarm is not locked"
	textWrongKey    = "swarm could not be unlocked: invalid key provided"
	textUnlocking   = "This node is being unlocked already; wait for it to finish"
)

// A lock is what a node knows of the key that its disk is encrypted with.
type lock struct {
	locked    bool       // nothing on disk can be read yet
	unlocking *RequestID // the call whose key is being tried
	version   uint64     // of the unlock key that the driver was told
}

// lockedInfo is what a locked node says of itself.
func (n *Node) lockedInfo() control.NodeInfo {
	return control.NodeInfo{State: swarm.LocalNodeStateLocked, NodeAddr: host(n.identity.Addr), Error: textLocked}
}

// refuseLocked answers a call that a locked node cannot make; it reports whether
// that is so.
func (n *Node) refuseLocked(e Called, out *Step) bool {
	if !n.lock.locked {
		return false
	}
	switch c := e.Call.(type) {
	case control.Info, control.SwarmUnlock, control.SwarmInit, control.SwarmJoin:
		return false
	case control.SwarmLeave:
		if !c.Force {
			out.do(Reply{e.Request, fail(control.Unavailable, textLockedLeave)})
		}
		return !c.Force
	default:
		out.do(Reply{e.Request, fail(control.Unavailable, textLocked)})
		return true
	}
}

// unlock begins to try a key.
func (n *Node) unlock(request RequestID, call control.SwarmUnlock, out *Step) {
	key, failed := control.ParseUnlockKey(call.Key)
	switch {
	case !n.member():
		out.do(Reply{request, fail(control.Unavailable, textNotMember)})
	case !n.lock.locked:
		out.do(Reply{request, fail(control.Conflict, textNotLocked)})
	case failed != nil:
		out.do(Reply{request, *failed})
	case n.lock.unlocking != nil:
		out.do(Reply{request, fail(control.Unavailable, textUnlocking)})
	default:
		n.lock.unlocking = &request
		out.do(Unlock{key})
	}
}

// unlocked takes in what came of a key.
func (n *Node) unlocked(now time.Time, e Unlocked, out *Step) {
	request := n.lock.unlocking
	n.lock.unlocking = nil
	if e.Err == nil && n.lock.locked {
		n.lock.locked = false
		n.reach(e.Managers, out)
		n.worker.follow(n, now)
	}
	switch {
	case request == nil: // the node has left meanwhile
	case e.Err != nil:
		out.do(Reply{*request, fail(control.Unauthorized, textWrongKey)})
	default:
		out.do(Reply{*request, control.Done{}})
	}
}

// seal has the node's disk encrypted with the key that the swarm has by now.
func (n *Node) seal(c *state.Cluster, out *Step) {
	if c != nil && c.UnlockVersion != n.lock.version {
		n.lock.version = c.UnlockVersion
		out.do(Lock{Key: c.UnlockKey, Version: c.UnlockVersion})
	}
}
