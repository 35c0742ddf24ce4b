package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// joinPatience is how long a call waits for its node to be in session. It is
// Docker's.
const joinPatience = 20 * time.Second

// Docker's words about joining.
const (
	textJoining = `This node is joining a swarm already; wait for it to finish`
	textSlow    = `Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.`
)

// A joining is a swarm being joined by an API call.
type joining struct {
	request RequestID
	until   time.Time
	// answered says that the caller has been told of its patience's end; the node
	// goes on.
	answered bool
}

// join begins to make this node a member of another's swarm.
func (n *Node) join(now time.Time, request RequestID, call control.SwarmJoin, out *Step) {
	switch {
	case n.member():
		out.do(Reply{request, fail(control.Unavailable, textMember)})
	case n.founding != nil:
		out.do(Reply{request, fail(control.Unavailable, textFounding)})
	case n.joining != nil:
		out.do(Reply{request, fail(control.Unavailable, textJoining)})
	default:
		if failed, bad := control.CheckJoin(call); bad {
			out.do(Reply{request, failed})
			return
		}
		n.joining = &joining{request: request, until: now.Add(joinPatience)}
		out.do(Join{Remotes: call.RemoteAddrs, Token: call.JoinToken, Addr: call.AdvertiseAddr, DataPath: call.DataPathAddr, Availability: call.Availability})
	}
}

// joined takes in what came of a Join. The caller is answered once the node is in
// session with the leader.
func (n *Node) joined(now time.Time, e Joined, out *Step) {
	if e.Err != nil {
		if j := n.joining; j != nil && !j.answered {
			out.do(Reply{j.request, fail(control.Unavailable, e.Err.Error())})
		}
		n.joining = nil
		return
	}
	n.identity = e.Identity
	n.reach(e.Managers, out)
	n.worker.agent.Identify(n.identity.Node)
	n.worker.seek(n, now)
}

// settled answers the call that asked to join, now that the node is in session.
func (n *Node) settled(out *Step) {
	if j := n.joining; j != nil {
		if !j.answered {
			out.do(Reply{j.request, control.Done{}})
		}
		n.joining = nil
	}
}

// impatient tells the caller of a join that it takes long.
func (n *Node) impatient(now time.Time, out *Step) {
	if j := n.joining; j != nil && !j.answered && !now.Before(j.until) {
		j.answered = true
		out.do(Reply{j.request, fail(control.Unavailable, textSlow)})
	}
}

// reach keeps in mind which managers there are.
func (n *Node) reach(managers []wire.Manager, out *Step) {
	if len(managers) > 0 && !slices.Equal(n.managers, managers) {
		n.managers = managers
		out.do(Reach{managers})
	}
}

// find takes in where a manager is reached by now.
func (n *Node) find(m wire.Manager, out *Step) {
	if m.Addr == "" || n.identity.Manager {
		return // a manager has the others' addresses in its store
	}
	managers := slices.DeleteFunc(slices.Clone(n.managers), func(old wire.Manager) bool { return old.ID == m.ID })
	managers = append(managers, m)
	slices.SortFunc(managers, func(a, b wire.Manager) int { return strings.Compare(string(a.ID), string(b.ID)) })
	n.reach(managers, out)
}

// addrOf is where a manager is reached, "" if this node does not know.
func (n *Node) addrOf(id state.NodeID) string {
	if node := n.store.Draft().Node(id); node != nil {
		return node.ManagerAddr
	}
	return ""
}

// knows reports whether a node is one of the managers that are known.
func (n *Node) knows(id state.NodeID) bool {
	return slices.ContainsFunc(n.managers, func(m wire.Manager) bool { return m.ID == id })
}

// wanders reports whether the node has to ask for the leader: its log does not
// tell it. So it is with workers, with a manager that has no log yet, and with one
// that is no part of the log's configuration any more.
func (n *Node) wanders() bool {
	return n.member() && (!n.identity.Manager || n.known == "" || n.guessed)
}

// play takes on the role that the leader wants this node to have.
func (n *Node) play(manager bool, out *Step) {
	if manager == n.identity.Manager || n.changing || n.leaving != nil {
		return
	}
	n.changing = true
	out.do(ChangeRole{manager})
}

// roleChanged takes in what came of a ChangeRole. One that failed is asked for again
// by the first assignment of another session, which the node's next beat begins: in
// this one there may be no other.
func (n *Node) roleChanged(now time.Time, e RoleChanged, out *Step) {
	n.changing, n.unplayed = false, e.Err != nil
	if e.Err != nil || !n.member() {
		return
	}
	n.identity = e.Identity
	if !n.identity.Manager {
		n.deposed(now, out)
		n.store = state.NewStore()
		n.forgetTrust(out)
	}
	if n.known == "" {
		n.worker.seek(n, now)
		return
	}
	n.worker.follow(n, now)
}

// voterChanged takes in what came of a change of the log's configuration.
func (l *leader) voterChanged(e VoterChanged, now time.Time) {
	if l != nil {
		l.council.Changed(e.Member, e.Err != nil, now)
	}
}

// convene asks for the change of the log's configuration that is called for now.
func (l *leader) convene(n *Node, now time.Time, out *Step) {
	if l == nil || l.inFlight != nil {
		return
	}
	if change, any := l.council.Next(n.store.Draft(), now); any {
		out.do(ChangeVoter{change})
	}
}
