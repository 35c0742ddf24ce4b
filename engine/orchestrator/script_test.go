package orchestrator_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// TestScripts runs the stories in testdata. Each command changes something, has
// the orchestrator decide, and prints what it did:
//
//	history N                     how many tasks of a slot are kept
//	node NAME [down] [up] [gone] [availability=A] [label=K:V] [memory=N]
//	service NAME [options]        made or changed; options not given stay
//	rollback NAME / remove NAME
//	report TASK... state=STATE    agents say what became of tasks; web.1 is that slot's wanted one
//	settle                        everybody does what is wanted, no time passes
//	rest                          the same, and time passes until all is done
//	tick DURATION
//	elect                         a new leader, who knows only the store
//	tasks                         print what there is
//
// A task is made ("+ t1 web.1 v3 running": its name, slot, template and desired
// state), told something else ("t1 web.1 running → shutdown") or deleted ("- t1").
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") { // rapid's
			return
		}
		w := newWorld(func(format string, args ...any) { t.Fatalf(format, args...) })
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return w.run(t, d)
		})
	})
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	w.fail = func(format string, args ...any) { d.Fatalf(t, format, args...) }
	switch d.Cmd {
	case "history":
		limit, _ := strconv.ParseInt(d.CmdArgs[0].Key, 10, 64)
		w.change(func(draft *state.Draft) {
			c := state.Cluster{ID: "swarm"}
			c.Spec.Orchestration.TaskHistoryRetentionLimit = &limit
			draft.PutCluster(&c)
		})
	case "node":
		w.node(d)
	case "service":
		w.service(t, d)
	case "rollback":
		s := w.store.Draft().Service(state.ServiceID(d.CmdArgs[0].Key))
		w.revise(s.ID, *s.Previous, true)
	case "remove":
		w.change(func(draft *state.Draft) { draft.DeleteService(state.ServiceID(d.CmdArgs[0].Key)) })
	case "report":
		w.reports(t, d)
	case "settle":
		w.settle()
	case "rest":
		w.rest()
	case "tick":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		w.advance(by)
	case "elect":
		w.elect()
	case "tasks":
		return w.tasks()
	default:
		d.Fatalf(t, "unknown command")
	}
	w.pass()
	return w.told()
}

func (w *world) node(d *datadriven.TestData) {
	id := state.NodeID(d.CmdArgs[0].Key)
	w.change(func(draft *state.Draft) {
		n := &state.Node{ID: id, State: state.NodeReady, Since: w.wall}
		n.Spec.Availability = swarm.NodeAvailabilityActive
		if old := draft.Node(id); old != nil {
			c := *old
			n = &c
		}
		for _, a := range d.CmdArgs[1:] {
			switch a.Key {
			case "down":
				n.State, n.Since = state.NodeDown, w.wall
			case "up":
				n.State, n.Since = state.NodeReady, w.wall
			case "availability":
				n.Spec.Availability = swarm.NodeAvailability(a.Vals[0])
			case "label":
				k, v, _ := strings.Cut(a.Vals[0], ":")
				n.Spec.Labels = map[string]string{k: v}
			case "memory":
				n.Description.Resources.MemoryBytes, _ = strconv.ParseInt(a.Vals[0], 10, 64)
			case "gone":
				draft.DeleteNode(id)
				return
			}
		}
		draft.PutNode(n)
	})
}

func (w *world) reports(t *testing.T, d *datadriven.TestData) {
	var word string
	d.ScanArgs(t, "state", &word)
	w.change(func(draft *state.Draft) {
		for _, a := range d.CmdArgs {
			if a.Key == "state" {
				continue
			}
			task := w.task(a.Key)
			if task == nil {
				d.Fatalf(t, "no task %s", a.Key)
			}
			w.report(draft, task, stateOf(word))
		}
	})
}

func stateOf(word string) state.TaskState {
	for s := state.TaskNew; s <= state.TaskOrphaned; s++ {
		if s.String() == word {
			return s
		}
	}
	panic("no state " + word)
}

// service makes or changes a service by the options of a command.
func (w *world) service(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	id := state.ServiceID(d.CmdArgs[0].Key)
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: string(id)}}
	spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
	if old := w.store.Draft().Service(id); old != nil {
		spec = copySpec(old.Spec)
	}
	for _, a := range d.CmdArgs[1:] {
		value := ""
		if len(a.Vals) > 0 {
			value = a.Vals[0]
		}
		if !option(&spec, a.Key, value) {
			d.Fatalf(t, "unknown option %s", a.Key)
		}
	}
	w.revise(id, spec, false)
}

// option sets one option of a spec as the CLI calls it.
func option(spec *swarm.ServiceSpec, key, value string) bool {
	number := func() uint64 { n, _ := strconv.ParseUint(value, 10, 64); return n }
	task := &spec.TaskTemplate
	switch key {
	case "replicas":
		n := number()
		spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
	case "global":
		spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	case "global-job":
		spec.Mode = swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	case "job":
		n := number()
		spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &n, MaxConcurrent: &n}}
	case "concurrent":
		n := number()
		spec.Mode.ReplicatedJob.MaxConcurrent = &n
	case "image":
		task.ContainerSpec.Image = value
	case "force":
		task.ForceUpdate++
	case "label":
		k, v, _ := strings.Cut(value, ":")
		spec.Labels = map[string]string{k: v}
	case "constraint":
		task.Placement = &swarm.Placement{Constraints: []string{strings.Replace(value, ":", "==", 1)}}
	case "reserve":
		task.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{MemoryBytes: int64(number())}}
	case "restart", "restart-delay", "restart-attempts", "restart-window":
		restartOption(task, key, value)
	default:
		return updateOption(spec, key, value)
	}
	return true
}

func restartOption(task *swarm.TaskSpec, key, value string) {
	if task.RestartPolicy == nil {
		task.RestartPolicy = &swarm.RestartPolicy{}
	}
	duration, _ := time.ParseDuration(value)
	switch key {
	case "restart":
		task.RestartPolicy.Condition = swarm.RestartPolicyCondition(value)
	case "restart-delay":
		task.RestartPolicy.Delay = &duration
	case "restart-attempts":
		n, _ := strconv.ParseUint(value, 10, 64)
		task.RestartPolicy.MaxAttempts = &n
	case "restart-window":
		task.RestartPolicy.Window = &duration
	}
}

// updateOption sets an option of an update, or with "rollback-" before it, of a rollback.
func updateOption(spec *swarm.ServiceSpec, key, value string) bool {
	to := &spec.UpdateConfig
	key, back := strings.CutPrefix(key, "rollback-")
	if back {
		to = &spec.RollbackConfig
	}
	if *to == nil {
		*to = &swarm.UpdateConfig{Parallelism: 1}
	}
	duration, _ := time.ParseDuration(value)
	switch key {
	case "parallelism":
		(*to).Parallelism, _ = strconv.ParseUint(value, 10, 64)
	case "delay":
		(*to).Delay = duration
	case "monitor":
		(*to).Monitor = duration
	case "action":
		(*to).FailureAction = swarm.FailureAction(value)
	case "order":
		(*to).Order = swarm.UpdateOrder(value)
	case "ratio":
		ratio, _ := strconv.ParseFloat(value, 32)
		(*to).MaxFailureRatio = float32(ratio)
	default:
		return false
	}
	return true
}

// copySpec copies what options change.
func copySpec(s swarm.ServiceSpec) swarm.ServiceSpec {
	clone := func(c *swarm.UpdateConfig) *swarm.UpdateConfig {
		if c == nil {
			return nil
		}
		n := *c
		return &n
	}
	s.UpdateConfig, s.RollbackConfig = clone(s.UpdateConfig), clone(s.RollbackConfig)
	container := *s.TaskTemplate.ContainerSpec
	s.TaskTemplate.ContainerSpec = &container
	if r := s.TaskTemplate.RestartPolicy; r != nil {
		n := *r
		s.TaskTemplate.RestartPolicy = &n
	}
	if j := s.Mode.ReplicatedJob; j != nil {
		n := *j
		s.Mode.ReplicatedJob = &n
	}
	return s
}
