package scheduler_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/state"
)

// A twin decides what the scheduler decides, from the store alone, by looking at
// every node for every task.
type twin struct {
	d    *state.Draft
	wall state.Wall
	// placed are the tasks that have been placed since, as they are now.
	placed map[state.TaskID]*state.Task
}

func (w *twin) tasks(yield func(*state.Task) bool) {
	for t := range w.d.Tasks() {
		if p := w.placed[t.ID]; p != nil {
			t = p
		}
		if !yield(t) {
			return
		}
	}
}

func (w *twin) on(n state.NodeID) (all []*state.Task) {
	for t := range w.tasks {
		if t.Node == n && t.Status.State >= state.TaskAssigned && !t.Status.State.Terminal() {
			all = append(all, t)
		}
	}
	return all
}

// refusal is the text of the first filter that refuses the node, "" if none does.
func (w *twin) refusal(t *state.Task, n *state.Node) string {
	spec := w.d.Template(t.Service, t.Template)
	want, have := spec.Spec.Resources.Reservations, n.Description.Resources
	used := map[string]int64{}
	ports := map[string]bool{}
	service := 0
	for _, o := range w.on(n.ID) {
		other := w.d.Template(o.Service, o.Template)
		used["cpu"] += other.Spec.Resources.Reservations.NanoCPUs
		used["memory"] += other.Spec.Resources.Reservations.MemoryBytes
		for _, r := range o.Generic {
			used["gpu"] += amount(r)
		}
		for _, p := range other.Ports {
			ports[fmt.Sprint(p.Protocol, p.PublishedPort)] = true
		}
		if o.Service == t.Service && o.Desired <= state.TaskComplete {
			service++
		}
	}
	gpus, wanted := -used["gpu"], int64(0)
	for _, r := range have.GenericResources {
		gpus += amount(r)
	}
	for _, r := range want.GenericResources {
		wanted += amount(r)
	}
	constraints, _ := state.ParseConstraints(spec.Spec.Placement.Constraints)
	switch {
	case n.State != state.NodeReady || n.Spec.Availability != swarm.NodeAvailabilityActive:
		return "%d nodes not available for new tasks"
	case want.NanoCPUs > 0 && used["cpu"]+want.NanoCPUs > have.NanoCPUs,
		want.MemoryBytes > 0 && used["memory"]+want.MemoryBytes > have.MemoryBytes, wanted > 0 && wanted > gpus:
		return "insufficient resources on %d nodes"
	case !state.Eligible(n, constraints):
		return "scheduling constraints not satisfied on %d nodes"
	case len(spec.Spec.Placement.Platforms) > 0 && n.Description.Platform.Architecture != "aarch64":
		return "unsupported platform on %d nodes"
	case slices.ContainsFunc(spec.Ports, func(p swarm.PortConfig) bool { return ports[fmt.Sprint(p.Protocol, p.PublishedPort)] }):
		return "host-mode port already in use on %d nodes"
	case spec.Spec.Placement.MaxReplicas > 0 && service >= int(spec.Spec.Placement.MaxReplicas):
		return "max replicas per node limit exceed"
	default:
		return ""
	}
}

func amount(r swarm.GenericResource) int64 {
	if r.DiscreteResourceSpec != nil {
		return r.DiscreteResourceSpec.Value
	}
	return 1
}

// why is the reason why no node takes the task, "" if one does.
func (w *twin) why(t *state.Task) string {
	order := []string{
		"%d nodes not available for new tasks", "insufficient resources on %d nodes", "scheduling constraints not satisfied on %d nodes",
		"unsupported platform on %d nodes", "host-mode port already in use on %d nodes", "max replicas per node limit exceed",
	}
	counts := map[string]int{}
	for n := range w.d.Nodes() {
		if t.Global && n.ID != t.Node {
			continue
		}
		text := w.refusal(t, n)
		if text == "" {
			return ""
		}
		counts[text]++
	}
	slices.SortStableFunc(order, func(a, b string) int { return counts[b] - counts[a] })
	var words []string
	for _, text := range order {
		switch {
		case counts[text] == 1:
			words = append(words, strings.ReplaceAll(strings.Replace(text, "%d", "1", 1), "nodes", "node"))
		case counts[text] > 1:
			words = append(words, strings.Replace(text, "%d", fmt.Sprint(counts[text]), 1))
		}
	}
	switch {
	case t.Global:
		return strings.Join(words, "; ")
	case len(words) == 0:
		return "no suitable node"
	}
	return "no suitable node (" + strings.Join(words, "; ") + ")"
}

// better reports whether one node is better than another for a task that both take:
// for each preference in turn the one in the emptier branch; within one branch the
// one of lower rank. Of two branches that are equally full either will do.
func (w *twin) better(t *state.Task, a, b *state.Node) bool {
	spec := w.d.Template(t.Service, t.Template).Spec.Placement
	inside := func(*state.Node) bool { return true }
	for _, p := range spec.Preferences {
		label := strings.TrimPrefix(p.Spread.SpreadDescriptor, "node.labels.")
		above := inside
		load := func(value string) int {
			sum := 0
			for o := range w.d.Nodes() {
				if above(o) && o.Spec.Labels[label] == value {
					sum += w.count(o.ID, t.Service)
				}
			}
			return sum
		}
		value := b.Spec.Labels[label]
		if a.Spec.Labels[label] != value {
			return load(a.Spec.Labels[label]) < load(value)
		}
		inside = func(o *state.Node) bool { return above(o) && o.Spec.Labels[label] == value }
	}
	return slices.Compare(w.rank(t, a), w.rank(t, b)) < 0
}

// rank is what the nodes of one branch are compared by: recent failures, tasks of
// the service, all tasks.
func (w *twin) rank(t *state.Task, n *state.Node) []int {
	failures := 0
	for o := range w.tasks {
		ended := o.Status.State == state.TaskFailed || o.Status.State == state.TaskRejected
		if ended && o.Node == n.ID && o.Service == t.Service && o.Template == t.Template && w.wall.Sub(o.Status.At) < 5*time.Minute {
			failures++
		}
	}
	if failures < 5 {
		failures = 0
	}
	return []int{failures, w.count(n.ID, t.Service), w.count(n.ID, "")}
}

// count is how many active tasks a node has, of one service or of all.
func (w *twin) count(n state.NodeID, service state.ServiceID) int {
	count := 0
	for _, t := range w.on(n) {
		if t.Desired <= state.TaskComplete && (service == "" || t.Service == service) {
			count++
		}
	}
	return count
}

// follow checks what a pass wrote, step by step: every placement is on a node that
// takes the task, and no other that does ranks before it.
func (w *twin) follow(t *rapid.T, written []state.Diff[state.Task]) {
	for _, d := range written {
		after := d.After
		if after.Status.State != state.TaskAssigned {
			continue
		}
		n := w.d.Node(after.Node)
		if n == nil {
			t.Fatalf("%s is placed on %s, which does not exist", after.ID, after.Node)
		}
		if why := w.refusal(d.Before, n); why != "" {
			t.Fatalf("%s is placed on %s: %s", after.ID, n.ID, why)
		}
		if !after.Global {
			for o := range w.d.Nodes() {
				if w.refusal(d.Before, o) == "" && w.better(d.Before, o, n) {
					t.Fatalf("%s is placed on %s %v, though %s has %v", after.ID, n.ID, w.rank(after, n), o.ID, w.rank(after, o))
				}
			}
		}
		w.placed[after.ID] = after
	}
}

// settled checks that whatever is pending has no node, and says why.
func settled(t *rapid.T, w *world) {
	after := &twin{d: w.store.Draft(), wall: w.wall}
	named := map[string]state.TaskID{}
	for task := range after.d.Tasks() {
		for _, r := range task.Generic {
			if r.NamedResourceSpec == nil || task.Status.State.Terminal() {
				continue
			}
			name := string(task.Node) + " " + r.NamedResourceSpec.Value
			if other, ok := named[name]; ok {
				t.Fatalf("%s and %s share %s", other, task.ID, name)
			}
			named[name] = task.ID
		}
	}
	for _, task := range pendingTasks(after.d) {
		if task.Global && after.d.Node(task.Node) == nil {
			continue // the orchestrator sees to that
		}
		why := after.why(task)
		if why == "" {
			t.Fatalf("%s is pending, though a node takes it (%q)", task.ID, task.Status.Err)
		}
		if why != task.Status.Err {
			t.Fatalf("%s is pending: %q, want %q", task.ID, task.Status.Err, why)
		}
	}
}

// TestTwin makes a swarm live for a while and holds every pass against the twin.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		l := life{w}
		w.change(func(d *state.Draft) {
			for i := range rapid.IntRange(0, 8).Draw(t, "nodes") {
				d.PutNode(l.node(t, i))
			}
			for i := range rapid.IntRange(1, 4).Draw(t, "services") {
				l.service(t, d, i)
			}
		})
		for range rapid.IntRange(1, 12).Draw(t, "passes") {
			w.tick(time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds")) * time.Second)
			changes := rapid.IntRange(0, 4).Draw(t, "changes")
			w.change(func(d *state.Draft) {
				for range changes {
					l.change(t, d)
				}
			})
			if rapid.IntRange(0, 9).Draw(t, "lead") == 0 {
				w.lead()
			}
			if rapid.Bool().Draw(t, "trim") {
				w.sched.Trim()
			}
			born := rapid.IntRange(0, 3).Draw(t, "born")
			before := &twin{d: w.store.Draft(), wall: w.wall, placed: map[state.TaskID]*state.Task{}}
			written := w.place(func(d *state.Draft) {
				for range born {
					l.tasks(t, d)
				}
				before.d = d
			})
			// The draft has been written to: see it as it was before.
			for _, diff := range written {
				before.placed[diff.After.ID] = cmp.Or(before.placed[diff.After.ID], diff.Before)
			}
			before.follow(t, written)
			for range 3 { // reasons that were held back
				w.tick(time.Second)
				w.place(nil)
			}
			settled(t, w)
			if w.sched.Pending() || !w.sched.Wake().IsZero() {
				t.Fatal("there is more to do in an idle swarm")
			}
			if more := w.place(nil); len(more) > 0 {
				t.Fatalf("an idle swarm writes %+v", more[0].After)
			}
		}
	})
}

// TestRebuilt places the same tasks with a scheduler that has watched for long as
// with one made from the store.
func TestRebuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		l := life{w}
		w.change(func(d *state.Draft) {
			for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
				d.PutNode(l.node(t, i))
			}
			l.service(t, d, 0)
		})
		for range rapid.IntRange(0, 6).Draw(t, "passes") {
			w.change(func(d *state.Draft) { l.change(t, d) })
			w.place(nil)
		}
		w.change(func(d *state.Draft) { l.change(t, d) })
		// Of tasks that want the same room, which come first is left open.
		alike := map[string]bool{}
		for _, task := range pendingTasks(w.store.Draft()) {
			alike[fmt.Sprint(task.Service, task.Template)] = true
		}
		counts := [2]int{}
		for i := range counts {
			if i == 1 {
				w.lead()
			}
			d := w.store.Draft()
			w.sched.Place(d, w.now, w.wall)
			for _, diff := range d.Take().Tasks {
				if diff.After.Status.State == state.TaskAssigned {
					counts[i]++
				}
			}
		}
		if len(alike) > 1 {
			counts = [2]int{min(counts[0], 1), min(counts[1], 1)}
		}
		if counts[0] != counts[1] {
			t.Fatalf("%d tasks are placed, %d by a new leader", counts[0], counts[1])
		}
	})
}

// A life is what happens to a swarm.
type life struct{ *world }

func (l life) node(t *rapid.T, i int) *state.Node {
	gpus := []string{"gpu=2"} // a node does not go over from counting to naming them
	if i%2 == 0 {
		gpus = []string{"gpu=a+b+c"}
	}
	words := map[string][]string{
		"state":        {rapid.SampledFrom([]string{"ready", "ready", "ready", "down"}).Draw(t, "state")},
		"availability": {rapid.SampledFrom([]string{"active", "active", "active", "pause", "drain"}).Draw(t, "availability")},
		"cpus":         {fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "cpus"))},
		"memory":       {fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "memory"))},
		"generic":      rapid.SampledFrom([][]string{nil, gpus}).Draw(t, "generic"),
		"labels":       rapid.SampledFrom([][]string{nil, {"zone=e"}, {"zone=w", "rack=1"}, {"zone=w", "rack=2"}, {"disk=ssd"}}).Draw(t, "labels"),
		"arch":         {rapid.SampledFrom([]string{"x86_64", "aarch64"}).Draw(t, "arch")},
	}
	return nodeOf(fmt.Sprintf("n%d", i), args{by: words})
}

func (l life) service(t *rapid.T, d *state.Draft, i int) {
	l.world.service(d, args{names: []string{fmt.Sprintf("s%d", i)}, by: map[string][]string{
		"tasks":       {fmt.Sprint(rapid.IntRange(0, 10).Draw(t, "tasks"))},
		"cpus":        {fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "cpus"))},
		"memory":      {fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "memory"))},
		"generic":     rapid.SampledFrom([][]string{nil, nil, {"gpu=1"}, {"gpu=2"}}).Draw(t, "generic"),
		"constraints": rapid.SampledFrom([][]string{nil, nil, {"node.labels.zone!=e"}, {"node.labels.disk==ssd"}, {"node.id==n0"}}).Draw(t, "constraints"),
		"platforms":   rapid.SampledFrom([][]string{nil, nil, {"linux/arm64"}}).Draw(t, "platforms"),
		"spread":      rapid.SampledFrom([][]string{nil, nil, {"node.labels.zone"}, {"node.labels.zone", "node.labels.rack"}}).Draw(t, "spread"),
		"max":         {fmt.Sprint(rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "max"))},
		"ports":       rapid.SampledFrom([][]string{nil, nil, {"80/tcp"}, {"80/udp", "81/tcp"}}).Draw(t, "ports"),
	}})
}

// tasks makes some tasks of a service, or one that comes with its node.
func (l life) tasks(t *rapid.T, d *state.Draft) {
	s := one(t, "service", slices.Collect(d.Services()))
	if nodes := slices.Collect(d.Nodes()); len(nodes) > 0 && rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
		l.add(d, s, 1, one(t, "node", nodes).ID)
		return
	}
	l.add(d, s, rapid.IntRange(1, 5).Draw(t, "count"))
}

func (l life) change(t *rapid.T, d *state.Draft) {
	tasks := slices.Collect(d.Tasks())
	nodes := slices.Collect(d.Nodes())
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what < 2 && len(nodes) > 0:
		n := one(t, "node", nodes)
		i := 0
		_, _ = fmt.Sscanf(string(n.ID), "n%d", &i)
		d.PutNode(l.node(t, i))
	case what == 2:
		d.PutNode(l.node(t, rapid.IntRange(0, 9).Draw(t, "new")))
	case what == 3 && len(nodes) > 0:
		d.DeleteNode(one(t, "node", nodes).ID)
	case what == 4:
		l.service(t, d, rapid.IntRange(0, 4).Draw(t, "service"))
	case what == 5:
		l.tasks(t, d)
	case what == 6 && len(tasks) > 0:
		d.DeleteTask(one(t, "task", tasks).ID)
	case len(tasks) > 0:
		task := one(t, "task", tasks)
		l.put(d, task.ID, func(c *state.Task) {
			switch {
			case what == 7:
				c.Desired = state.TaskShutdown
			case c.Status.State >= state.TaskAssigned && !c.Status.State.Terminal():
				ends := []state.TaskState{state.TaskRunning, state.TaskFailed, state.TaskFailed, state.TaskRejected, state.TaskComplete}
				to := rapid.SampledFrom(ends).Draw(t, "to")
				if to > c.Status.State {
					c.Status = state.TaskStatus{State: to, At: l.wall}
				}
			}
		})
	}
}

// one draws one of several, and does not print them.
func one[T any](t *rapid.T, what string, of []T) T {
	return of[rapid.IntRange(0, len(of)-1).Draw(t, what)]
}
