package enginetest

import (
	"fmt"
	"strings"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// A Namer gives short names to identifiers, in the order in which it meets them,
// so that scripts read: node1, service1, task3.
type Namer struct {
	names  map[string]string
	ids    map[string]string
	counts map[string]int
}

// Name returns the short name of an identifier of a sort such as "task".
func (n *Namer) Name(sort, id string) string {
	if id == "" {
		return "-"
	}
	if n.names == nil {
		n.names, n.ids, n.counts = map[string]string{}, map[string]string{}, map[string]int{}
	}
	if name, ok := n.names[id]; ok {
		return name
	}
	n.counts[sort]++
	name := fmt.Sprintf("%s%d", sort, n.counts[sort])
	n.names[id], n.ids[name] = name, id
	return name
}

// ID returns the identifier that has a short name; other text is itself.
func (n *Namer) ID(name string) string {
	if id, ok := n.ids[name]; ok {
		return id
	}
	return name
}

// Effect writes an effect as one line.
func (n *Namer) Effect(effect engine.Effect) string {
	task := func(id state.TaskID) string { return n.Name("task", string(id)) }
	switch f := effect.(type) {
	case engine.Reply:
		return fmt.Sprintf("reply %d %s", f.Request, n.Answer(f.Answer))
	case engine.Forward:
		return fmt.Sprintf("forward %d to %s", f.Request, n.Name("node", string(f.To)))
	case engine.Publish:
		var lines []string
		for _, e := range f.Events {
			lines = append(lines, fmt.Sprintf("%s %s %s", e.Type, e.Action, e.Attributes["name"]))
		}
		return "publish " + strings.Join(lines, ", ")
	case engine.CreateAuthority:
		return "create-authority " + n.Name("cluster", string(f.Cluster))
	case engine.Bootstrap:
		return fmt.Sprintf("bootstrap %s %s", n.Name("node", string(f.Identity.Node)), f.Identity.Addr)
	case engine.Join:
		return fmt.Sprintf("join %s", strings.Join(f.Remotes, ","))
	case engine.ChangeRole:
		return fmt.Sprintf("change-role manager=%v", f.Manager)
	case engine.MakeRoot:
		return fmt.Sprintf("make-root %d", f.Request)
	case engine.Renew:
		return "renew"
	case engine.Refound:
		return "refound " + f.Addr
	case engine.Trust:
		return n.roster(f.Change)
	case engine.Lock:
		return fmt.Sprintf("lock version=%d key=%v", f.Version, f.Key != nil)
	case engine.Unlock:
		return "unlock"
	case engine.ChangeVoter:
		return fmt.Sprintf("change-voter %s %s", n.Name("node", string(f.Node)), f.Standing)
	case engine.Reach:
		return "reach " + n.managers(f.Managers)
	case engine.Leave:
		return "leave"
	case engine.Propose:
		return "propose " + n.Changes(f.Entry.Changes)
	case engine.Verify:
		return "verify " + verification(f.ID)
	case engine.Send:
		return fmt.Sprintf("send %s %s", n.Name("node", string(f.To)), n.Message(f.Message))
	case engine.PullImage:
		return fmt.Sprintf("pull %s %s", task(f.Task), f.Image)
	case engine.CreateContainer:
		return fmt.Sprintf("create %s %s %s", task(f.Container.Task), n.Words(f.Container.Name), f.Container.Address)
	case engine.StartContainer:
		return "start " + task(f.Task)
	case engine.ProbeContainer:
		return fmt.Sprintf("probe %s %s", task(f.Task), f.Health)
	case engine.StopContainer:
		return fmt.Sprintf("stop %s %s", task(f.Task), f.Grace)
	case engine.RemoveContainer:
		return "remove " + task(f.Task)
	case engine.ApplyNetwork:
		return n.network(f)
	default:
		return fmt.Sprintf("%#v", effect)
	}
}

// roster writes what has changed about whom certificates are worth.
func (n *Namer) roster(c membership.RosterChange) string {
	words := []string{"trust"}
	if c.Full {
		words = append(words, "only")
	}
	if !c.Known {
		words = append(words, "nobody-known")
	}
	for _, e := range c.Entries {
		what := "worker"
		if e.Manager {
			what = "manager"
		}
		if e.Log {
			what += "+log"
		}
		words = append(words, fmt.Sprintf("%s=%s@%d", n.Name("node", string(e.Node)), what, e.Trust))
	}
	for _, id := range c.Gone {
		words = append(words, "-"+n.Name("node", string(id)))
	}
	return strings.Join(words, " ")
}

func (n *Namer) managers(managers []wire.Manager) string {
	var words []string
	for _, m := range managers {
		words = append(words, n.Name("node", string(m.ID))+"@"+m.Addr)
	}
	return strings.Join(words, " ")
}

// Changes writes the changes of an entry: what is put, and what is deleted.
func (n *Namer) Changes(changes []state.Change) string {
	var words []string
	for _, c := range changes {
		word := n.Name(c.Key.Kind.String(), c.Key.ID)
		if c.Data == nil {
			word = "-" + word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Words replaces the identifiers that are known in a text by their short names.
func (n *Namer) Words(text string) string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" .,'\"()", r) })
	for _, p := range parts {
		if name, ok := n.names[p]; ok {
			text = strings.ReplaceAll(text, p, name)
		}
	}
	return text
}

// Answer writes an answer in a few words.
func (n *Namer) Answer(answer control.Answer) string {
	switch a := answer.(type) {
	case control.Failed:
		return fmt.Sprintf("failed %d: %s", a.Kind, n.Words(a.Message))
	case control.Done:
		return "done"
	case control.Created:
		return "created " + n.Words(a.ID)
	case control.NodeInfo:
		return fmt.Sprintf("info %s manager=%v nodes=%d", a.State, a.Manager, a.NodeCount)
	case control.Nodes:
		return fmt.Sprintf("%d nodes", len(a.Nodes))
	case control.Services:
		return fmt.Sprintf("%d services", len(a.Services))
	case control.Tasks:
		var lines []string
		for _, t := range a.Tasks {
			lines = append(lines, fmt.Sprintf("%s.%d %d/%d", n.Name("task", string(t.ID)), t.Slot, t.Desired, t.Status.State))
		}
		return "tasks " + strings.Join(lines, ", ")
	default:
		return fmt.Sprintf("%T", answer)
	}
}

func (n *Namer) network(f engine.ApplyNetwork) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apply-network %d:", f.Plan.Generation)
	if f.Plan.Kept {
		b.WriteString(" as before, but")
	}
	for _, e := range f.Plan.Endpoints {
		fmt.Fprintf(&b, " %s=%s", n.Name("task", string(e.Task)), e.Address)
	}
	for _, p := range f.Plan.Published {
		fmt.Fprintf(&b, " %d/%s->", p.Port, p.Protocol)
		for i, backend := range p.Backends {
			if i > 0 {
				b.WriteByte('+')
			}
			fmt.Fprintf(&b, "%s:%d", backend.Address, backend.Port)
		}
	}
	return b.String()
}
