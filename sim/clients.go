package sim

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
)

// OperationLabel is the label of a service by which a write can be told from every
// other: its value is the operation's number.
const OperationLabel = "sim.operation"

// operationPatience is how long a client waits for an answer; afterwards it does
// not know what became of its call.
const operationPatience = 20 * time.Second

// An OperationKind is something that a client does.
type OperationKind string

// What clients do.
const (
	Create  OperationKind = "create"
	Inspect OperationKind = "inspect"
	Update  OperationKind = "update" // the labels
	Scale   OperationKind = "scale"
	Remove  OperationKind = "remove"
	List    OperationKind = "list"
)

// An Operation is one call of a client, with what is known of its outcome.
type Operation struct {
	Number  uint64 // unique in the run, from 1
	Client  int
	Kind    OperationKind
	Name    string // of the service; "" for List
	Version uint64 // presented by an update
	Request engine.RequestID

	Called   time.Duration
	Returned time.Duration
	Answer   control.Answer // nil: none came in time, the outcome is not known
}

// A Mix says how often clients do what, each kind by its weight.
type Mix map[OperationKind]int

// DefaultMix writes about as much as it reads.
func DefaultMix() Mix {
	return Mix{Create: 3, Inspect: 4, Update: 3, Scale: 2, Remove: 2, List: 1}
}

// ClientsConfig says what concurrent clients do.
type ClientsConfig struct {
	Clients  int
	Services int           // how many names they fight over; 0 is 3
	Until    time.Duration // virtual time after which nothing more is called
	Think    time.Duration // mean between an answer and the next call; 0 is 200 ms
	Mix      Mix           // nil is [DefaultMix]
	// LoseRequest and LoseAnswer are probabilities that a call, or its answer, is
	// lost between the client and the manager.
	LoseRequest, LoseAnswer float64
}

// Clients use the API concurrently, each one call at a time, and remember all
// that they did.
type Clients struct {
	Operations []*Operation

	w       *World
	config  ClientsConfig
	kinds   []OperationKind // each as often as its weight
	waiting int
}

// StartClients lets clients loose on a world. What they draw comes from a stream
// of each client's own.
func (w *World) StartClients(c ClientsConfig) *Clients {
	if c.Services == 0 {
		c.Services = 3
	}
	if c.Think == 0 {
		c.Think = 200 * time.Millisecond
	}
	if c.Mix == nil {
		c.Mix = DefaultMix()
	}
	s := &Clients{w: w, config: c}
	for _, kind := range []OperationKind{Create, Inspect, Update, Scale, Remove, List} {
		for range c.Mix[kind] {
			s.kinds = append(s.kinds, kind)
		}
	}
	for i := range c.Clients {
		k := &client{Clients: s, number: i, draws: newStream(w.seed, "client/"+strconv.Itoa(i)), read: map[string]*reading{}}
		w.after(k.draws.Exponential(c.Think), k.act)
	}
	return s
}

// Waiting is how many clients wait for an answer.
func (s *Clients) Waiting() int { return s.waiting }

// A reading is what a client last read of a service.
type reading struct {
	version uint64
	spec    swarm.ServiceSpec
}

type client struct {
	*Clients
	number int
	draws  *Stream
	read   map[string]*reading
}

// act makes the client's next call.
func (k *client) act() {
	if k.w.Now() >= k.config.Until || k.w.stopped {
		return
	}
	var managers []*Host
	for _, h := range k.w.Hosts {
		if h.Manager && h.Running() {
			managers = append(managers, h)
		}
	}
	name := fmt.Sprintf("service-%d", k.draws.N(k.config.Services))
	kind := Pick(k.draws, k.kinds)
	to := k.draws.Uint64()
	if len(managers) == 0 {
		k.again()
		return
	}
	if (kind == Update || kind == Scale) && k.read[name] == nil {
		kind = Inspect
	}
	op := &Operation{Number: uint64(len(k.Operations) + 1), Client: k.number, Kind: kind, Name: name, Called: k.w.Now()}
	call := k.call(op)
	k.Operations = append(k.Operations, op)
	k.send(op, managers[to%uint64(len(managers))], call)
}

// call is what is said to the swarm.
func (k *client) call(op *Operation) control.Call {
	number := strconv.FormatUint(op.Number, 10)
	switch op.Kind {
	case Create:
		replicas := uint64(k.draws.N(3))
		return control.ServiceCreate{Spec: swarm.ServiceSpec{
			Annotations:  swarm.Annotations{Name: op.Name, Labels: map[string]string{OperationLabel: number}},
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx:alpine"}},
			Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		}}
	case Update, Scale:
		last := k.read[op.Name]
		op.Version = last.version
		spec := last.spec
		spec.Labels = maps.Clone(spec.Labels)
		if spec.Labels == nil {
			spec.Labels = map[string]string{}
		}
		spec.Labels[OperationLabel] = number
		if op.Kind == Scale {
			replicas := uint64(k.draws.N(4))
			spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}
		}
		return control.ServiceUpdate{Ref: op.Name, Version: op.Version, Spec: spec}
	case Remove:
		return control.ServiceRemove{Ref: op.Name}
	case List:
		op.Name = ""
		return control.ServiceList{}
	default:
		return control.ServiceInspect{Ref: op.Name}
	}
}

// send takes the call to a manager and waits for what comes back.
func (k *client) send(op *Operation, to *Host, call control.Call) {
	k.waiting++
	over := false
	finish := func(answer control.Answer) {
		if over {
			return
		}
		over = true
		k.waiting--
		op.Answer, op.Returned = answer, k.w.Now()
		k.learn(op)
		k.again()
	}
	k.w.after(operationPatience, func() {
		if !over {
			k.w.Probe("client never heard of its call")
		}
		finish(nil)
	})
	if k.draws.Chance(k.config.LoseRequest) {
		k.w.Probe("request lost")
		return
	}
	loseAnswer := k.draws.Chance(k.config.LoseAnswer)
	there, back := k.delay(), k.delay()
	k.w.after(there, func() {
		op.Request = k.w.Call(to, call, func(a control.Answer) {
			if loseAnswer {
				k.w.Probe("answer lost")
				return
			}
			k.w.after(back, func() { finish(a) })
		})
	})
}

func (k *client) delay() time.Duration {
	return 100*time.Microsecond + k.draws.Exponential(500*time.Microsecond)
}

// learn remembers what a client needs for its next update.
func (k *client) learn(op *Operation) {
	if a, ok := op.Answer.(control.Services); ok && op.Kind == Inspect && len(a.Services) == 1 {
		k.read[op.Name] = &reading{a.Services[0].SpecVersion, a.Services[0].Spec}
	}
}

func (k *client) again() { k.w.after(k.draws.Exponential(k.config.Think), k.act) }
