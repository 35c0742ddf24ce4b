package engine_test

import (
	"flag"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/enginetest"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// TestScripts runs the stories in testdata: what happens to one node, and what it
// orders. Every step is held to the driver's contract. In the output an event
// stands at the margin, what a commit comes to after =, and what the node orders
// is indented.
//
//	start                             the process begins; again: it died and is back
//	found                             the containers that are there are told
//	call service create --name …      an API call, as one would type it after docker
//	forwarded service rm …            the same, passed on by another manager
//	tick 5s [node2 …]                 time passes; other nodes named speak every second
//	exit task1 1                      a container ends by itself
//	elect / depose / leader node2
//	hold log|runtime|network|peers    answers wait to be given by the next commands
//	release …
//	commit / verified / returned / pulled / created / started / probed / exited / removed / networked [task|-] [error]
//	lose                              proposals that wait never commit
//	append                            the log commits an entry of its own
//	join node2                        another leader commits a node
//	certify VERSION LIFE [AGE]        the node has another certificate
//	adjust DURATION                   the time of day is set
//	receive node2 bye LEADER@ADDRESS
//	receive node2 hello [certificate=N] | heartbeat | report task1=running …
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			t.Skip("not a story")
		}
		s := script{Harness: enginetest.NewHarness()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.command(t, d)
			out := s.Take()
			for _, f := range s.Faults() {
				t.Errorf("%s: the contract is broken: %s", d.Pos, f)
			}
			return out
		})
	})
}

type script struct{ *enginetest.Harness }

func (s script) command(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	var words []string
	for _, a := range d.CmdArgs {
		words = append(words, strings.Join(append([]string{a.Key}, a.Vals...), "="))
	}
	words = append(words, strings.Fields(d.Input)...) // what the line's own grammar does not allow
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch d.Cmd {
	case "start":
		s.Start()
	case "found":
		s.Found()
	case "call":
		s.Call(s.call(t, d, words))
	case "forwarded":
		s.CallForwarded(s.call(t, d, words))
	case "tick":
		s.tick(t, d, arg(0), words[1:])
	case "exit":
		code, err := strconv.Atoi(arg(1))
		if err != nil {
			t.Fatalf("%s: exit TASK CODE: %v", d.Pos, err)
		}
		s.Exit(state.TaskID(s.Names.ID(arg(0))), code)
	case "elect":
		s.Elect()
	case "depose":
		s.Depose()
	case "leader":
		s.Lead(state.NodeID(s.Names.ID(arg(0))))
	case "hold", "release":
		s.Hold(arg(0), d.Cmd == "hold")
	case "lose":
		s.Lose()
	case "append":
		s.Commit(func(*state.Draft) {})
	case "join":
		s.join(arg(0))
	case "certify":
		s.certify(t, d, arg(0), arg(1), arg(2))
	case "adjust":
		by, err := time.ParseDuration(arg(0))
		if err != nil {
			t.Fatalf("%s: adjust DURATION: %v", d.Pos, err)
		}
		s.Adjust(by)
	case "receive":
		s.receive(t, d, words)
	default:
		if !s.Answer(d.Cmd, strings.TrimPrefix(s.Names.ID(arg(0)), "-"), strings.Join(words[min(1, len(words)):], " ")) {
			t.Fatalf("%s: nothing waits for %q", d.Pos, d.Cmd)
		}
	}
}

// tick lets time pass a second at a time, in each of which the nodes named speak.
func (s script) tick(t *testing.T, d *datadriven.TestData, pause string, nodes []string) {
	t.Helper()
	left, err := time.ParseDuration(pause)
	if err != nil {
		t.Fatalf("%s: tick DURATION [NODE…]: %v", d.Pos, err)
	}
	for left > 0 {
		step := min(left, time.Second)
		s.Pass(step)
		left -= step
		for _, n := range nodes {
			s.beat(state.NodeID(s.Names.ID(n)))
		}
	}
}

func (s script) certify(t *testing.T, d *datadriven.TestData, version, life, age string) {
	t.Helper()
	if age == "" {
		age = "0s"
	}
	v, errV := strconv.ParseUint(version, 10, 64)
	l, errL := time.ParseDuration(life)
	a, errA := time.ParseDuration(age)
	if errV != nil || errL != nil || errA != nil {
		t.Fatalf("%s: certify VERSION LIFE [AGE]: %v %v %v", d.Pos, errV, errL, errA)
	}
	s.Certify(v, l, a)
}

func (s script) beat(n state.NodeID) {
	a := s.Assigned(n)
	s.Receive(n, wire.Heartbeat{Session: a.Session, Sequence: a.Sequence})
}

func (s script) join(name string) {
	id := state.NodeID("id-of-" + name)
	s.Names.Name("node", string(id))
	s.Commit(func(d *state.Draft) {
		d.PutNode(&state.Node{
			ID: id, SpecVersion: d.Version(), State: state.NodeReady, Addr: "10.0.0.2",
			Spec:        swarm.NodeSpec{Role: swarm.NodeRoleWorker, Availability: swarm.NodeAvailabilityActive},
			Description: description(name),
		})
	})
}

func description(name string) swarm.NodeDescription {
	return swarm.NodeDescription{
		Hostname: name, Platform: swarm.Platform{Architecture: "x86_64", OS: "linux"},
		Resources: swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30},
	}
}

func (s script) receive(t *testing.T, d *datadriven.TestData, words []string) {
	t.Helper()
	if len(words) < 2 {
		t.Fatalf("%s: receive NODE hello|heartbeat|report …", d.Pos)
	}
	from := state.NodeID(s.Names.ID(words[0]))
	session := s.Assigned(from).Session
	switch words[1] {
	case "hello":
		hello := wire.Hello{Session: session + 1, Addr: "10.0.0.2", Description: description(words[0])}
		for _, w := range words[2:] {
			if version, ok := strings.CutPrefix(w, "certificate="); ok {
				hello.Certificate, _ = strconv.ParseUint(version, 10, 64)
			}
		}
		s.Receive(from, hello)
	case "bye":
		leader, addr, _ := strings.Cut(words[len(words)-1], "@")
		s.Receive(from, wire.Bye{Leader: state.NodeID(leader), Addr: addr})
	case "heartbeat":
		s.beat(from)
	case "report":
		m := wire.Report{Session: session}
		for _, w := range words[2:] {
			name, what, _ := strings.Cut(w, "=")
			m.Statuses = append(m.Statuses, wire.Status{
				Task:   state.TaskID(s.Names.ID(name)),
				Status: state.TaskStatus{State: taskState(t, what), At: state.Wall(s.Now.UnixNano())},
			})
		}
		s.Receive(from, m)
	default:
		t.Fatalf("%s: no message is called %q", d.Pos, words[1])
	}
}

func taskState(t *testing.T, name string) state.TaskState {
	t.Helper()
	for i := state.TaskNew; i <= state.TaskOrphaned; i++ {
		if i.String() == name {
			return i
		}
	}
	t.Fatalf("no task state is called %q", name)
	return 0
}

// call parses an API call as the docker CLI has it, as far as the stories need it.
func (s script) call(t *testing.T, d *datadriven.TestData, words []string) control.Call {
	t.Helper()
	if len(words) == 1 && words[0] == "info" {
		return control.Info{}
	}
	if len(words) < 2 {
		t.Fatalf("%s: call OBJECT VERB …", d.Pos)
	}
	rest := words[2:]
	ref := ""
	if len(rest) > 0 {
		ref = rest[len(rest)-1]
	}
	switch words[0] + " " + words[1] {
	case "swarm init":
		init := control.SwarmInit{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", ForceNewCluster: ref == "--force-new-cluster"}
		if init.ForceNewCluster {
			init.AdvertiseAddr = "10.9.9.9:2377" // the machine has moved
		}
		return init
	case "swarm join":
		return control.SwarmJoin{
			ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "10.0.0.1:2377", RemoteAddrs: []string{ref},
			JoinToken: "SWMTKN-1-" + strings.Repeat("1", 50) + "-" + strings.Repeat("2", 25),
		}
	case "swarm update":
		return s.swarmUpdate(t, d, rest)
	case "swarm unlock":
		return control.SwarmUnlock{Key: map[string]string{"right": s.UnlockKey(), "wrong": "SWMKEY-1-AAAA"}[ref]}
	case "swarm leave":
		return control.SwarmLeave{Force: ref == "--force"}
	case "node rm":
		return control.NodeRemove{Ref: s.Names.ID(ref), Force: true}
	case "node ls":
		return control.NodeList{}
	case "node update":
		return s.nodeUpdate(t, d, rest)
	case "service create":
		var spec swarm.ServiceSpec
		s.flags(t, d, &spec, rest)
		return control.ServiceCreate{Spec: spec}
	case "service update":
		return s.serviceUpdate(t, d, ref, rest[:len(rest)-1])
	case "service scale":
		name, n, _ := strings.Cut(ref, "=")
		return s.serviceUpdate(t, d, name, []string{"--replicas", n})
	case "service rm":
		return control.ServiceRemove{Ref: ref}
	case "service ls":
		return control.ServiceList{Status: true}
	case "service ps":
		return control.TaskList{Filters: control.Filters{"service": {ref}}}
	default:
		t.Fatalf("%s: the stories know no call %q", d.Pos, words[:2])
		return nil
	}
}

func (s script) swarmUpdate(t *testing.T, d *datadriven.TestData, args []string) control.Call {
	t.Helper()
	c := s.Store().Draft().Cluster()
	call := control.SwarmUpdate{Version: c.SpecVersion, Spec: c.Spec}
	f := flag.NewFlagSet("swarm", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&call.Spec.EncryptionConfig.AutoLockManagers, "autolock", call.Spec.EncryptionConfig.AutoLockManagers, "")
	f.BoolVar(&call.RotateUnlock, "rotate-unlock-key", false, "")
	rotate := f.Bool("rotate-ca", false, "")
	f.StringVar(&call.Spec.CAConfig.SigningCACert, "ca-cert", "", "")
	f.StringVar(&call.Spec.CAConfig.SigningCAKey, "ca-key", "", "")
	if err := f.Parse(args); err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	if *rotate {
		call.Spec.CAConfig.ForceRotate++
	}
	return call
}

func (s script) nodeUpdate(t *testing.T, d *datadriven.TestData, args []string) control.Call {
	t.Helper()
	if len(args) != 3 || args[0] != "--availability" && args[0] != "--role" {
		t.Fatalf("%s: node update --availability|--role WHAT NODE", d.Pos)
	}
	id := state.NodeID(s.Names.ID(args[2]))
	n := s.Store().Draft().Node(id)
	spec := n.Spec
	if args[0] == "--role" {
		spec.Role = swarm.NodeRole(args[1])
	} else {
		spec.Availability = swarm.NodeAvailability(args[1])
	}
	return control.NodeUpdate{Ref: string(id), Version: n.SpecVersion, Spec: spec}
}

func (s script) serviceUpdate(t *testing.T, d *datadriven.TestData, name string, args []string) control.Call {
	t.Helper()
	service := s.Store().Draft().ServiceByName(name)
	if service == nil {
		t.Fatalf("%s: no service is called %q", d.Pos, name)
	}
	spec := service.Spec
	c := *spec.TaskTemplate.ContainerSpec
	spec.TaskTemplate.ContainerSpec = &c
	s.flags(t, d, &spec, append([]string{"--name", name}, args...))
	return control.ServiceUpdate{Ref: string(service.ID), Version: service.SpecVersion, Spec: spec}
}

// flags reads the flags of docker service create and update into a spec.
func (s script) flags(t *testing.T, d *datadriven.TestData, spec *swarm.ServiceSpec, args []string) {
	t.Helper()
	f := flag.NewFlagSet("service", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&spec.Name, "name", spec.Name, "")
	replicas := f.Int("replicas", -1, "")
	image := f.String("image", "", "")
	publish := f.String("publish", "", "")
	delay := f.Duration("restart-delay", -1, "")
	condition := f.String("restart-condition", "", "")
	order := f.String("update-order", "", "")
	monitor := f.Duration("update-monitor", -1, "")
	if err := f.Parse(args); err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	if spec.TaskTemplate.ContainerSpec == nil {
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: f.Arg(0)}
	}
	if *image != "" {
		spec.TaskTemplate.ContainerSpec.Image = *image
	}
	if *replicas >= 0 {
		n := uint64(*replicas)
		spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
	}
	if *publish != "" {
		published, target, _ := strings.Cut(*publish, ":")
		p, errP := strconv.ParseUint(published, 10, 16)
		q, errQ := strconv.ParseUint(target, 10, 16)
		if errP != nil || errQ != nil {
			t.Fatalf("%s: --publish PORT:PORT", d.Pos)
		}
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{
			Protocol: network.TCP, PublishedPort: uint32(p), TargetPort: uint32(q), PublishMode: swarm.PortConfigPublishModeIngress,
		}}}
	}
	if *delay >= 0 || *condition != "" {
		policy := swarm.RestartPolicy{Condition: swarm.RestartPolicyCondition(*condition)}
		if *delay >= 0 {
			policy.Delay = delay
		}
		spec.TaskTemplate.RestartPolicy = &policy
	}
	if *order != "" || *monitor >= 0 {
		spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrder(*order), Monitor: max(0, *monitor)}
	}
}
