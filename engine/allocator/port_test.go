package allocator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/allocator"
	"github.com/swarmd/swarmd/engine/state"
)

// A world is a store and the memory of who waits for a port.
type world struct {
	store *state.Store
	ports *allocator.Ports
}

func newWorld() *world {
	s := state.NewStore()
	return &world{s, allocator.New(s.Draft())}
}

// change commits what do does, and gives out ports until nobody can be served.
func (w *world) change(do func(d *state.Draft)) {
	d := w.store.Draft()
	do(d)
	delta := d.Take()
	w.ports.Observe(&delta)
	for w.ports.Pending() {
		w.ports.Assign(d)
		delta := d.Take()
		w.ports.Observe(&delta)
	}
	w.store.Apply(w.store.Index()+1, d.Changes())
}

// publish has a service publish target ports, each under a number of its choice,
// 0 for none: "80", "53/udp", "80=8080", "80=8080/host".
func publish(id string, specs ...string) func(d *state.Draft) {
	return func(d *state.Draft) {
		s := &state.Service{ID: state.ServiceID(id), Template: d.Version()}
		for _, spec := range specs {
			p := swarm.PortConfig{Protocol: network.TCP, PublishMode: swarm.PortConfigPublishModeIngress}
			number, option, _ := strings.Cut(spec, "/")
			switch option {
			case "udp":
				p.Protocol = network.UDP
			case "host":
				p.PublishMode = swarm.PortConfigPublishModeHost
			}
			if _, err := fmt.Sscanf(number, "%d=%d", &p.TargetPort, &p.PublishedPort); err != nil {
				_, _ = fmt.Sscanf(number, "%d", &p.TargetPort)
			}
			s.Ports = append(s.Ports, p)
		}
		d.PutTemplate(&state.Template{Service: s.ID, Version: s.Template, Ports: s.Ports})
		d.PutService(s)
	}
}

// published says what a service publishes.
func (w *world) published(id string) string {
	d := w.store.Draft()
	s := d.Service(state.ServiceID(id))
	var words []string
	for _, p := range s.Ports {
		words = append(words, fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol))
	}
	text := strings.Join(words, " ")
	if made := d.Template(s.ID, s.Template); fmt.Sprint(made.Ports) != fmt.Sprint(s.Ports) {
		text += fmt.Sprintf(", but its tasks %v", made.Ports)
	}
	return text
}

func (w *world) want(t *testing.T, id, want string) {
	t.Helper()
	if got := w.published(id); got != want {
		t.Errorf("%s publishes %s, want %s", id, got, want)
	}
}

// Ports are given out lowest first, tcp and udp separately, around those that
// somebody chose; in the service and in what its tasks are made from.
func TestLowestFirst(t *testing.T) {
	w := newWorld()
	w.change(publish("a", "80", "81", "53/udp"))
	w.want(t, "a", "30000/tcp 30001/tcp 30000/udp")
	w.change(publish("b", "80=30002", "81", "9/host"))
	w.want(t, "b", "30002/tcp 30003/tcp 0/tcp") // a host's own ports the host chooses
	w.change(func(d *state.Draft) { d.DeleteService("a") })
	w.change(publish("c", "80"))
	w.want(t, "c", "30000/tcp")
}

// All ports are given out. Who asks for another waits until one is given up, in
// whatever way, and a new leader knows who waits.
func TestWaitingForAPort(t *testing.T) {
	w := newWorld()
	var all []string
	for i := range int(allocator.PortLast - allocator.PortFirst + 1) {
		all = append(all, fmt.Sprint(i+1))
	}
	w.change(publish("full", all...))
	w.change(publish("late", "80"))
	w.change(publish("later", "80"))
	w.want(t, "late", "0/tcp")
	if w.ports.Pending() {
		t.Error("there is nothing to give out, and it is tried again")
	}
	w.change(func(d *state.Draft) { // a part of its ports
		s := *d.Service("full")
		s.Ports = s.Ports[1:]
		d.PutService(&s)
	})
	w.want(t, "late", "30000/tcp")
	w.want(t, "later", "0/tcp")
	w.ports = allocator.New(w.store.Draft())
	w.change(func(d *state.Draft) { d.DeleteService("full") })
	w.want(t, "later", "30001/tcp")
}

// A status written to a service that waits, or to any other, is no reason to try
// again.
func TestStatusIsNoReason(t *testing.T) {
	w := newWorld()
	w.change(publish("a", "80"))
	d := w.store.Draft()
	s := *d.Service("a")
	s.Update = &state.Update{}
	d.PutService(&s)
	delta := d.Take()
	w.ports.Observe(&delta)
	if w.ports.Pending() {
		t.Error("nothing of its ports has changed")
	}
}

// Services come and go at random. No port is published twice, nobody waits while
// one is free, and what was given out stays.
func TestNoPortTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := fmt.Sprintf("s%d", rapid.IntRange(0, 5).Draw(t, "service"))
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				w.change(func(d *state.Draft) { d.DeleteService(state.ServiceID(id)) })
			case 1:
				w.ports = allocator.New(w.store.Draft())
			default:
				w.change(publish(id, rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "3/udp", "4/host"}), 0, 4).Draw(t, "ports")...))
			}
			taken := map[string]state.ServiceID{}
			for s := range w.store.Draft().Services() {
				for _, p := range s.Ports {
					key := fmt.Sprintf("%d/%s", p.PublishedPort, p.Protocol)
					switch {
					case p.PublishMode == swarm.PortConfigPublishModeHost:
					case p.PublishedPort == 0:
						t.Fatalf("%s waits for a port", s.ID)
					case taken[key] != "":
						t.Fatalf("%s is published by %s and %s", key, taken[key], s.ID)
					default:
						taken[key] = s.ID
					}
				}
			}
		}
	})
}
