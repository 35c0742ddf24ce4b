package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"reflect"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/real/network/nameserver"
)

// A namer answers tasks that ask for names.
type namer interface {
	Update(nameserver.Update) (nameserver.Answer, error)
	End() error
	Close() error
}

// A directory is what the name server has been told.
type directory struct {
	server namer
	all    bool // it has not been told anything, or that is not known
	zones  map[string]overlay
	tasks  map[state.TaskID]nameserver.Task
	ports  map[state.TaskID]uint16 // as it has answered, or one before it
}

func newDirectory(c Config, h *host, lost func()) *directory {
	n := &directory{
		all: true, zones: make(map[string]overlay), tasks: make(map[state.TaskID]nameserver.Task), ports: make(map[state.TaskID]uint16),
	}
	if len(c.NameServer) > 0 {
		n.server = nameserver.NewRemote(nameserver.RemoteConfig{
			Command: c.NameServer, Socket: c.NameSocket, Resolvers: c.Resolvers, Lost: lost, Logger: c.Logger,
			Start: func(p *exec.Cmd) error { return inside(h.ns, p.Start) },
		})
		return n
	}
	n.server = nameserver.New(nameserver.Config{
		Logger: c.Logger, Resolvers: c.Resolvers,
		Dial: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = inside(h.ns, func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	})
	return n
}

// forget makes everything be told again. Ports are not forgotten: another server is
// asked for the same, or all tasks would wait until each one's table has been changed.
func (n *directory) forget() {
	n.all = true
	clear(n.zones)
	clear(n.tasks)
}

// ensureNames tells the name server what is new. Each task that is on a network
// has a port then, or is in failed.
func (k *kernel) ensureNames(w wanted, failed map[state.TaskID]string) {
	n := k.names
	u := nameserver.Update{All: n.all}
	for id, vni := range w.vnis {
		o := w.overlays[vni]
		if old, told := n.zones[id]; !told || old.name != o.name || !sameNames(old.names, o.names) {
			u.Zones = append(u.Zones, nameserver.Zone{Network: id, Label: o.name, Names: o.names})
		}
	}
	for id := range n.zones {
		if _, is := w.vnis[id]; !is {
			u.Dropped = append(u.Dropped, id)
		}
	}
	wants := map[state.TaskID]nameserver.Task{}
	for task, e := range w.endpoints {
		if _, made := k.endpoints[task]; made && len(e.links) > 0 {
			wants[task] = k.asker(w, e)
		}
	}
	for _, task := range sorted(wants) {
		if !reflect.DeepEqual(n.tasks[task], wants[task]) {
			t := wants[task]
			t.Port = n.ports[task]
			u.Tasks = append(u.Tasks, t)
		}
	}
	for task := range n.tasks {
		if _, is := wants[task]; !is {
			u.Ended = append(u.Ended, string(task))
		}
	}
	for task := range n.ports {
		if _, is := wants[task]; !is {
			delete(n.ports, task)
		}
	}
	if !u.All && len(u.Zones)+len(u.Dropped)+len(u.Tasks)+len(u.Ended) == 0 {
		return
	}
	answer, err := n.server.Update(u)
	if err != nil && !u.All { // another may serve now, which knows nothing
		n.forget()
		k.ensureNames(w, failed)
		return
	}
	if err != nil {
		n.forget()
		k.config.Logger.Error("the name server of the tasks could not be told what is new", "err", err)
		for task := range wants {
			failed[task] = fmt.Sprintf("the task's name server could not be made: %v", err)
		}
		return
	}
	n.all = false
	clear(n.zones)
	for id, vni := range w.vnis {
		n.zones[id] = w.overlays[vni]
	}
	n.tasks = wants
	for task, port := range answer.Ports {
		n.ports[state.TaskID(task)] = port
	}
	for task, why := range answer.Failed {
		delete(n.tasks, state.TaskID(task))
		failed[state.TaskID(task)] = why
	}
}

func (k *kernel) asker(w wanted, e endpoint) nameserver.Task {
	t := nameserver.Task{ID: string(e.task), Netns: k.netns(e.task), Upstream: e.upstream, Alone: !e.routed}
	for _, l := range e.links {
		t.Networks = append(t.Networks, w.overlays[l.vni].id)
	}
	return t
}

// sameNames is quick about lists that are the same one; see [sameBalanced].
func sameNames(a, b []netplan.Name) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// NameServer is the address of the swarm's name server for a task, which has one if
// it is on an overlay, or else the zero Addr. It is known when the plan that has
// the task has been applied.
func (n *Network) NameServer(task state.TaskID) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil || len(n.last.endpoints[task].links) == 0 {
		return netip.Addr{}
	}
	return netip.MustParseAddr(nameserver.Address)
}
