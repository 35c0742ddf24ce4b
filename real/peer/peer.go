package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Config is what a [Peers] is told of the node, and how it hands things on. All
// but Logger are required; each function may be called from several goroutines.
type Config struct {
	// Certificate is what the node shows: its certificate with the root behind it.
	// An error while it is in no swarm.
	Certificate func() (*tls.Certificate, error)
	// Verify says whom a chain is for, if it is good now, for the purpose, and of
	// this swarm.
	Verify func(chain []*x509.Certificate, purpose Purpose) (Party, error)
	// Judge says what who has shown a certificate may do by now. It is asked for
	// every connection, message and call; [Peers.Recheck] has it asked at once.
	Judge func(membership.Bearer) membership.Verdict
	// Received takes a message. It may block; the link then waits.
	Received func(from state.NodeID, m wire.Message)
	// Called makes a call that another manager has passed on.
	Called func(ctx context.Context, from Party, call control.Call) control.Answer
	// Certify has a certificate made.
	Certify func(ctx context.Context, r Request) (Certified, *control.Failed)
	// Stream serves a stream that the manager from has asked for, and returns when
	// it has ended.
	Stream func(ctx context.Context, from Party, request []byte, stream net.Conn) error
	// Logger is where links, and what is refused, are told; nil discards.
	Logger *slog.Logger
}

// Errors of calls and streams.
var (
	// ErrUnlinked says that there is no link to the node: nothing was sent.
	ErrUnlinked = errors.New("there is no link to the node")
	// ErrLost says that nothing was heard of a call that was sent.
	ErrLost = errors.New("the link was lost, or nothing was heard in time")
)

// A Peers is a node's connections to the others. Make one with [New].
type Peers struct {
	config Config
	limits *limits
	ctx    context.Context //nolint:containedctx // ends with Close; every connection's comes from it
	cancel context.CancelFunc
	work   sync.WaitGroup
	raft   *raftQueue

	mu       sync.Mutex
	listener net.Listener
	conns    map[io.Closer]func() bool // accepted; whether it may still be there, nil if nobody has shown anything
	targets  map[state.NodeID]*target
	links    map[state.NodeID][]*link // up, newest last
	streams  map[streamName]*opening
}

// New returns the connections of a node, of which there are none yet.
func New(config Config) *Peers {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{
		config: config, limits: newLimits(), raft: newRaftQueue(), conns: map[io.Closer]func() bool{}, targets: map[state.NodeID]*target{},
		links: map[state.NodeID][]*link{}, streams: map[streamName]*opening{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends all connections and waits for what serves them.
func (p *Peers) Close() {
	p.Forget()
	p.cancel()
	p.work.Wait()
}

// Forget ends every link, and takes in no connections any more: the node is in no
// swarm. What is queued on links is still sent.
func (p *Peers) Forget() {
	p.Reach("", nil)
	p.Unserve()
	p.Relink()
}

// Relink ends links and connections, so that those who keep them make new ones:
// the node has another certificate, with another role.
func (p *Peers) Relink() {
	p.mu.Lock()
	var links []*link
	for _, of := range p.links {
		links = append(links, of...)
	}
	var conns []io.Closer
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.finish()
	}
	for _, l := range links {
		<-l.ended
	}
	for _, c := range conns {
		_ = c.Close() // it is of no use
	}
}

// Recheck ends the links and connections of those who may do less by now than they
// could. What is queued on a link is still sent; nothing more is taken from it than
// the other end may say.
func (p *Peers) Recheck() {
	p.mu.Lock()
	var links []*link
	for _, of := range p.links {
		for _, l := range of {
			if l.reduced() {
				links = append(links, l)
			}
		}
	}
	var conns []io.Closer
	for c, may := range p.conns {
		if may != nil && !may() {
			conns = append(conns, c)
		}
	}
	p.mu.Unlock()
	for _, l := range links {
		l.finish()
	}
	for _, c := range conns {
		_ = c.Close() // it is of no use
	}
}

// Reach keeps a link to each of the managers but self, and to no other node of its
// own accord.
func (p *Peers) Reach(self state.NodeID, managers []wire.Manager) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[state.NodeID]string{}
	for _, m := range managers {
		if m.ID != self && m.Addr != "" {
			wanted[m.ID] = m.Addr
		}
	}
	for id, t := range p.targets {
		if wanted[id] != t.addr {
			t.cancel()
			delete(p.targets, id)
		}
	}
	if p.ctx.Err() != nil {
		return
	}
	for id, addr := range wanted {
		if p.targets[id] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(p.ctx)
		t := &target{node: id, addr: addr, cancel: cancel}
		p.targets[id] = t
		p.work.Go(func() { p.keep(ctx, t) })
	}
}

// Address is where a manager is reached, "" if Reach has not said.
func (p *Peers) Address(node state.NodeID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.targets[node]; t != nil {
		return t.addr
	}
	return ""
}

// Linked reports whether there is a link to a node.
func (p *Peers) Linked(node state.NodeID) bool { return p.link(node) != nil }

// Send sends a message, or loses it. It does not block.
func (p *Peers) Send(to state.NodeID, m wire.Message) {
	f := frame{kindMessage, wire.Append(nil, m)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.links[to]; len(of) > 0 {
		of[len(of)-1].send(f.kind, f.body)
		return
	}
	if t := p.targets[to]; t != nil && len(t.waiting) < unlinkedMax {
		t.waiting = append(t.waiting, f)
	}
}

// drop loses what has waited for a link that has failed.
func (p *Peers) drop(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.waiting = nil
}

// link is the newest link to a node, nil if there is none.
func (p *Peers) link(node state.NodeID) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.links[node]
	if len(of) == 0 {
		return nil
	}
	return of[len(of)-1]
}

// linksOfNodeMax is how many links there are to a node: one that it has dialled
// and one that was dialled to it, and as many that have died and do not know it.
const linksOfNodeMax = 4

// up makes a link one that is used.
func (p *Peers) up(l *link) {
	p.mu.Lock()
	of := append(p.links[l.party.Node], l)
	var oldest *link
	if len(of) > linksOfNodeMax {
		oldest, of = of[0], of[1:]
	}
	p.links[l.party.Node] = of
	if t := p.targets[l.party.Node]; t != nil {
		for _, f := range t.waiting {
			l.send(f.kind, f.body)
		}
		t.waiting = nil
	}
	p.mu.Unlock()
	if oldest != nil {
		oldest.abort(errors.New("the node has other links"))
	}
}

// down makes a link one that is not used any more.
func (p *Peers) down(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.links[l.party.Node]
	for i, other := range of {
		if other == l {
			of = append(of[:i:i], of[i+1:]...)
			break
		}
	}
	if len(of) == 0 {
		delete(p.links, l.party.Node)
		return
	}
	p.links[l.party.Node] = of
}
