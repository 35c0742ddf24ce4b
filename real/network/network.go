package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// Config says what a [Network] may call its things and whom it tells.
type Config struct {
	// Bridge is the name of the bridge that containers leave through; it must
	// be unique in the host's network namespace.
	Bridge string
	// Table is the name of the nftables table (family inet) that holds every
	// rule of ours; it must be unique in the host's network namespace.
	Table string
	// NetnsDir is an absolute path of a directory that is ours alone: it holds
	// one network namespace a task. It must be unique on the machine, and lie
	// in a mount namespace that outlives the process.
	NetnsDir string
	// OwnHost says that nothing else uses the bridges of this network namespace,
	// so that frames between ports need not pass through iptables, which is then
	// turned off. On a host shared with Docker or Kubernetes it must be false.
	OwnHost bool
	// Resolvers is the file that names the name servers which containers' questions
	// are passed on to; "" is /etc/resolv.conf.
	Resolvers string
	// NameServer is a program that calls [nameserver.Run], and the arguments before
	// its own: a process of it, which outlives this one, answers tasks. Empty: this
	// process does.
	NameServer []string
	// NameSocket is the path of the socket on which that process is found. It must be
	// unique on the machine, and is not in NetnsDir.
	NameSocket string
	// MTU of the containers' interfaces; 0 is 1500.
	MTU int
	// SweepPeriod is how often the kernel is compared with the plan; 0 is 30 s.
	SweepPeriod time.Duration
	Logger      *slog.Logger
	// Post takes events; it may block, and must accept them until Close has
	// returned.
	Post func(engine.Event)
}

const (
	sweepPeriodDefault = 30 * time.Second
	mtuDefault         = 1500
	driftLinesMax      = 20 // logged of one sweep
)

// A Network makes the kernel match plans.
type Network struct {
	config Config
	log    *slog.Logger

	work   sync.WaitGroup
	cancel context.CancelFunc
	mesh   bool
	wake   chan struct{}
	lost   chan struct{} // the name server has been

	queue sync.Mutex
	next  *netplan.Plan // not yet begun

	mu     sync.Mutex // held while the kernel is read or changed
	host   *host
	kernel *kernel
	last   *wanted      // of the last plan begun, nil before the first
	plan   netplan.Plan // the same; before the first that of the process before
}

// Start finds out what the kernel can do and begins to take plans. Nothing is
// changed before the first of them. The network namespace of the calling thread
// is the host's, for good.
func Start(config Config) (*Network, error) {
	config, err := complete(config)
	if err != nil {
		return nil, err
	}
	if err := probe(); err != nil {
		return nil, err
	}
	lacks := probeWishes(wishes(), config.Logger)
	h, err := openHost()
	if err != nil {
		return nil, err
	}
	n := &Network{
		config: config,
		log:    config.Logger,
		wake:   make(chan struct{}, 1),
		lost:   make(chan struct{}, 1),
		host:   h,
		mesh:   !lacks.mesh,
	}
	n.kernel = newKernel(config, h, func() {
		select {
		case n.lost <- struct{}{}:
		default:
		}
	})
	n.kernel.zones.unsupported = lacks.zones
	if n.plan, err = config.load(); err == nil {
		err = n.kernel.revive(n.plan)
	}
	if err != nil {
		config.Logger.Warn("what was planned before is not known: the network waits for the first plan", "err", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.work.Go(func() { n.run(ctx) })
	n.work.Go(func() { n.kernel.forgets.run(ctx) })
	return n, nil
}

// Apply asks for the kernel to match the plan, and returns at once. The answer,
// [engine.NetworkApplied], is posted; a newer plan overtakes an older one that
// has not been begun, and its answer is for both.
func (n *Network) Apply(p netplan.Plan) {
	n.queue.Lock()
	n.next = &p
	n.queue.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Mesh reports whether the kernel has what the mesh needs; if it has not, plans are to
// lead published ports to tasks of this host alone.
func (n *Network) Mesh() bool { return n.mesh }

// Netns returns the path of a task's network namespace, which exists from the
// answer to the first plan that has the task until after that to the first that has not.
func (n *Network) Netns(task state.TaskID) string {
	return filepath.Join(n.config.NetnsDir, string(task))
}

// Difference tells how the kernel differs from a plan, one sentence a line, and
// changes nothing. It is empty when they match.
func (n *Network) Difference(p netplan.Plan) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w, err := want(p, n.config, nil)
	if err != nil {
		return nil, err
	}
	return n.kernel.difference(w, true)
}

// ErrNoPlan says that nothing has been asked for yet.
var ErrNoPlan = errors.New("the network has not been planned yet: this node has just begun, or is in no swarm")

// Check tells how the kernel differs from the last plan, one sentence a line, as
// [Network.Difference] does, and then repairs it if it is to. Nothing is taken for
// granted that is remembered.
func (n *Network) Check(repair bool) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return nil, ErrNoPlan
	}
	lines, err := n.kernel.difference(*n.last, true)
	if err != nil {
		return lines, fmt.Errorf("the network could not be compared with its plan: %w", err)
	}
	if !repair || len(lines) == 0 {
		return lines, nil
	}
	return lines, n.repair()
}

// Close stops. The kernel is left as it is: containers live on, and a new
// Network with the same Config takes it over as it finds it.
func (n *Network) Close() error {
	n.cancel()
	n.work.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kernel.close()
	return n.host.close()
}

// Remove takes everything of ours out of the kernel, whatever plan said so, and
// forgets the plan. The next plan begins anew.
func (n *Network) Remove() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last, n.plan = nil, netplan.Plan{}
	return n.kernel.remove()
}

// Remove takes out of the kernel what Networks with this Config have put into
// the network namespace of the calling thread. None may be running.
func Remove(config Config) error {
	config.Post = func(engine.Event) {}
	config, err := complete(config)
	if err != nil {
		return err
	}
	h, err := openHost()
	if err != nil {
		return err
	}
	k := newKernel(config, h, func() {})
	err = k.remove()
	k.close()
	return errors.Join(err, h.close())
}

func (n *Network) run(ctx context.Context) {
	sweep := time.NewTicker(n.config.SweepPeriod)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
			n.queue.Lock()
			p := n.next
			n.next = nil
			n.queue.Unlock()
			if p != nil {
				n.apply(*p)
				n.write()
			}
		case <-n.lost:
			n.rename()
		case <-sweep.C:
			n.sweep()
		}
	}
}

// apply carries a plan out and posts the answer, as soon as it is in force: tasks may
// be waiting for the ports not to lead to them, and to tidy up takes time. A host
// that is to have nothing answers when it has.
func (n *Network) apply(p netplan.Plan) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p = netplan.Reduce(n.plan, p)
	w, bad := want(p, n.config, n.last)
	if first := n.last == nil; first && w.gateway.IsValid() {
		n.kernel.warnOfFirewall()
	}
	n.last, n.plan = &w, p
	failed, tidy, err := n.kernel.establish(w)
	if !w.gateway.IsValid() {
		err = errors.Join(err, tidy())
		tidy = func() error { return nil }
	}
	answer := engine.NetworkApplied{Generation: p.Generation, Failed: failed, Err: errors.Join(bad, err)}
	if answer.Err != nil {
		n.log.Error("the network could not be made as planned", "generation", p.Generation, "err", answer.Err)
	}
	for _, task := range sorted(failed) {
		n.log.Error("a task's network could not be made", "task", task, "err", failed[task])
	}
	n.config.Post(answer)
	if err := tidy(); err != nil {
		n.log.Error("something of an older plan could not be removed", "err", err)
	}
}

// write keeps the last plan for the next process, once it has been answered.
func (n *Network) write() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return // everything has been removed meanwhile
	}
	if err := n.config.keep(n.plan); err != nil {
		n.log.Warn("the network will not stay as it is when the daemon restarts, until a manager says what it should be", "err", err)
	}
}

// sweep compares the kernel with the last plan and repairs what differs.
func (n *Network) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return
	}
	lines, err := n.kernel.difference(*n.last, false)
	if err != nil {
		n.log.Error("the network could not be compared with its plan", "err", err)
	}
	n.kernel.reserve(*n.last)
	if len(lines) == 0 && err == nil {
		return
	}
	for _, line := range lines[:min(len(lines), driftLinesMax)] {
		n.log.Warn("the network has drifted from its plan and is repaired", "difference", line)
	}
	if err := n.repair(); err != nil {
		n.log.Error("the network could not be repaired", "err", err)
	}
}

// rename has tasks served again whose name server has ended.
func (n *Network) rename() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log.Warn("the name server of the tasks has ended; another takes its place")
	if n.last == nil {
		if err := n.kernel.revive(n.plan); err != nil {
			n.log.Warn("the name servers of tasks wait for the first plan", "err", err)
		}
		return
	}
	n.kernel.names.forget()
	failed, err := n.kernel.converge(*n.last)
	if err != nil || len(failed) > 0 {
		n.log.Error("the name servers of tasks could not be replaced", "err", err, "failed", failed)
	}
}

// repair makes the kernel as the last plan has it, whatever it is now.
func (n *Network) repair() error {
	n.kernel.forget()
	_, err := n.kernel.converge(*n.last)
	return err
}

// complete checks a config and fills in what it leaves open.
func complete(c Config) (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SweepPeriod == 0 {
		c.SweepPeriod = sweepPeriodDefault
	}
	if c.MTU == 0 {
		c.MTU = mtuDefault
	}
	name := regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,14}$`)
	rules := []struct {
		broken bool
		why    string
	}{
		{!name.MatchString(c.Bridge), fmt.Sprintf("%q is no name for a bridge: a letter, then letters, digits, - or _, at most 15", c.Bridge)},
		{!name.MatchString(c.Table), fmt.Sprintf("%q is no name for an nftables table: a letter, then letters, digits, - or _, at most 15", c.Table)},
		{!filepath.IsAbs(c.NetnsDir), fmt.Sprintf("the directory of network namespaces, %q, must be an absolute path", c.NetnsDir)},
		{c.MTU < 576 || c.MTU > 65535, fmt.Sprintf("an MTU of %d is not between 576 and 65535", c.MTU)},
		{c.SweepPeriod < 0, "the sweep period must not be negative"},
		{len(c.NameServer) > 0 && !filepath.IsAbs(c.NameSocket), fmt.Sprintf("the socket of the name server, %q, must be an absolute path", c.NameSocket)},
		{c.Post == nil, "the network must be told whom to post to"},
	}
	for _, rule := range rules {
		if rule.broken {
			return c, errors.New(rule.why)
		}
	}
	return c, nil
}
