package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// networkTriesMax is how often a plan may fail as a whole before the tasks that
// wait for it are given up; it is tried on for the others.
const networkTriesMax = 4

// The ports that a host-mode publication without a number is given, as Docker's:
// Linux's ephemeral ports.
const (
	hostPortFirst = 32768
	hostPortLast  = 60999
)

// network is the network that the tasks call for.
type network struct {
	gateway    netip.Prefix
	generation uint64 // of the newest plan
	applied    uint64 // the newest that is known to be made
	dirty      bool   // another plan is called for

	failures int // of plans, one after another
	retryAt  time.Time

	endpoints []*task // by ID
	addresses map[netip.Addr]state.TaskID
	sockets   map[socket]int // how many tasks publish a port
	lastAddr  netip.Addr
	lastPort  uint32
	waiting   []*task // for a generation to be made
}

// A socket is what one task can have of a host.
type socket struct {
	protocol string
	port     uint32
}

func newNetwork(gateway netip.Prefix) network {
	return network{
		gateway:   gateway,
		addresses: make(map[netip.Addr]state.TaskID),
		sockets:   make(map[socket]int),
		lastAddr:  gateway.Addr(),
		lastPort:  hostPortFirst - 1,
	}
}

// endpoint returns where a task's endpoint is, or would be, in the list.
func (n *network) endpoint(id state.TaskID) (int, bool) {
	return slices.BinarySearchFunc(n.endpoints, id, func(t *task, id state.TaskID) int { return cmp.Compare(t.id, id) })
}

// upcoming is the generation that will have what changes now.
func (n *network) upcoming() uint64 {
	n.dirty = true
	return n.generation + 1
}

// address finds a free address: the next one after that which was given last, so
// that none is used again soon.
func (n *network) address() (netip.Addr, error) {
	subnet := n.gateway.Masked()
	at := n.lastAddr
	if mutant.On(mutant.AddressReused) {
		at = n.gateway.Addr()
	}
	for wrapped := 0; wrapped < 2; {
		at = at.Next()
		if !subnet.Contains(at) || !subnet.Contains(at.Next()) { // past the end, or broadcast
			at = subnet.Addr()
			wrapped++
			continue
		}
		if _, used := n.addresses[at]; !used && at != n.gateway.Addr() {
			return at, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is free in %s: %d are in use on this node", subnet, len(n.addresses))
}

// hostPort finds a port for a host-mode publication that names none. It is not
// one of the task's own either.
func (n *network) hostPort(protocol string, own []swarm.PortConfig) (uint32, error) {
	for range hostPortLast - hostPortFirst + 1 {
		if n.lastPort++; n.lastPort > hostPortLast {
			n.lastPort = hostPortFirst
		}
		s := socket{protocol, n.lastPort}
		taken := func(p swarm.PortConfig) bool { return socketOf(p) == s }
		if n.sockets[s] == 0 && !slices.ContainsFunc(own, taken) {
			return n.lastPort, nil
		}
	}
	return 0, fmt.Errorf("no %s port is free on this node between %d and %d", protocol, hostPortFirst, hostPortLast)
}

// join gives a task its place in the network: an address, and the ports that
// the node chooses.
func (a *Agent) join(t *task) error {
	p, err := a.planOf(t)
	if err != nil {
		return err
	}
	address, err := a.network.address()
	if err != nil {
		return err
	}
	t.plan = p
	a.network.lastAddr = address
	a.enter(t, address)
	return nil
}

// enter notes a task's place in the network. The task's ports must be set.
func (a *Agent) enter(t *task, address netip.Addr) {
	n := &a.network
	t.address = address
	t.joined = n.upcoming()
	if i, found := n.endpoint(t.id); !found {
		n.endpoints = slices.Insert(n.endpoints, i, t)
	}
	n.addresses[address] = t.id
	for _, p := range t.plan.Ports {
		n.sockets[socketOf(p)]++
	}
	n.waiting = append(n.waiting, t)
}

// leave takes a task out of the network.
func (a *Agent) leave(t *task) {
	n := &a.network
	if !t.address.IsValid() {
		return
	}
	n.upcoming()
	if n.addresses[t.address] == t.id {
		delete(n.addresses, t.address)
	}
	for _, p := range t.plan.Ports {
		s := socketOf(p)
		if n.sockets[s]--; n.sockets[s] <= 0 {
			delete(n.sockets, s)
		}
	}
	if i, found := n.endpoint(t.id); found {
		n.endpoints = slices.Delete(n.endpoints, i, i+1)
	}
	t.address, t.serving = netip.Addr{}, false
}

// joined reports whether a task's place in the network has been made.
func (a *Agent) joined(t *task) bool { return a.network.applied >= t.joined }

// serve says whether published ports may lead to a task, and reports whether
// that is a change that the network must make.
func (a *Agent) serve(t *task, serving bool) bool {
	if t.serving == serving {
		return false
	}
	t.serving = serving
	if len(t.plan.Ports)+len(t.plan.Attachments) == 0 {
		return false
	}
	generation := a.network.upcoming()
	if !serving {
		t.left = generation
		a.network.waiting = append(a.network.waiting, t)
	}
	return true
}

// Replan calls for another plan: what it is made from beside the endpoints has
// changed.
func (a *Agent) Replan() { a.network.dirty = true }

// Applied is the newest generation that is known to be made, and whether it is all
// that is called for.
func (a *Agent) Applied() (generation uint64, all bool) {
	n := &a.network
	return n.applied, n.applied == n.generation && !n.dirty
}

// Endpoints lists the places in the network that are wanted now, by task.
func (a *Agent) Endpoints() []Endpoint {
	n := &a.network
	list := make([]Endpoint, 0, len(n.endpoints))
	for _, t := range n.endpoints {
		list = append(list, Endpoint{
			Task: t.id, Address: t.address, Serving: t.serving, Ports: t.plan.Ports, Publishing: t.plan.Publishing,
			Attachments: t.plan.Attachments, Mesh: t.plan.Mesh, DNS: t.plan.DNS,
		})
	}
	return list
}

// Networked says that the plan of a generation, and so every older one, was
// carried out: but for the endpoints in failed, and not at all if err is set.
func (a *Agent) Networked(generation uint64, failed map[state.TaskID]string, err error, now time.Time) {
	n := &a.network
	if generation <= n.applied || generation > n.generation {
		return
	}
	again := err != nil
	if err == nil {
		n.applied = generation
	}
	waiting := n.waiting
	n.waiting = nil
	rejected := make(map[state.TaskID]bool)
	for _, t := range waiting {
		why, bad := failed[t.id]
		joining := t.box != boxRuns && t.box != boxEnded
		switch {
		case a.tasks[t.id] != t || !t.address.IsValid():
		case max(t.joined, t.left) > generation:
			n.waiting = append(n.waiting, t)
		case bad && joining:
			rejected[t.id] = true
			a.fail(t, why)
		case err != nil && joining && n.failures+1 >= networkTriesMax:
			a.fail(t, err.Error())
		case err != nil:
			n.waiting = append(n.waiting, t)
		}
		a.mark(t)
	}
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		_, wanted := n.endpoint(id)
		again = again || wanted && !rejected[id]
	}
	if !again {
		n.failures, n.retryAt = 0, time.Time{}
		return
	}
	n.retryAt = now.Add(backOff(n.failures))
	n.failures++
}

// retryNetwork asks for the network again some time after it failed.
func (a *Agent) retryNetwork(now time.Time) {
	n := &a.network
	if !n.retryAt.IsZero() && !now.Before(n.retryAt) {
		n.retryAt = time.Time{}
		n.dirty = true
	}
}

func socketOf(p swarm.PortConfig) socket {
	return socket{cmp.Or(string(p.Protocol), "tcp"), p.PublishedPort}
}

// hostPorts are those of the ports that are published on the task's node only.
func hostPorts(ports []swarm.PortConfig) []swarm.PortConfig {
	var host []swarm.PortConfig
	for _, p := range ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost {
			host = append(host, p)
		}
	}
	return host
}
