package control

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// known refuses filter keys that a listing does not have.
func (f Filters) known(keys ...string) *Failed {
	values := 0
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(keys, k) {
			return plain(Invalid, "invalid filter '%s'", k)
		}
		values += len(f[k])
	}
	if values > filterValuesMax {
		return plain(Invalid, "%d filter values: at most %d are allowed", values, filterValuesMax)
	}
	return nil
}

// prefixed reports whether one of the key's values begins s; a key without
// values matches everything.
func (f Filters) prefixed(key, s string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(v string) bool { return strings.HasPrefix(s, v) })
}

// labelled reports whether labels have all of the key's k=v pairs; a k alone asks
// for the label with any value. Of two pairs with the same label the last counts.
func (f Filters) labelled(key string, labels map[string]string) bool {
	wanted := map[string]string{}
	for _, pair := range f[key] {
		k, v, _ := strings.Cut(pair, "=")
		wanted[k] = v
	}
	for _, k := range slices.Sorted(maps.Keys(wanted)) {
		have, ok := labels[k]
		if !ok || wanted[k] != "" && wanted[k] != have {
			return false
		}
	}
	return true
}

func nodeFilter(f Filters) (func(*state.Node) bool, *Failed) {
	if failed := f.known("name", "id", "label", "node.label", "role", "membership"); failed != nil {
		return nil, failed
	}
	roles, failed := words(f["role"], "role", string(swarm.NodeRoleWorker), string(swarm.NodeRoleManager))
	if failed != nil {
		return nil, failed
	}
	members, failed := words(f["membership"], "membership", "pending", "accepted")
	if failed != nil {
		return nil, failed
	}
	return func(n *state.Node) bool {
		role := swarm.NodeRoleWorker
		if n.Manager {
			role = swarm.NodeRoleManager
		}
		return f.prefixed("name", n.Description.Hostname) &&
			f.prefixed("id", string(n.ID)) &&
			f.labelled("label", n.Description.Engine.Labels) &&
			f.labelled("node.label", n.Spec.Labels) &&
			(len(roles) == 0 || slices.Contains(roles, string(role))) &&
			(len(members) == 0 || slices.Contains(members, "accepted"))
	}, nil
}

// words returns values that must be of a known set, without regard to case.
func words(values []string, filter string, set ...string) ([]string, *Failed) {
	var out []string
	for _, v := range values {
		w := strings.ToLower(v)
		switch {
		case slices.Contains(set, w):
			out = append(out, w)
		case v != "":
			return nil, plain(Internal, "Invalid %s filter: '%s'", filter, v)
		}
	}
	return out, nil
}

func serviceFilter(f Filters) (func(*state.Service) bool, *Failed) {
	if failed := f.known("name", "id", "label", "mode", "runtime"); failed != nil {
		return nil, failed
	}
	_, byMode := f["mode"]
	return func(s *state.Service) bool {
		return f.prefixed("name", s.Spec.Name) &&
			f.prefixed("id", string(s.ID)) &&
			f.labelled("label", s.Spec.Labels) &&
			(!byMode || slices.Contains(f["mode"], mode(&s.Spec))) &&
			(len(f["runtime"]) == 0 || slices.Contains(f["runtime"], string(swarm.RuntimeContainer)))
	}, nil
}

// mode is the service's mode in the CLI's words.
func mode(s *swarm.ServiceSpec) string {
	switch m := s.Mode; {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	default:
		return "replicated"
	}
}

// A taskMatch restricts a listing of tasks.
type taskMatch struct {
	filters  Filters
	services []state.ServiceID
	nodes    []state.NodeID
	desired  []state.TaskState
	upToDate bool
}

func taskFilter(d *state.Draft, self state.NodeID, f Filters) (*taskMatch, *Failed) {
	if failed := f.known("name", "id", "label", "service", "node", "desired-state", "_up-to-date", "runtime"); failed != nil {
		return nil, failed
	}
	m := &taskMatch{filters: f, upToDate: len(f["_up-to-date"]) > 0}
	for _, ref := range f["service"] {
		s, failed := service(d, ref)
		if failed != nil {
			return nil, failed
		}
		m.services = append(m.services, s.ID)
	}
	for _, ref := range f["node"] {
		n, failed := node(d, nameSelf(ref, self))
		if failed != nil {
			return nil, failed
		}
		m.nodes = append(m.nodes, n.ID)
	}
	for _, word := range f["desired-state"] {
		s, ok := taskState(word)
		if !ok && word != "" {
			return nil, plain(Internal, "Invalid desired-state filter: '%s'", word)
		}
		if ok {
			m.desired = append(m.desired, s)
		}
	}
	return m, nil
}

// taskState reads a state's name, without regard to case.
func taskState(word string) (state.TaskState, bool) {
	switch swarm.TaskState(strings.ToLower(word)) {
	case swarm.TaskStateNew:
		return state.TaskNew, true
	case swarm.TaskStatePending:
		return state.TaskPending, true
	case swarm.TaskStateAssigned:
		return state.TaskAssigned, true
	case swarm.TaskStateAccepted:
		return state.TaskAccepted, true
	case swarm.TaskStatePreparing:
		return state.TaskPreparing, true
	case swarm.TaskStateReady:
		return state.TaskReady, true
	case swarm.TaskStateStarting:
		return state.TaskStarting, true
	case swarm.TaskStateRunning:
		return state.TaskRunning, true
	case swarm.TaskStateComplete:
		return state.TaskComplete, true
	case swarm.TaskStateShutdown:
		return state.TaskShutdown, true
	case swarm.TaskStateFailed:
		return state.TaskFailed, true
	case swarm.TaskStateRejected:
		return state.TaskRejected, true
	case swarm.TaskStateRemove:
		return state.TaskRemove, true
	case swarm.TaskStateOrphaned:
		return state.TaskOrphaned, true
	default:
		return 0, false
	}
}

// candidates are the tasks worth looking at: of the services or nodes asked for,
// else all.
func (m *taskMatch) candidates(d *state.Draft) iter.Seq[*state.Task] {
	return func(yield func(*state.Task) bool) {
		switch {
		case len(m.services) > 0:
			slices.Sort(m.services)
			for _, s := range slices.Compact(m.services) {
				for t := range d.TasksOf(s) {
					if !yield(t) {
						return
					}
				}
			}
		case len(m.nodes) > 0:
			slices.Sort(m.nodes)
			for _, n := range slices.Compact(m.nodes) {
				for t := range d.TasksOn(n) {
					if !yield(t) {
						return
					}
				}
			}
		default:
			d.Tasks()(yield)
		}
	}
}

func (m *taskMatch) match(d *state.Draft, t *state.Task) bool {
	f := m.filters
	s := d.Service(t.Service)
	return f.prefixed("id", string(t.ID)) &&
		(len(m.nodes) == 0 || slices.Contains(m.nodes, t.Node)) &&
		(len(m.desired) == 0 || slices.Contains(m.desired, t.Desired)) &&
		(!m.upToDate || s != nil && t.Template == s.Template && t.JobIteration == s.JobIteration) &&
		(len(f["name"]) == 0 || f.prefixed("name", taskName(d, t))) &&
		(len(f["label"]) == 0 || f.labelled("label", serviceLabels(d, s, t))) &&
		(len(f["runtime"]) == 0 || slices.Contains(f["runtime"], string(swarm.RuntimeContainer)))
}

// serviceLabels are the labels by which a task is found: those of its service, as
// they are now if it is still there.
func serviceLabels(d *state.Draft, s *state.Service, t *state.Task) map[string]string {
	if s != nil {
		return s.Spec.Labels
	}
	if made := d.Template(t.Service, t.Template); made != nil {
		return made.ServiceLabels
	}
	return nil
}

// taskName is the name that the container of a task has: website.1.<task>.
func taskName(d *state.Draft, t *state.Task) string {
	name := ""
	if made := d.Template(t.Service, t.Template); made != nil {
		name = made.ServiceName
	}
	slot := strconv.FormatUint(t.Slot, 10)
	if t.Global {
		slot = string(t.Node)
	}
	return name + "." + slot + "." + string(t.ID)
}
