package enginetest

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// kindOf names what answers an effect, as scripts do; "" if nothing does.
func kindOf(effect engine.Effect) string {
	switch effect.(type) {
	case engine.CreateAuthority:
		return "authority"
	case engine.Bootstrap:
		return "bootstrapped"
	case engine.Leave:
		return "left"
	case engine.Join:
		return "joined"
	case engine.ChangeRole:
		return "role"
	case engine.Unlock:
		return "unlocked"
	case engine.MakeRoot:
		return "root"
	case engine.Renew:
		return "renewed"
	case engine.Refound:
		return "refounded"
	case engine.ChangeVoter:
		return "voter"
	case engine.Propose:
		return "commit"
	case engine.Verify:
		return "verified"
	case engine.Forward:
		return "returned"
	case engine.PullImage:
		return "pulled"
	case engine.CreateContainer:
		return "created"
	case engine.StartContainer:
		return "started"
	case engine.ProbeContainer:
		return "probed"
	case engine.StopContainer:
		return "exited"
	case engine.RemoveContainer:
		return "removed"
	case engine.ApplyNetwork:
		return "networked"
	default:
		return ""
	}
}

// sortOf is the sort of answers that an effect's belongs to.
func sortOf(effect engine.Effect) string {
	switch effect.(type) {
	case engine.CreateAuthority, engine.Bootstrap, engine.Leave, engine.Propose, engine.Verify, engine.ChangeVoter, engine.Refound, engine.MakeRoot:
		return HoldLog
	case engine.ApplyNetwork:
		return HoldNetwork
	case engine.Forward, engine.Join, engine.ChangeRole, engine.Unlock, engine.Renew:
		return HoldPeers
	default:
		return HoldRuntime
	}
}

// taskOf is the task that an effect is about.
func taskOf(effect engine.Effect) state.TaskID {
	switch f := effect.(type) {
	case engine.PullImage:
		return f.Task
	case engine.CreateContainer:
		return f.Container.Task
	case engine.StartContainer:
		return f.Task
	case engine.ProbeContainer:
		return f.Task
	case engine.StopContainer:
		return f.Task
	case engine.RemoveContainer:
		return f.Task
	default:
		return ""
	}
}

// event writes an event down, after the time if that has moved.
func (h *Harness) event(e engine.Event) {
	at := ""
	if !h.Now.Equal(h.shown) {
		at = h.Now.Sub(h.started).String() + " "
		h.shown = h.Now
	}
	h.lines = append(h.lines, at+h.Names.Event(e))
	for _, line := range h.came {
		h.lines = append(h.lines, "  = "+line)
	}
	h.came = nil
}

// Event writes an event as one line.
func (n *Namer) Event(event engine.Event) string {
	task := func(what string, id state.TaskID, err error) string {
		what += " " + n.Name("task", string(id))
		if err != nil {
			what += ": " + err.Error()
		}
		return what
	}
	switch e := event.(type) {
	case engine.Started:
		return "started " + n.Name("node", string(e.Identity.Node))
	case engine.Woken:
		return "woken"
	case engine.ClockAdjusted:
		return fmt.Sprintf("clock-adjusted %s", e.Offset)
	case engine.Called:
		return fmt.Sprintf("called %d %s", e.Request, strings.TrimPrefix(fmt.Sprintf("%T", e.Call), "control."))
	case engine.ForwardReturned:
		return fmt.Sprintf("returned %d %s", e.Request, n.Answer(e.Answer))
	case engine.VoterChanged:
		return fmt.Sprintf("voter %s %s %s", n.Name("node", string(e.Node)), e.Standing, reason(e.Err))
	case engine.Joined:
		return fmt.Sprintf("joined %s %s", n.Name("node", string(e.Identity.Node)), reason(e.Err))
	case engine.RoleChanged:
		return fmt.Sprintf("role manager=%v %s", e.Identity.Manager, reason(e.Err))
	case engine.Unlocked, engine.RootMade, engine.Certified, engine.Renewed, engine.Refounded:
		return trusted(event)
	case engine.AuthorityCreated:
		return "authority-created"
	case engine.Elected:
		return fmt.Sprintf("elected %d", e.Term)
	case engine.Deposed:
		return "deposed"
	case engine.LeaderChanged:
		return "leader-changed " + n.Name("node", string(e.Leader))
	case engine.Committed:
		return fmt.Sprintf("committed %d", e.Index)
	case engine.Restored:
		return fmt.Sprintf("restored %d", e.Store.Index())
	case engine.Verified:
		return "verified " + verification(e.ID) + " " + reason(e.Err)
	case engine.Left:
		return "left"
	case engine.Received:
		return fmt.Sprintf("received %s %s", n.Name("node", string(e.From)), n.Message(e.Message))
	case engine.ContainersFound:
		var found []string
		for _, c := range e.Containers {
			found = append(found, fmt.Sprintf("%s(running=%v)", n.Name("task", string(c.Task)), c.Running))
		}
		return strings.Join(append([]string{"containers-found"}, found...), " ")
	case engine.ImagePulled:
		return task("pulled", e.Task, e.Err)
	case engine.ContainerCreated:
		return task("created", e.Task, e.Err)
	case engine.ContainerStarted:
		return task("started", e.Task, e.Err)
	case engine.ContainerProbed:
		return fmt.Sprintf("%s healthy=%v", task("probed", e.Task, nil), e.Healthy)
	case engine.ContainerExited:
		return fmt.Sprintf("%s with %d", task("exited", e.Task, e.Err), e.Code)
	case engine.ContainerRemoved:
		return task("removed", e.Task, e.Err)
	case engine.NetworkApplied:
		return fmt.Sprintf("network-applied %d %s", e.Generation, reason(e.Err))
	default:
		return fmt.Sprintf("%#v", event)
	}
}

// trusted writes events about keys and certificates.
func trusted(event engine.Event) string {
	switch e := event.(type) {
	case engine.Unlocked:
		return "unlocked " + reason(e.Err)
	case engine.RootMade:
		if e.Failed != nil {
			return fmt.Sprintf("root-made %d: %s", e.Request, e.Failed.Message)
		}
		return fmt.Sprintf("root-made %d", e.Request)
	case engine.Certified:
		return fmt.Sprintf("certified %d for %s", e.Certificate.Version, e.Certificate.Until.Sub(e.Certificate.From))
	case engine.Renewed:
		return "renewed " + reason(e.Err)
	case engine.Refounded:
		return fmt.Sprintf("refounded %s %s", e.Identity.Addr, reason(e.Err))
	default:
		return fmt.Sprintf("%#v", event)
	}
}

// Message writes what one node says to another in a few words.
func (n *Namer) Message(m wire.Message) string {
	var words []string
	task := func(id state.TaskID) string { return n.Name("task", string(id)) }
	switch m := m.(type) {
	case wire.Hello:
		return fmt.Sprintf("hello %s %s", m.Description.Hostname, m.Addr)
	case wire.Heartbeat:
		return fmt.Sprintf("heartbeat %d", m.Sequence)
	case wire.Report:
		for _, s := range m.Statuses {
			words = append(words, fmt.Sprintf("%s=%s", task(s.Task), s.Status.State))
		}
		return "report " + strings.Join(words, " ")
	case wire.Bye:
		if m.Addr != "" {
			return fmt.Sprintf("bye, %s leads at %s", n.Name("node", string(m.Leader)), m.Addr)
		}
		return "bye"
	case wire.Assign:
		for _, a := range m.Tasks {
			words = append(words, fmt.Sprintf("%s=%s", task(a.Task.ID), a.Task.Desired))
		}
		for _, id := range m.Keep {
			words = append(words, task(id)+"=keep")
		}
		for _, id := range m.Gone {
			words = append(words, task(id)+"=gone")
		}
		sort := "assign"
		if m.Full {
			sort = "assign-full"
		}
		return fmt.Sprintf("%s %d %s", sort, m.Sequence, strings.Join(words, " "))
	default:
		return fmt.Sprintf("%T", m)
	}
}

// Delta writes what a commit changed, one line for each task and node, which is
// what stories are about.
func (n *Namer) Delta(delta *state.Delta) []string {
	var lines []string
	for _, d := range delta.Nodes {
		switch {
		case d.After == nil:
			lines = append(lines, n.Name("node", string(d.Before.ID))+" removed")
		case d.Before == nil || d.Before.State != d.After.State:
			lines = append(lines, strings.TrimRight(fmt.Sprintf("%s is %s %s", n.Name("node", string(d.After.ID)), nodeState(d.After.State), d.After.Message), " "))
		}
	}
	for _, d := range delta.Services {
		if d.After == nil {
			lines = append(lines, n.Name("service", string(d.Before.ID))+" removed")
			continue
		}
		if u := d.After.Update; u != nil && (d.Before == nil || d.Before.Update == nil || d.Before.Update.State != u.State) {
			lines = append(lines, fmt.Sprintf("%s update %s: %s", n.Name("service", string(d.After.ID)), u.State, n.Words(u.Message)))
		}
	}
	for _, d := range delta.Tasks {
		if line := n.taskDiff(d); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// taskDiff says how a task has changed: web.1 on node1: desired and present state.
func (n *Namer) taskDiff(d state.Diff[state.Task]) string {
	t := cmp.Or(d.After, d.Before)
	name := n.Name("task", string(t.ID))
	switch {
	case d.After == nil:
		return name + " deleted"
	case d.Before == nil:
		return fmt.Sprintf("%s in slot %d of %s: %s, to be %s, on %s", name, t.Slot, n.Name("service", string(t.Service)),
			t.Status.State, t.Desired, n.Name("node", string(t.Node)))
	}
	var words []string
	if d.Before.Status.State != t.Status.State {
		words = append(words, strings.TrimRight(t.Status.State.String()+" "+n.Words(t.Status.Err), " "))
	}
	if d.Before.Desired != t.Desired {
		words = append(words, "to be "+t.Desired.String())
	}
	if d.Before.Node != t.Node {
		words = append(words, "on "+n.Name("node", string(t.Node)))
	}
	if len(words) == 0 {
		return ""
	}
	return name + ": " + strings.Join(words, ", ")
}

func nodeState(s state.NodeState) string {
	switch s {
	case state.NodeReady:
		return "ready"
	case state.NodeDown:
		return "down"
	case state.NodeDisconnected:
		return "disconnected"
	default:
		return "unknown"
	}
}

func reason(err error) string {
	if err == nil {
		return "well"
	}
	return err.Error()
}

// verification writes a request to confirm leadership as its term and number.
func verification(id engine.VerifyID) string { return fmt.Sprintf("%d.%d", id>>32, id&(1<<32-1)) }
