package runtime

import (
	"context"
	"strings"
	"sync"

	"github.com/containerd/containerd/api/services/tasks/v1"
)

// shimContainersMax is how many containers share a shim: they end with it.
const shimContainersMax = 8

// A shim is the process between containerd and some of our containers. Starting
// one takes a quarter of the time until a container runs, so they share it. It
// makes its containers one by one, so as many as are made at a time are spread
// over several.
type shim struct {
	name   string
	placed int // containers that are to have it; guarded by the table's mu

	// A shim ends with its last process. The lock is held for reading while one
	// is made, and for writing while one is deleted, so that none is on its way
	// to a shim that ends.
	change sync.RWMutex
}

// make runs what makes a container's process.
func (s *shim) make(f func() error) error {
	s.change.RLock()
	defer s.change.RUnlock()
	return f()
}

// A shimTable has the shims of containers that are there.
type shimTable struct {
	mu     sync.Mutex
	byName map[string]*shim
}

// place finds a shim for a new container, where as many have room as containers
// may be in the making.
func (t *shimTable) place(making int) *shim {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *shim
	roomy := 0
	for _, s := range t.byName {
		if s.placed >= shimContainersMax {
			continue
		}
		roomy++
		if best == nil || s.placed < best.placed {
			best = s
		}
	}
	if roomy < making {
		best = t.named(randomID())
	}
	best.placed++
	return best
}

// join finds the shim of a container that was placed before.
func (t *shimTable) join(name string) *shim {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == "" { // made before shims were shared
		return &shim{placed: shimContainersMax}
	}
	s := t.named(name)
	s.placed++
	return s
}

func (t *shimTable) named(name string) *shim {
	if t.byName == nil {
		t.byName = make(map[string]*shim)
	}
	if t.byName[name] == nil {
		t.byName[name] = &shim{name: name}
	}
	return t.byName[name]
}

// leave forgets a container that is gone.
func (t *shimTable) leave(s *shim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.placed--; s.placed == 0 {
		delete(t.byName, s.name)
	}
}

// shimRuntime is the name of what containerd runs to start shims, by which it
// finds the program, or the program's path.
func (r *Runtime) shimRuntime() string {
	// A containerd that is not ours may be where our files are not.
	if r.config.ShimBinary == "" || r.child == nil || !strings.HasPrefix(r.host.version, "1.") {
		return runtimeName
	}
	return r.config.ShimBinary
}

// deleteTask lets go of what containerd and the shim have of a process that has
// ended.
func (r *Runtime) deleteTask(ctx context.Context, i *instance) error {
	i.shim.change.Lock()
	defer i.shim.change.Unlock()
	_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: i.id()})
	return native(err)
}
