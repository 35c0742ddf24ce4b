package dispatcher

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Apply writes to d what nodes have said since, and which have fallen silent. It
// stops when d is full; the rest is [Dispatcher.Pending].
func (p *Dispatcher) Apply(d *state.Draft, now time.Time, wall state.Wall) {
	p.clock.advance(now, p.stall())
	for len(p.hellos) > 0 && !d.Full() {
		p.greet(d, p.hellos[0], wall)
		p.hellos = p.hellos[1:]
	}
	taken := 0
	for taken < len(p.statuses) && !d.Full() {
		apply(d, p.statuses[taken], wall)
		taken++
	}
	if p.statuses = p.statuses[taken:]; len(p.statuses) == 0 {
		p.statuses = nil
	}
	for _, id := range p.expire() { // few, and each is one change: no limit is worth a late Down
		p.lose(d, id, wall, downMessage)
	}
	for _, id := range p.quitters {
		if p.nodes[id] != nil {
			p.lose(d, id, wall, quitMessage)
		}
	}
	p.quitters = nil
	p.expireWaves()
}

// dataPath is where traffic for a node's containers goes, "" if to its address.
func dataPath(hello *wire.Hello) string {
	if hello.DataPath == hello.Addr {
		return ""
	}
	return hello.DataPath
}

// greet makes a node that said Hello Ready, and what it says of itself known.
func (p *Dispatcher) greet(d *state.Draft, id state.NodeID, wall state.Wall) {
	n, old := p.nodes[id], d.Node(id)
	if n == nil || n.hello == nil {
		return
	}
	hello := n.hello
	n.hello = nil
	if old == nil || old.State == state.NodeReady && old.Addr == hello.Addr && old.ManagerAddr == hello.ManagerAddr && old.DataPath == dataPath(hello) && old.Certificate == hello.Certificate && same(old.Description, hello.Description) {
		return
	}
	put := *old
	put.Addr, put.ManagerAddr, put.Description = hello.Addr, hello.ManagerAddr, hello.Description
	put.Certificate, put.DataPath = hello.Certificate, dataPath(hello)
	if put.State != state.NodeReady && !mutant.On(mutant.ReturnUnnoticed) {
		put.State, put.Since, put.Message = state.NodeReady, wall, ""
	}
	put.Updated = wall
	d.PutNode(&put)
}

// lose takes a silent node for dead. What it says from now on is answered with
// Bye: it must say Hello to be Ready.
func (p *Dispatcher) lose(d *state.Draft, id state.NodeID, wall state.Wall, why string) {
	n, old := p.nodes[id], d.Node(id)
	n.session, n.tasks, n.full = 0, nil, false
	p.roll.add(id)
	p.unwait(id)
	if old == nil || old.State == state.NodeDown {
		return
	}
	put := *old
	put.State, put.Since, put.Message, put.Updated = state.NodeDown, wall, why, wall
	d.PutNode(&put)
}

// apply writes a status, if it is its node's to report and is news.
func apply(d *state.Draft, r report, wall state.Wall) {
	t := d.Task(r.status.Task)
	if t == nil || t.Node != r.from {
		return
	}
	status := bounded(r.status.Status)
	if !forward(t.Status, status) && (status.State == t.Status.State || !mutant.On(mutant.StatusInAnyOrder)) {
		return
	}
	put := *t
	put.Status, put.Updated = status, wall
	if status.State == state.TaskRunning && put.Ran == 0 {
		put.Ran = wall
	}
	d.PutTask(&put)
}

// forward reports whether an agent may replace the status from by to: a step
// ahead, or more about a step that has not ended.
func forward(from, to state.TaskStatus) bool {
	if !known(to.State) {
		return false
	}
	if from.State == to.State {
		from.At, to.At = 0, 0
		return !from.State.Terminal() && !reflect.DeepEqual(from, to)
	}
	owner, ok := state.Transition(from.State, to.State)
	return ok && owner == state.OwnerAgent
}

// known reports whether a state is one that agents move tasks to.
func known(s state.TaskState) bool {
	switch s {
	case state.TaskAccepted, state.TaskPreparing, state.TaskReady, state.TaskStarting, state.TaskRunning,
		state.TaskComplete, state.TaskShutdown, state.TaskFailed, state.TaskRejected:
		return true
	case state.TaskNew, state.TaskPending, state.TaskAssigned, state.TaskRemove, state.TaskOrphaned:
		return false
	default: // of a newer agent
		return false
	}
}

// bounded cuts what an agent says to size, so that no node can fill the log.
func bounded(s state.TaskStatus) state.TaskStatus {
	s.Message = cut(s.Message)
	s.Err = cut(s.Err)
	s.Ports = s.Ports[:min(len(s.Ports), statusPortsMax)]
	if len(s.Ports) == 0 {
		s.Ports = nil // as it will be read back
	}
	return s
}

// cut keeps the beginning of a text, and of its characters only whole ones.
func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), statusTextMax)], "")
}

// same reports whether a node describes itself as it did. Descriptions are
// compared as they are stored: what is empty is as good as absent.
func same(a, b swarm.NodeDescription) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
