package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// Limits of a link.
const (
	messagesMax  = 1024        // that wait to be sent
	unlinkedMax  = 16          // that wait for a link
	chunksMax    = 16          // of calls and answers that wait to be sent
	callsMax     = 1024        // under way, in each direction
	flushPeriod  = time.Second // for what is queued when the link is to end
	linkBuffer   = 32 << 10
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 2 * time.Second
	steadyPeriod = 5 * time.Second // a link that lasted so long is dialled again at once
)

// A target is a manager that a link is kept to. What is sent while the link is
// being made waits for it; a link that cannot be made loses it.
type target struct {
	node    state.NodeID
	addr    string
	cancel  context.CancelFunc
	waiting []frame // guarded by Peers.mu
}

// keep has a link to a manager until ctx ends.
func (p *Peers) keep(ctx context.Context, t *target) {
	log := p.config.Logger.With("node", t.node, "addr", t.addr)
	backoff, told := backoffFirst, ""
	for ctx.Err() == nil {
		began := time.Now()
		conn, party, err := p.dial(ctx, t.addr, protocolControl, t.node)
		if err == nil {
			l := p.newLink(conn, party)
			stop := context.AfterFunc(ctx, l.finish)
			err = l.run()
			stop()
		}
		p.drop(t)
		if time.Since(began) >= steadyPeriod {
			backoff, told = backoffFirst, ""
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			log.Warn("there is no link to the manager", "error", err)
		}
		pause := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// A frame waits to be sent.
type frame struct {
	kind kind
	body []byte
}

// A link is a control connection that is up.
type link struct {
	peers *Peers
	conn  *tls.Conn
	party Party
	limit int // bytes of a frame
	began membership.Verdict

	urgent    chan frame
	bulk      chan frame
	finishing chan struct{}
	dead      chan struct{} // nothing is sent any more
	ended     chan struct{} // and nothing served
	finished  sync.Once
	died      sync.Once
	err       error // why, once it is dead
	serving   sync.WaitGroup
	slots     chan struct{} // for calls that are served

	calls, answers *assembly // of the reader

	mu      sync.Mutex
	dropped bool
	number  uint64
	waiting map[uint64]chan []byte
}

func (p *Peers) newLink(conn *tls.Conn, party Party) *link {
	l := &link{
		peers: p, conn: conn, party: party, limit: strangerBytesMax, began: p.config.Judge(party.Bearer),
		urgent: make(chan frame, messagesMax), bulk: make(chan frame, chunksMax),
		finishing: make(chan struct{}), dead: make(chan struct{}), ended: make(chan struct{}),
		slots: make(chan struct{}, callsMax), calls: newAssembly(callsBytesMax), answers: newAssembly(answersBytesMax),
		waiting: map[uint64]chan []byte{},
	}
	switch {
	case l.began.Manager:
		l.limit = managerBytesMax
	case l.began.Member:
		l.limit = workerBytesMax
	}
	return l
}

// reduced reports whether the other end may do less than when the link began.
func (l *link) reduced() bool {
	now := l.peers.config.Judge(l.party.Bearer)
	return l.began.Member && !now.Member || l.began.Manager && !now.Manager
}

// run serves the link until it ends, and says why it did; nil when it was to.
func (l *link) run() error {
	l.peers.up(l)
	expiry := time.AfterFunc(time.Until(l.party.Expires), func() {
		l.abort(fmt.Errorf("the certificate of node %s has expired", l.party.Node))
	})
	var reading sync.WaitGroup
	reading.Go(func() { l.abort(l.read()) })
	l.abort(l.write())
	reading.Wait()
	expiry.Stop()
	l.peers.down(l)
	l.serving.Wait()
	close(l.ended)
	return l.err
}

// finish has the link end when what is queued has been sent.
func (l *link) finish() {
	l.finished.Do(func() {
		close(l.finishing)
		time.AfterFunc(flushPeriod, func() { l.abort(nil) })
	})
}

// abort ends the link now.
func (l *link) abort(why error) {
	l.died.Do(func() {
		l.err = why
		close(l.dead)
		if why == nil {
			_ = l.conn.Close() // says goodbye
			return
		}
		_ = l.conn.NetConn().Close() // nothing that was to be sent is worth waiting for
	})
}

// send queues a frame, or drops it.
func (l *link) send(k kind, body []byte) {
	select {
	case l.urgent <- frame{k, body}:
		return
	default:
	}
	l.mu.Lock()
	first := !l.dropped
	l.dropped = true
	l.mu.Unlock()
	if first {
		l.peers.config.Logger.Warn("messages to a node are dropped: it takes them in too slowly", "node", l.party.Node, "queue", messagesMax)
	}
}

// write sends what is queued, messages first, and a ping when there is nothing.
func (l *link) write() error {
	w := bufio.NewWriterSize(l.conn, linkBuffer)
	idle := time.NewTimer(pingPeriod)
	defer idle.Stop()
	for {
		f, queued := l.queued()
		if !queued {
			if err := l.flush(w); err != nil {
				return err
			}
			idle.Reset(pingPeriod)
			select {
			case f = <-l.urgent:
			case f = <-l.bulk:
			case <-idle.C:
				f = frame{kind: kindPing}
			case <-l.finishing:
				if f, queued = l.queued(); !queued {
					return nil
				}
			case <-l.dead:
				return nil
			}
		}
		if err := writeFrame(w, l.conn, f.kind, f.body); err != nil {
			return err
		}
	}
}

// queued is the next frame that waits.
func (l *link) queued() (frame, bool) {
	select {
	case f := <-l.urgent:
		return f, true
	default:
	}
	select {
	case f := <-l.urgent:
		return f, true
	case f := <-l.bulk:
		return f, true
	default:
		return frame{}, false
	}
}

func (l *link) flush(w *bufio.Writer) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(writePeriod)); err != nil {
		return err
	}
	return w.Flush()
}

// read takes in frames until there are no more.
func (l *link) read() error {
	r := bufio.NewReaderSize(l.conn, linkBuffer)
	for {
		k, body, err := readFrame(r, l.conn, l.limit, silenceMax)
		if err != nil {
			return err
		}
		if err := l.take(k, body); err != nil {
			return fmt.Errorf("node %s: %w", l.party.Node, err)
		}
	}
}

// Why a frame is not taken.
var (
	// errRole says that a worker has tried what only a manager may.
	errRole = errors.New("a worker may not do that")
	// errStranger says the same of a node that is none any more.
	errStranger = errors.New("it is no member of the swarm")
)

// take takes in a frame. An error ends the link.
func (l *link) take(k kind, body []byte) error {
	verdict := l.peers.config.Judge(l.party.Bearer)
	switch k {
	case kindPing:
		return nil
	case kindMessage:
		return l.takeMessage(body, verdict)
	case kindCall, kindAnswer, kindOpen:
		if !verdict.Manager {
			return l.refused(verdict)
		}
		if k == kindOpen {
			return l.takeOpen(body)
		}
		return l.takePart(k, body)
	case kindRefused:
		if !verdict.Member {
			return l.refused(verdict)
		}
		return l.takeRefused(body)
	default:
		return errFrame
	}
}

// refused says why a frame is not taken.
func (l *link) refused(v membership.Verdict) error {
	err := errRole
	if !v.Member {
		err = errStranger
	}
	if v.Why != "" {
		return fmt.Errorf("%w: %s", err, v.Why)
	}
	return err
}

func (l *link) takeMessage(body []byte, verdict membership.Verdict) error {
	m, err := wire.Decode(body)
	if err != nil {
		return err
	}
	switch message := m.(type) {
	case wire.Assign, wire.Bye:
		if !verdict.Manager {
			return l.refused(verdict)
		}
	case wire.Heartbeat: // who was removed may go on as if it were not, and is told
		if !verdict.Member && !verdict.Removed {
			return l.refused(verdict)
		}
	case wire.Hello: // and may say so much
		if !verdict.Manager { // it may have been one, and not know better
			message.ManagerAddr = ""
			m = message
		}
	case wire.Report, wire.Applied, wire.Quit:
		if !verdict.Member {
			return l.refused(verdict)
		}
	}
	l.peers.config.Received(l.party.Node, m)
	return nil
}
