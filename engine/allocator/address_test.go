package allocator_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/allocator"
	"github.com/swarmd/swarmd/engine/state"
)

// A land is a store with networks, and the memory of which addresses are used.
type land struct {
	store     *state.Store
	addresses *allocator.Addresses
	wall      state.Wall
}

func newLand() *land {
	l := &land{store: state.NewStore()}
	d := l.store.Draft()
	d.PutCluster(&state.Cluster{ID: "c", Format: state.FormatNewest})
	l.store.Apply(1, d.Changes())
	l.elect()
	return l
}

// elect has a new leader rebuild what it remembers.
func (l *land) elect() { l.addresses = allocator.NewAddresses(l.store.Draft()) }

// change commits what do does, and gives out addresses until nobody can be served.
func (l *land) change(do func(d *state.Draft)) {
	l.wall++
	d := l.store.Draft()
	do(d)
	delta := d.Take()
	l.addresses.Observe(&delta)
	for range 10 {
		if !l.addresses.Pending() {
			break
		}
		l.addresses.Assign(d, l.wall)
		delta := d.Take()
		l.addresses.Observe(&delta)
	}
	l.store.Apply(l.store.Index()+1, d.Changes())
}

func addNetwork(id string, subnets ...string) func(d *state.Draft) {
	return func(d *state.Draft) {
		n := &state.Network{ID: state.NetworkID(id)}
		n.Spec.Name, n.Spec.Ingress = id, id == "ingress"
		for _, s := range subnets {
			n.Subnets = append(n.Subnets, netip.MustParsePrefix(s))
		}
		d.PutNetwork(n)
	}
}

// serve makes a service on networks, "ingress" for a published port, with tasks.
func serve(id string, tasks int, networks ...string) func(d *state.Draft) {
	return func(d *state.Draft) {
		s := &state.Service{ID: state.ServiceID(id), Template: d.Version(), SpecVersion: d.Version()}
		for _, n := range networks {
			if n == "ingress" {
				s.Ports = []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeIngress}}
				continue
			}
			s.Spec.TaskTemplate.Networks = append(s.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: n})
		}
		d.PutTemplate(&state.Template{Service: s.ID, Version: s.Template, Ports: s.Ports, Spec: s.Spec.TaskTemplate})
		d.PutService(s)
		for i := range tasks {
			d.PutTask(&state.Task{ID: state.TaskID(fmt.Sprintf("%s.%d", id, i+1)), Service: s.ID, Slot: uint64(i + 1), Template: s.Template, Desired: state.TaskRunning})
		}
	}
}

// end has a task end as its node says.
func end(id string, as state.TaskState) func(d *state.Draft) {
	return func(d *state.Draft) {
		t := *d.Task(state.TaskID(id))
		t.Status.State = as
		d.PutTask(&t)
	}
}

// has says what somebody has: of a task its addresses, and in the mesh, or why it
// waits.
func (l *land) has(id string) string {
	d := l.store.Draft()
	if t := d.Task(state.TaskID(id)); t != nil {
		var words []string
		for _, a := range t.Addresses {
			words = append(words, a.String())
		}
		if t.Mesh.IsValid() {
			words = append(words, "mesh "+t.Mesh.String())
		}
		if t.Status.Err != "" {
			words = append(words, t.Status.Err)
		}
		return strings.Join(words, " ")
	}
	if s := d.Service(state.ServiceID(id)); s != nil {
		var words []string
		for _, v := range s.VIPs {
			words = append(words, fmt.Sprintf("%s %s", v.Network, v.Address))
		}
		return strings.Join(words, ", ")
	}
	if n := d.Node(state.NodeID(id)); n != nil {
		return n.Mesh.String()
	}
	return "gone"
}

func (l *land) want(t *testing.T, id, want string) {
	t.Helper()
	if got := l.has(id); got != want {
		t.Errorf("%s has %q, want %q", id, got, want)
	}
}

// Nodes, services and their tasks have addresses in the commit that makes them.
func TestBornWithAddresses(t *testing.T) {
	l := newLand()
	l.change(addNetwork("ingress", "10.0.0.1/24"))
	l.change(addNetwork("front", "10.0.1.1/24", "fd00::1/64"))
	l.change(func(d *state.Draft) { d.PutNode(&state.Node{ID: "n1"}) })
	l.change(serve("web", 2, "front", "ingress"))
	l.want(t, "n1", "10.0.0.2")
	l.want(t, "web", "ingress 10.0.0.3/24, front 10.0.1.2/24")
	l.want(t, "web.1", "10.0.1.3 fd00::2 mesh 10.0.0.4")
	l.want(t, "web.2", "10.0.1.4 fd00::3 mesh 10.0.0.5")
	l.change(serve("plain", 1))
	l.want(t, "plain", "")
	l.want(t, "plain.1", "")
}

// An address is not given again at once, whoever leads; one of a task that may be
// running still is not given at all.
func TestNotGivenAgainSoon(t *testing.T) {
	l := newLand()
	l.change(addNetwork("front", "10.0.1.1/28"))
	l.change(serve("a", 2, "front"))
	l.want(t, "a.2", "10.0.1.4")
	l.change(end("a.1", state.TaskShutdown))
	l.change(serve("b", 1, "front"))
	l.want(t, "b.1", "10.0.1.6")
	l.elect()
	l.change(end("a.2", state.TaskOrphaned))
	l.change(serve("c", 6, "front"))
	l.want(t, "c", "front 10.0.1.7/28")
	l.want(t, "c.6", "10.0.1.13")
	l.change(serve("d", 2, "front"))
	l.want(t, "d", "front 10.0.1.14/28")
	l.want(t, "d.1", "10.0.1.3")
	l.want(t, "d.2", "no available IPv4 addresses on this network's address pools: front (front)")
	l.change(func(d *state.Draft) { d.DeleteTask("a.2") })
	l.want(t, "d.2", "10.0.1.4")
}

// A full ingress network holds nobody up.
func TestFullMesh(t *testing.T) {
	l := newLand()
	l.change(addNetwork("ingress", "10.0.0.1/29"))
	l.change(serve("web", 6, "ingress"))
	l.want(t, "web.4", "mesh 10.0.0.6")
	l.want(t, "web.5", "")
}

// A removed network is forgotten when the last task that has an address of it has
// ended.
func TestRemovedNetwork(t *testing.T) {
	l := newLand()
	l.change(addNetwork("front", "10.0.1.1/24"))
	l.change(serve("a", 1, "front"))
	l.change(func(d *state.Draft) {
		d.DeleteService("a")
		gone := *d.Network("front")
		gone.Removed = true
		d.PutNetwork(&gone)
	})
	if l.store.Draft().Network("front") == nil {
		t.Error("a task is on it still")
	}
	l.elect()
	l.change(end("a.1", state.TaskShutdown))
	if l.store.Draft().Network("front") != nil {
		t.Error("nobody is on it any more")
	}
}

// The ingress network is made anew: nodes move to it.
func TestIngressAnew(t *testing.T) {
	l := newLand()
	l.change(addNetwork("ingress", "10.0.0.1/24"))
	l.change(func(d *state.Draft) { d.PutNode(&state.Node{ID: "n1"}) })
	l.change(func(d *state.Draft) {
		gone := *d.Network("ingress")
		gone.Removed = true
		d.PutNetwork(&gone)
	})
	l.want(t, "n1", "invalid IP")
	l.change(func(d *state.Draft) {
		n := &state.Network{ID: "roads", Subnets: []netip.Prefix{netip.MustParsePrefix("10.50.0.1/24")}}
		n.Spec.Ingress = true
		d.PutNetwork(n)
	})
	l.want(t, "n1", "10.50.0.2")
}

// How what one leader knows differs from what another does is told, either way round.
func TestDifference(t *testing.T) {
	l := newLand()
	l.change(addNetwork("front", "10.0.1.1/24"))
	before := allocator.NewAddresses(l.store.Draft())
	l.change(serve("web", 1, "front"))
	after := allocator.NewAddresses(l.store.Draft())
	l.change(addNetwork("back", "10.0.2.1/24"))
	for _, test := range []struct {
		a, b *allocator.Addresses
		want string
	}{
		{after, after, ""},
		{before, after, `10.0.1.2 is free, and used by "service web"`},
		{after, before, `10.0.1.2 is used by "service web", and by ""`},
		{after, allocator.NewAddresses(l.store.Draft()), "1 pools, and 2"},
	} {
		if got := test.a.Difference(test.b); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// Before the swarm's format has networks nothing is given out.
func TestFormatGate(t *testing.T) {
	l := newLand()
	l.change(func(d *state.Draft) { d.PutCluster(&state.Cluster{ID: "c", Format: state.FormatFirst}) })
	l.change(addNetwork("ingress", "10.0.0.1/24"))
	l.change(serve("web", 1, "ingress"))
	l.want(t, "web.1", "")
}

// Services, tasks and leaders come and go at random. No address is anybody's twice,
// and who waits waits for a network that is full.
func TestNoAddressTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLand()
		l.change(addNetwork("ingress", "10.0.0.1/28"))
		l.change(addNetwork("front", "10.0.1.1/28"))
		l.change(addNetwork("back", "10.0.2.1/28", "fd00::1/126"))
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			id := fmt.Sprintf("s%d", rapid.IntRange(0, 4).Draw(t, "service"))
			there := l.store.Draft().Service(state.ServiceID(id)) != nil
			switch step := rapid.IntRange(0, 3).Draw(t, "step"); {
			case step == 0:
				l.elect()
			case step == 1 && there:
				l.change(func(d *state.Draft) {
					d.DeleteService(state.ServiceID(id))
					for i := range 5 {
						d.DeleteTask(state.TaskID(fmt.Sprintf("%s.%d", id, i+1)))
					}
				})
			case step == 2 && there:
				l.change(func(d *state.Draft) {
					task := fmt.Sprintf("%s.%d", id, rapid.IntRange(1, 2).Draw(t, "task"))
					if o := d.Task(state.TaskID(task)); o != nil && !o.Status.State.Terminal() {
						end(task, state.TaskShutdown)(d)
					}
				})
			case !there:
				on := rapid.SampledFrom([][]string{{"front"}, {"front", "back"}, {"ingress"}, {"ingress", "back"}, {}}).Draw(t, "on")
				l.change(serve(id, rapid.IntRange(0, 5).Draw(t, "tasks"), on...))
			}
			l.check(t)
		}
	})
}

func (l *land) check(t *rapid.T) {
	taken := map[netip.Addr]string{}
	take := func(a netip.Addr, who string) {
		if other, twice := taken[a]; twice {
			t.Fatalf("%s is %s's and %s's", a, other, who)
		}
		taken[a] = who
	}
	d := l.store.Draft()
	if text := l.addresses.Difference(allocator.NewAddresses(d)); text != "" {
		t.Fatalf("a leader remembers something else than the store says: %s", text)
	}
	for s := range d.Services() {
		for _, v := range s.VIPs {
			take(v.Address.Addr(), string(s.ID))
		}
	}
	for task := range d.Tasks() {
		if task.Status.State.Terminal() {
			continue
		}
		for _, a := range task.Addresses {
			take(a, string(task.ID))
		}
		if task.Mesh.IsValid() {
			take(task.Mesh, string(task.ID))
		}
		if !task.Addressed(d.Template(task.Service, task.Template)) && task.Status.Err == "" {
			t.Fatalf("%s waits without a reason", task.ID)
		}
	}
}
