package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	members "github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/peer"
)

// How long this node waits for others.
const (
	forwardPatience = 10 * time.Second      // for the leader to answer a call
	linkPatience    = 3 * time.Second       // for a link to a leader that has just been elected
	linkLookPeriod  = 50 * time.Millisecond // between looks for it
	listenPeriod    = time.Second           // between tries to listen where somebody else does
	forwardsMax     = 4096                  // calls that wait for the leader
	listenDefault   = "0.0.0.0:2377"        // Docker's
)

// What callers are told, in the form of Docker's texts.
const (
	textNoLink = `rpc error: code = Unavailable desc = the manager that leads cannot be reached: nothing was changed; try again`
	textLost   = `rpc error: code = Unknown desc = the leader did not answer; the change may or may not take effect: look before you repeat it`
)

// Peers are the connections to other nodes, with this node's certificate, and with
// what it remembers of the managers.
type peers struct {
	*peer.Peers
	dir string // of certificates and of what is remembered
	// listenAddr is where the swarm's port is served, whatever is remembered; ""
	// leaves it to that. It does not change once the daemon runs.
	listenAddr string
	driver     *real.Driver
	log        *slog.Logger
	streams    func(ctx context.Context, request []byte, stream net.Conn) error

	ctx      context.Context //nolint:containedctx // ends with close; the work below comes from it
	cancel   context.CancelFunc
	work     sync.WaitGroup
	forwards chan struct{}
	unsaved  chan struct{} // what is remembered is
	recheck  chan struct{} // who may do what is
	obtains  sync.Mutex    // one certificate is asked for at a time
	saves    sync.Mutex    // one is saved at a time

	mu          sync.Mutex
	identity    engine.Identity
	credentials *ca.Credentials // nil while the node is in no swarm
	lock        ca.Lock         // as it is on disk

	trusting   sync.RWMutex
	roster     members.Roster
	pinned     map[state.NodeID][]byte // key digests of managers, as they were last known
	remembered remembered
}

func newPeers(dataDir string, driver *real.Driver, log *slog.Logger) *peers {
	p := &peers{
		dir: filepath.Join(dataDir, "swarm"), driver: driver, log: log, forwards: make(chan struct{}, forwardsMax),
		unsaved: make(chan struct{}, 1), recheck: make(chan struct{}, 1),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.Peers = peer.New(peer.Config{
		Certificate: p.certificate, Verify: p.verify, Judge: p.judge, Called: p.called, Certify: p.certify, Logger: log,
		Received: func(from state.NodeID, m wire.Message) { driver.Post(engine.Received{From: from, Message: m}) },
		Stream: func(ctx context.Context, _ peer.Party, request []byte, stream net.Conn) error {
			return p.streams(ctx, request, stream)
		},
	})
	return p
}

// certificates is the directory of the node's certificate, as Docker names it.
func (p *peers) certificates() string { return filepath.Join(p.dir, "certificates") }

// begin starts what keeps certificate and memory up to date.
func (p *peers) begin() {
	p.work.Go(p.keepRemembered)
	p.work.Go(p.keepChecked)
}

// start goes on with the membership that is on disk, and returns the managers that
// are remembered. A manager's may take an unlock key.
func (p *peers) start(id engine.Identity, unlock []byte) ([]wire.Manager, error) {
	credentials, lock, err := ca.Load(p.certificates(), unlock)
	if err != nil {
		return nil, err
	}
	if credentials != nil && credentials.Node != id.Node {
		return nil, fmt.Errorf("%s has the certificate of node %s, and this is node %s", p.certificates(), credentials.Node, id.Node)
	}
	known, err := loadRemembered(p.dir)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.remembered = known
	p.mu.Unlock()
	p.pin(known.Keys)
	p.install(id, credentials, lock)
	if id.Manager {
		p.listen(nil)
	}
	p.Peers.Reach(id.Node, known.Managers)
	return known.Managers, nil
}

// close ends all connections.
func (p *peers) close() error {
	p.cancel()
	p.Close()
	p.work.Wait()
	return nil
}

// install makes the identity and the certificate those that the node has, and the
// lock what is on disk.
func (p *peers) install(id engine.Identity, c *ca.Credentials, l ca.Lock) {
	p.mu.Lock()
	p.identity, p.credentials, p.lock = id, c, l
	p.mu.Unlock()
	if c != nil {
		p.driver.Post(engine.Certified{Certificate: c.Certificate()})
	}
}

// moved takes in that this node is reached at another address.
func (p *peers) moved(id engine.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.identity = id
}

// locked is how the node's keys are encrypted on disk.
func (p *peers) locked() ca.Lock {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lock
}

// relock changes how the node's keys are encrypted on disk.
func (p *peers) relock(change func(*ca.Lock)) error {
	p.saves.Lock()
	defer p.saves.Unlock()
	_, c := p.current()
	lock := p.locked()
	change(&lock)
	if c == nil {
		return nil
	}
	if err := c.SaveLock(p.certificates(), lock); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lock = lock
	return nil
}

func (p *peers) current() (engine.Identity, *ca.Credentials) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.identity, p.credentials
}

// listen serves the swarm's port: with the listener given, or with one of its own,
// as soon as that can be had.
func (p *peers) listen(listener net.Listener) {
	p.mu.Lock()
	addr := cmp.Or(p.listenAddr, p.remembered.Listen, listenDefault)
	p.mu.Unlock()
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", addr); err != nil {
			p.log.Error("the swarm's port cannot be served yet: other nodes do not reach this one", "listen", addr, "error", err)
			p.work.Go(func() { p.listenLater(addr) })
			return
		}
	}
	p.Serve(listener)
}

func (p *peers) listenLater(addr string) {
	again := time.NewTicker(listenPeriod)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-p.ctx.Done():
			return
		}
		if id, _ := p.current(); !id.Manager {
			return
		}
		if listener, err := net.Listen("tcp", addr); err == nil {
			p.log.Info("the swarm's port is served", "listen", addr)
			p.Serve(listener)
			return
		}
	}
}

// forget ends the node's membership as far as others are concerned, durably.
func (p *peers) forget() error {
	p.Forget()
	p.install(engine.Identity{}, nil, ca.Lock{})
	p.mu.Lock()
	p.remembered = remembered{}
	p.mu.Unlock()
	return errors.Join(ca.Remove(p.certificates()), removeRemembered(p.dir))
}

func (p *peers) certificate() (*tls.Certificate, error) {
	if _, c := p.current(); c != nil {
		return &c.TLS, nil
	}
	return nil, errors.New("this node has no certificate of a swarm")
}

// Reach keeps in touch with the managers, and remembers them.
func (p *peers) Reach(managers []wire.Manager) {
	p.mu.Lock()
	self := p.identity.Node
	p.remembered.Managers = slices.Clone(managers)
	p.mu.Unlock()
	p.Peers.Reach(self, managers)
	select {
	case p.unsaved <- struct{}{}:
	default: // it is to be saved already
	}
}

// Forward passes a call on to the leader.
func (p *peers) Forward(f engine.Forward) {
	answered := func(a control.Answer) { p.driver.Post(engine.ForwardReturned{Request: f.Request, Answer: a}) }
	select {
	case p.forwards <- struct{}{}:
	default:
		p.work.Go(func() { answered(control.Failed{Kind: control.Unavailable, Message: textNoLink}) })
		return
	}
	p.work.Go(func() {
		defer func() { <-p.forwards }()
		ctx, cancel := context.WithTimeout(p.ctx, forwardPatience)
		defer cancel()
		answer, err := p.pass(ctx, f)
		switch {
		case errors.Is(err, peer.ErrUnlinked):
			answer = control.Failed{Kind: control.Unavailable, Message: textNoLink}
		case errors.Is(err, peer.ErrLost):
			answer = control.Failed{Kind: control.Internal, Message: textLost}
		case err != nil:
			answer = control.Failed{Kind: control.Internal, Message: err.Error()}
		}
		answered(answer)
	})
}

// pass makes a call on the leader; a link to it may still be under way.
func (p *peers) pass(ctx context.Context, f engine.Forward) (control.Answer, error) {
	look := time.NewTicker(linkLookPeriod)
	defer look.Stop()
	until := time.Now().Add(linkPatience)
	for {
		answer, err := p.Call(ctx, f.To, f.Call)
		if !errors.Is(err, peer.ErrUnlinked) || time.Now().After(until) {
			return answer, err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// called makes a call for another manager. That it is one still was looked at when
// the call came.
func (p *peers) called(ctx context.Context, _ peer.Party, call control.Call) control.Answer {
	switch call.(type) {
	case control.SwarmInit, control.SwarmJoin, control.SwarmLeave, control.SwarmUnlock, control.Info:
		return control.Failed{Kind: control.Forbidden, Message: fmt.Sprintf("%T is for the node itself: it is not passed on", call)}
	default:
	}
	answer, err := p.driver.CallForwarded(ctx, call)
	if err != nil {
		return control.Failed{Kind: control.Internal, Message: textLost}
	}
	return answer
}

// certify has the swarm admit who asks for a certificate, and signs one.
func (p *peers) certify(ctx context.Context, r peer.Request) (peer.Certified, *control.Failed) {
	refused := func(kind control.Kind, err error) (peer.Certified, *control.Failed) {
		return peer.Certified{}, &control.Failed{Kind: kind, Message: err.Error()}
	}
	key, err := ca.KeyDigest(r.Signing)
	if err != nil {
		return refused(control.Invalid, err)
	}
	var call control.Call = control.NodeJoin{Secret: r.Secret, Key: key, Addr: r.Addr, Availability: r.Availability}
	if r.Node != "" {
		call = control.NodeRenew{Node: r.Node, Key: key, Held: r.Held}
	}
	answer, err := p.driver.Call(ctx, call)
	if err != nil {
		return refused(control.Unavailable, err)
	}
	switch a := answer.(type) {
	case control.Failed:
		return peer.Certified{}, &a
	case control.Admitted:
		subject := ca.Subject{Node: a.Node, Cluster: a.Cluster, Manager: a.Manager, Version: a.Version}
		cert, err := ca.Sign(r.Signing, subject, a.Expiry, a.IssuerCert, a.IssuerKey, time.Now())
		if err != nil {
			return refused(control.Internal, err)
		}
		given := peer.Certified{
			Node: a.Node, Cluster: a.Cluster, Manager: a.Manager, Certificate: append(cert, a.Crossed...), Root: a.RootCert,
			UnlockKey: a.UnlockKey, UnlockVersion: a.UnlockVersion,
		}
		for _, m := range a.Managers {
			given.Managers = append(given.Managers, wire.Manager{ID: m.Node, Addr: m.Addr})
		}
		return given, nil
	default:
		return refused(control.Internal, fmt.Errorf("%T was answered with %T", call, answer))
	}
}

// An issue is a certificate that was obtained, and what a manager's keys are to be
// locked with.
type issue struct {
	*ca.Credentials
	unlock  []byte
	version uint64
}

func issued(given peer.Certified, key []byte) (issue, error) {
	c, err := ca.NewCredentials(given.Certificate, key, given.Root)
	return issue{c, given.UnlockKey, given.UnlockVersion}, err
}

// obtain gets a certificate for the node as the swarm sees it by now: by way of
// this very node if it manages, or of any other manager.
func (p *peers) obtain(ctx context.Context) (issue, error) {
	id, c := p.current()
	if c == nil {
		return issue{}, errors.New("this node has no certificate of a swarm")
	}
	key := c.Key
	signing, err := ca.NewRequest(key)
	if err != nil {
		return issue{}, err
	}
	request := peer.Request{Node: id.Node, Held: c.Digest(), Signing: signing}
	if id.Manager {
		given, failed := p.certify(ctx, request)
		if failed == nil {
			return issued(given, key)
		}
		err = &peer.RefusedError{Failed: *failed}
	}
	p.mu.Lock()
	managers := slices.Clone(p.remembered.Managers)
	p.mu.Unlock()
	rand.Shuffle(len(managers), func(i, j int) { managers[i], managers[j] = managers[j], managers[i] })
	for _, m := range managers {
		if m.ID == id.Node {
			continue
		}
		given, failed := p.Peers.Renew(ctx, m, request)
		if failed == nil {
			return issued(given, key)
		}
		err = errors.Join(err, fmt.Errorf("manager %s: %w", m.ID, failed))
	}
	if err == nil {
		err = errors.New("no manager is known that could certify this node")
	}
	return issue{}, err
}
