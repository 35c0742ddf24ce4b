package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/entropy"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real"
	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/consensus"
	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/network"
	"github.com/swarmd/swarmd/real/runtime"
)

// What is ours in the host's network namespace.
const (
	bridgeName = "swarmd0"
	tableName  = "swarmd"
)

// A daemon is the parts of a host, put together.
type daemon struct {
	options    options
	log        *slog.Logger
	driver     *real.Driver
	feed       real.Feed
	membership *membership
	peers      *peers
	runtime    *runtime.Runtime
	network    *network.Network
	authority  *ca.Authority

	stop    context.CancelCauseFunc
	work    sync.WaitGroup
	closers []func() error // in the order of making
}

// serve runs a daemon until ctx ends, or something fails that it cannot go on
// without.
func serve(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	log, err := o.logger()
	if err != nil {
		return err
	}
	for _, dir := range []string{o.dataDir, o.runDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("cannot make the daemon's directory: %w", err)
		}
	}
	lock, err := disk.LockDir(o.dataDir)
	if err != nil {
		return err
	}
	defer lock.Unlock() //nolint:errcheck // the kernel unlocks it at the latest
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d := &daemon{options: o, log: log, driver: real.New(), stop: stop}
	err = d.run(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// run makes the parts, serves until ctx ends, and takes them apart again.
func (d *daemon) run(ctx context.Context) (err error) {
	defer func() {
		d.stop(nil)
		d.membership.wait()
		for _, v := range slices.Backward(d.closers) {
			err = errors.Join(err, v())
		}
		d.work.Wait()
	}()
	d.peers = newPeers(d.options.dataDir, d.driver, d.log.With("part", "peer"))
	d.closers = append(d.closers, d.peers.close)
	d.membership = newMembership(d.options.dataDir, d.consensusConfig(), d.peers)
	if err := d.startParts(ctx); err != nil {
		return err
	}
	host := describeHost(d.options, d.runtime)
	listeners, err := d.listen()
	if err != nil {
		return err
	}
	if err := d.startEngine(ctx, host); err != nil {
		return err
	}
	server := api.New(api.Config{
		Engine: engineOf{d}, Runtime: localOf{d.runtime.Local()}, Nodes: remoteLogs{d.peers}, Host: host, Log: d.log,
		Metrics: d.metrics(), Advertise: d.options.advertise, DataPath: d.options.dataPath, CheckNetwork: d.network.Check,
	})
	d.log.Info("swarmd serves", "version", version, "hosts", d.options.hosts)
	return server.Serve(ctx, listeners...)
}

// startParts starts what the engine gives orders to. Each posts to the driver,
// which takes events in once it runs.
func (d *daemon) startParts(ctx context.Context) error {
	dns, err := d.options.resolver()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the daemon's own file: %w", err)
	}
	d.network, err = network.Start(d.options.network(program, d.log.With("part", "network"), d.driver.Post))
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.network.Close)
	d.authority = ca.New(d.driver.Post)
	d.closers = append(d.closers, func() error { d.authority.Close(); return nil })
	d.runtime, err = runtime.Start(ctx, runtime.Config{
		Address: d.options.containerd, Root: filepath.Join(d.options.dataDir, "runtime"), State: filepath.Join(d.options.runDir, "runtime"),
		Namespace: d.options.namespace(), Netns: d.network.Netns, NameServer: d.network.NameServer, DNS: dns, InsecureRegistries: d.options.insecure,
		LoggerBinary: []string{cmp.Or(beside(program, logWriterProgram), program), logWriterArgument},
		ShimBinary:   beside(program, shimProgram), InitBinary: []string{program, initArgument}, Logger: d.log.With("part", "runtime"), Post: d.driver.Post,
	})
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.runtime.Close)
	return nil
}

// beside is a small program that is installed beside the daemon's file, "" if it
// is not.
func beside(program, name string) string {
	if path := filepath.Join(filepath.Dir(program), name); executable(path) {
		return path
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// startEngine runs the log, if this host is a member, and the driver.
func (d *daemon) startEngine(ctx context.Context, host api.Host) error {
	id, err := d.membership.identity()
	if err == nil {
		id, err = d.place(id)
	}
	if err != nil {
		return err
	}
	description, err := describeNode(d.options, host)
	if err != nil {
		return err
	}
	var seed entropy.Seed
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("cannot draw entropy: %w", err)
	}
	d.driver.Connect(real.Ports{
		Log: d.membership, Runtime: d.runtime, Network: d.network, Authority: d.authority, Peers: peerPort{d.peers, d.membership},
		Publish: d.feed.Publish, Logger: d.log, Observe: d.observe,
	})
	d.peers.streams = streamsOf{d.runtime.Local()}.serve
	d.peers.begin()
	managers, locked, err := d.resume(id)
	if err != nil {
		return err
	}
	d.membership.start(ctx)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.work.Go(func() {
		d.driver.Run(running, engine.Started{Identity: id, Locked: locked, Managers: managers, Seed: seed, Description: description, Mesh: d.network.Mesh()})
	})
	// The driver goes last: those that are being closed may still post to it.
	d.closers = append([]func() error{func() error { cancel(); return nil }}, d.closers...)
	if id.Node == "" || locked {
		return nil
	}
	return d.membership.open(id)
}

// resume goes on with the membership that is on disk, unless it is locked.
func (d *daemon) resume(id engine.Identity) (managers []wire.Manager, locked bool, err error) {
	if id.Node == "" {
		return nil, false, nil
	}
	managers, err = d.peers.start(id, nil)
	if errors.Is(err, ca.ErrLocked) && id.Manager {
		d.log.Warn("this manager is locked: it takes its unlock key, with 'docker swarm unlock'")
		return nil, true, nil
	}
	return managers, false, err
}

func (d *daemon) consensusConfig() consensus.Config {
	return consensus.Config{
		Post: d.driver.Post,
		Freeze: func() *state.Snapshot {
			var frozen *state.Snapshot
			if err := d.driver.Ask(func(n *engine.Node) { frozen = n.Freeze() }); err != nil {
				return nil
			}
			return frozen
		},
		Fatal:  func(err error) { d.stop(fmt.Errorf("the swarm's log cannot go on: %w", err)) },
		Logger: d.log.With("part", "consensus"),
	}
}

// listen opens the sockets that the API is served on.
func (d *daemon) listen() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, host := range d.options.hosts {
		path, err := socketPath(host)
		if err != nil {
			return nil, err
		}
		listener, err := api.Listen(path)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

// observe logs steps when that is asked for.
func (d *daemon) observe(_ time.Time, event engine.Event, step engine.Step) {
	if !d.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	effects := make([]string, 0, len(step.Effects))
	for _, f := range step.Effects {
		effects = append(effects, fmt.Sprintf("%T", f))
	}
	d.log.Debug("step", "event", fmt.Sprintf("%T", event), "effects", effects)
}

// engineOf is the driver as the API wants it.
type engineOf struct{ *daemon }

// Call makes a call and waits for its answer. What founds a swarm, or joins one,
// says where this node is to listen, which the engine has no use for.
func (e engineOf) Call(ctx context.Context, call control.Call) (control.Answer, error) {
	var failed *control.Failed
	switch c := call.(type) {
	case control.SwarmInit:
		if _, bad := control.CheckInit(c); !bad {
			failed = e.membership.offer(c.ListenAddr, c.Spec.CAConfig.NodeCertExpiry, true)
			defer e.membership.withdraw()
		}
	case control.SwarmJoin:
		if _, bad := control.CheckJoin(c); !bad {
			failed = e.membership.offer(c.ListenAddr, 0, false) // a worker needs no port
			defer e.membership.withdraw()
		}
	default:
	}
	if failed != nil {
		return *failed, nil
	}
	return e.driver.Call(ctx, call)
}

// Subscribe returns the swarm's events from now on.
func (e engineOf) Subscribe(ctx context.Context) <-chan []control.Event { return e.feed.Subscribe(ctx) }

// peerPort is the other nodes as the driver wants them: what goes to them, and what
// changes this node's place among them.
type peerPort struct {
	*peers
	*membership
}
