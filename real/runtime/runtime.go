package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/log"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

// Config says where a [Runtime] keeps its things and whom it tells.
type Config struct {
	// Address is a containerd's socket; "" starts a private containerd.
	Address string
	// Containerd is the program to start as the private containerd, "" for the
	// one found on PATH.
	Containerd string
	// Root has what must outlive a reboot (images, volumes, logs), State what
	// need not (sockets, files mounted into containers). Both are absolute.
	Root, State string
	// Namespace is containerd's; it must be unique on the machine, since the
	// names of cgroups derive from it.
	Namespace string
	// Netns is the path of a task's network namespace, which must exist when
	// the container is started. Nil gives every container one of its own, with
	// nothing in it.
	Netns func(state.TaskID) string
	// NameServer is the name server in a task's network namespace, which asks the
	// others; the zero Addr, or no function, is that there is none.
	NameServer func(state.TaskID) netip.Addr
	// DNS is what containers use whose spec says nothing of it; the zero value
	// means as the host does.
	DNS DNS
	// InsecureRegistries are hosts, host:ports or CIDRs of registries that may
	// be spoken to over plain HTTP or with any certificate. Those on loopback
	// always may.
	InsecureRegistries []string
	// LoggerBinary is the command of the log writer: an absolute path, and at
	// most one argument, upon which the program must call logwriter.Run with
	// the arguments that follow.
	LoggerBinary []string
	// ShimBinary is the absolute path of a program that calls shimstart.Run with
	// its arguments, for a private containerd to run instead of its own shim's;
	// "" for its own.
	ShimBinary string
	// InitBinary is the command of an init for containers that ask for one, to
	// be used where the host has neither docker-init nor tini: a statically
	// linked program at an absolute path, with arguments upon which it calls
	// RunInit with those that follow. Empty: such containers are refused.
	InitBinary []string
	Logger     *slog.Logger
	// Post takes events; it may block, and must accept them until Close has
	// returned.
	Post func(engine.Event)
}

// DNS is what a resolv.conf says.
type DNS struct {
	Servers         []netip.Addr
	Search, Options []string
}

// Limits of a runtime.
const (
	launchesPerCPU   = 2 // containers being created or started at a time; more only wait for each other
	launchesMin      = 4
	launchesMax      = 32 // containerd writes down one at a time
	removalsMax      = 4
	probesMax        = 8
	operationRetries = 3                // of an operation that containerd was lost under
	settlePeriod     = 30 * time.Second // after which containerd does nothing any more for a process before this one
	startupTimeout   = 30 * time.Second
	callTimeout      = 2 * time.Minute // of one operation on a container
)

// A Runtime runs the containers of one node.
type Runtime struct {
	config Config
	log    *slog.Logger
	client *containerd.Client
	child  *supervisor // nil when containerd is not ours
	host   host

	ctx    context.Context // ends with Close; carries the namespace
	cancel context.CancelFunc
	work   sync.WaitGroup

	launches, removals, probes gate

	mu     sync.Mutex
	byTask map[state.TaskID]*instance
	byID   map[string]*instance
	making map[string]bool // IDs of containers that are being created

	shims      shimTable
	images     imageCache
	pulls      flights
	grudges    grudges
	transports transports
	volumes    volumeLocks
	execs      execTable
	hub        hub
}

// Start connects to containerd, starting it where that is asked for, finds the
// containers of ours that are there, and posts them as [engine.ContainersFound]
// before it returns. ctx bounds only the start.
func Start(ctx context.Context, config Config) (*Runtime, error) {
	// What containerd's client logs by itself are errors that it returns as well.
	_ = log.SetLevel("panic") // which it knows
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if err := validate(config); err != nil {
		return nil, err
	}
	for _, dir := range []string{config.Root, config.State, filepath.Join(config.State, "exec")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("cannot make the runtime's directory: %w", err)
		}
	}
	// Where a process before this one was killed, it may have left a mount.
	temporary := filepath.Join(config.State, "mounts")
	if err := mount.SetTempMountLocation(temporary); err != nil {
		return nil, fmt.Errorf("cannot make the directory of temporary mounts: %w", err)
	}
	if warnings, err := mount.CleanupTempMounts(0); err != nil || len(warnings) > 0 {
		config.Logger.Warn("temporary mounts cannot be removed", "error", errors.Join(append(warnings, err)...))
	}
	r := &Runtime{
		config:   config,
		log:      config.Logger,
		byTask:   make(map[state.TaskID]*instance),
		byID:     make(map[string]*instance),
		making:   make(map[string]bool),
		launches: make(gate, launches(goruntime.NumCPU())),
		removals: make(gate, removalsMax),
		probes:   make(gate, probesMax),
	}
	r.ctx, r.cancel = context.WithCancel(namespaces.WithNamespace(context.Background(), config.Namespace))
	ctx, stop := context.WithTimeout(namespaces.WithNamespace(ctx, config.Namespace), startupTimeout)
	defer stop()
	if err := r.begin(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Runtime) begin(ctx context.Context) error {
	if r.config.Address == "" {
		child, err := supervise(ctx, r.config)
		if err != nil {
			return err
		}
		r.child = child
		r.config.Address = child.address
	}
	client, err := dial(ctx, r.config.Address, r.config.Namespace)
	if err != nil {
		return err
	}
	r.client = client
	if r.host, err = survey(ctx, client, r.config); err != nil {
		return err
	}
	// Subscribing before listing: what happens in between is not lost.
	events := r.subscribe()
	found, err := r.reconcile(ctx)
	if err != nil {
		return err
	}
	r.sweep(ctx)
	r.config.Post(found)
	r.work.Go(func() { r.listen(events) })
	r.work.Go(func() {
		if !awaitClosed(r.ctx, r.ctx.Done(), settlePeriod) {
			r.settle(r.ctx)
		}
	})
	return nil
}

// settle looks once more for creations that were cut short: what containerd was doing
// for a process that was killed may have come into being after it was looked at.
func (r *Runtime) settle(ctx context.Context) {
	if _, err := r.reconcile(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("creations that were cut short cannot be looked for", "error", err)
	}
	if ctx.Err() == nil {
		r.sweep(ctx)
	}
}

// Close stops watching and, if it is ours, ends containerd. Containers live on.
// Orders that are still being carried out are given up without an answer.
func (r *Runtime) Close() error {
	r.cancel()
	r.work.Wait()
	r.hub.close()
	r.sweepCgroups()
	var errs []error
	if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	if r.child != nil {
		r.child.close()
	}
	return errors.Join(errs...)
}

// namespaceForm is what containerd accepts as a namespace and a cgroup as a name.
const namespaceForm = `^[a-zA-Z0-9]+(?:[._-][a-zA-Z0-9]+)*$`

func validate(c Config) error {
	rules := []struct {
		broken bool
		why    string
	}{
		{!filepath.IsAbs(c.Root) || !filepath.IsAbs(c.State), "the runtime's root and state must be absolute paths"},
		{!regexp.MustCompile(namespaceForm).MatchString(c.Namespace) || len(c.Namespace) > 76, "the containerd namespace must be letters and digits, joined by dots, dashes or underscores, at most 76"},
		{len(c.LoggerBinary) < 1 || len(c.LoggerBinary) > 2 || !filepath.IsAbs(c.LoggerBinary[0]), "the log writer must be an absolute path with at most one argument"},
		{c.ShimBinary != "" && !filepath.IsAbs(c.ShimBinary), "the shim's program must be an absolute path"},
		{len(c.InitBinary) > 0 && !filepath.IsAbs(c.InitBinary[0]), "the init must be an absolute path"},
		{c.Post == nil, "the runtime must be told whom to post to"},
	}
	for _, rule := range rules {
		if rule.broken {
			return errors.New(rule.why)
		}
	}
	return nil
}

// launches is how many containers are launched at a time on so many CPUs.
func launches(cpus int) int { return min(max(launchesPerCPU*cpus, launchesMin), launchesMax) }

// A gate admits as many at a time as it has room for.
type gate chan struct{}

// enter waits for room and returns what makes it again; it fails when ctx ends.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// instance returns the container of a task, nil if there is none.
func (r *Runtime) instance(task state.TaskID) *instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byTask[task]
}

func (r *Runtime) add(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byTask[i.record.Container.Task] = i
	r.byID[i.id()] = i
}

func (r *Runtime) drop(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byTask[i.record.Container.Task] == i {
		delete(r.byTask, i.record.Container.Task)
	}
	if r.byID[i.id()] == i {
		delete(r.byID, i.id())
	}
}

// known reports whether there is a container, or it is being created.
func (r *Runtime) known(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id] != nil || r.making[id]
}

// make notes that a container is being created, until what it returns is called:
// nobody is to take it for one whose creation was cut short.
func (r *Runtime) make(id string) (made func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.making[id] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.making, id)
	}
}

func (r *Runtime) all() []*instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*instance, 0, len(r.byID))
	for _, i := range r.byID {
		list = append(list, i)
	}
	return list
}

// keepDir is where what outlives a reboot is kept for a container.
func (r *Runtime) keepDir(id string) string { return filepath.Join(r.config.Root, "containers", id) }

// runDir has the files that are mounted into a container.
func (r *Runtime) runDir(id string) string { return filepath.Join(r.config.State, "containers", id) }
